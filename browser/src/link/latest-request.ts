/** A request to the server, one at a time: repeated until it is answered, replaced by the next one, or cancelled. */

import { isFinal, type Problem, Refused } from "../protocol/problem.js";
import { backoff, Timer, type Timing } from "./timing.js";

/** The longest time that an answer may take, in seconds: a part of a long text over 4 kB/s. */
const ANSWER_MOST = 60;

export interface LatestRequestOptions<Question, Answer> {
  /** Ask the server. Throws `Refused`, or any other error if nothing answers within so many seconds. */
  readonly ask: (question: Question, within: number) => Promise<Answer>;
  /** Whether there is a way to the server. While there is none, nothing is asked: the owner sends again when there is. */
  readonly open: () => boolean;
  readonly answered: (answer: Answer) => void;
  /** The server refused for good. */
  readonly refused: (problem: Problem) => void;
  /** No answer, this many times in a row. */
  readonly failed: (failures: number) => void;
  readonly timing: Timing;
  readonly random: () => number;
}

export class LatestRequest<Question, Answer> {
  readonly #options: LatestRequestOptions<Question, Answer>;
  readonly #retry = new Timer();
  /**
   * How long an answer may take. It grows when none comes, and remembers how long the last one took: over a slow link a large
   * answer would otherwise be asked for again and again, and never arrive.
   */
  #within: number;
  /** Counts the questions: only the answer to the last one is delivered. */
  #latest = 0;

  constructor(options: LatestRequestOptions<Question, Answer>) {
    this.#options = options;
    this.#within = options.timing.answerWithin;
  }

  /** Ask this, after `seconds`. Cancels the pending question. */
  send(question: Question, seconds = 0): void {
    this.cancel();
    if (seconds > 0) this.#retry.set(seconds, () => void this.#ask(question, this.#latest, 0));
    else void this.#ask(question, this.#latest, 0);
  }

  /** Cancel the pending question: its answer will not be delivered. */
  cancel(): void {
    this.#latest += 1;
    this.#retry.clear();
  }

  async #ask(question: Question, number: number, failures: number): Promise<void> {
    const { ask, open, answered, refused, failed, timing, random } = this.#options;
    if (!open()) return;
    let answer: Answer;
    const within = this.#within;
    const began = performance.now();
    try {
      answer = await ask(question, within);
      this.#within = Math.max(timing.answerWithin, (2 * (performance.now() - began)) / 1000);
    } catch (error) {
      if (performance.now() - began >= 1000 * within) this.#within = Math.min(2 * within, ANSWER_MOST);
      if (number !== this.#latest) return;
      if (error instanceof Refused && isFinal(error.problem)) {
        refused(error.problem);
        return;
      }
      failed(failures + 1);
      // Because of the failure the owner may have sent another question, or closed.
      if (number !== this.#latest) return;
      const named = error instanceof Refused ? (error.again ?? 0) : 0;
      const wait = timing.reconnectFirst / 4 + backoff(failures, timing, random);
      this.#retry.set(Math.max(named, wait), () => void this.#ask(question, number, failures + 1));
      return;
    }
    if (number === this.#latest) answered(answer);
  }
}

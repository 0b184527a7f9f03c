/** What is asked of the server: one question at a time, asked again after a failure, and void when its owner says so. */

import { isFinal, type Problem, Refused } from "../protocol/problem.js";
import { backoff, Timer, type Timing } from "./timing.js";

export interface LatestRequestOptions<Question, Answer> {
  /** Ask, by whatever way is open; throws `Refused` or, when nothing answers, any other error. */
  readonly ask: (question: Question) => Promise<Answer>;
  /** Whether any way is open. While none is, a question waits for the owner to ask again. */
  readonly open: () => boolean;
  readonly answered: (answer: Answer) => void;
  /** The server will not answer this, however often it is asked. */
  readonly refused: (problem: Problem) => void;
  /** Nothing answered, this many times in a row. */
  readonly failed: (failures: number) => void;
  readonly timing: Timing;
  readonly random: () => number;
}

export class LatestRequest<Question, Answer> {
  readonly #options: LatestRequestOptions<Question, Answer>;
  readonly #retry = new Timer();
  /** Counts the questions: an answer to any but the last one is void. */
  #latest = 0;

  constructor(options: LatestRequestOptions<Question, Answer>) {
    this.#options = options;
  }

  /** Ask this, after `seconds`. Voids the question that is under way. */
  send(question: Question, seconds = 0): void {
    this.cancel();
    if (seconds > 0) this.#retry.set(seconds, () => void this.#ask(question, this.#latest, 0));
    else void this.#ask(question, this.#latest, 0);
  }

  /** Forget what is under way: its answer will not be delivered. */
  cancel(): void {
    this.#latest += 1;
    this.#retry.clear();
  }

  async #ask(question: Question, number: number, failures: number): Promise<void> {
    const { ask, open, answered, refused, failed, timing, random } = this.#options;
    if (!open()) return;
    let answer: Answer;
    try {
      answer = await ask(question);
    } catch (error) {
      if (number !== this.#latest) return;
      if (error instanceof Refused && isFinal(error.problem)) {
        refused(error.problem);
        return;
      }
      failed(failures + 1);
      // The owner may have asked anew, or gone, because of the failure.
      if (number !== this.#latest) return;
      const named = error instanceof Refused ? (error.again ?? 0) : 0;
      const wait = timing.reconnectFirst / 4 + backoff(failures, timing, random);
      this.#retry.set(Math.max(named, wait), () => void this.#ask(question, number, failures + 1));
      return;
    }
    if (number === this.#latest) answered(answer);
  }
}

/** The reads of one feed: one at a time, tried again after a failure, and void when the connection changes. */

import type { Cursor, Problem } from "./events.js";
import { type Answer, Refused } from "./http.js";
import { backoff, Timer, type Timing } from "./timing.js";

export interface ReadsOptions {
  /** Ask the journal, by whatever way is open; throws `Refused` or, when nothing answers, any other error. */
  readonly ask: (cursor: Cursor | null) => Promise<Answer>;
  /** Whether any way is open. While none is, a read waits for the owner to ask again. */
  readonly open: () => boolean;
  readonly answered: (answer: Answer) => void;
  /** The server will not answer this reader, whatever it asks. */
  readonly refused: (problem: Problem) => void;
  /** Nothing answered, this many times in a row. */
  readonly failed: (failures: number) => void;
  readonly timing: Timing;
  readonly random: () => number;
}

export class Reads {
  readonly #options: ReadsOptions;
  readonly #retry = new Timer();
  /** Counts the reads that were asked for: an answer to any but the last one is void. */
  #latest = 0;

  constructor(options: ReadsOptions) {
    this.#options = options;
  }

  /** Read what follows the cursor, after `seconds`. Voids any read that is under way. */
  request(cursor: Cursor | null, seconds = 0): void {
    this.void();
    if (seconds > 0) this.#retry.set(seconds, () => void this.#ask(cursor, this.#latest, 0));
    else void this.#ask(cursor, this.#latest, 0);
  }

  /** Forget what is under way: its answer will not be delivered. */
  void(): void {
    this.#latest += 1;
    this.#retry.clear();
  }

  async #ask(cursor: Cursor | null, number: number, failures: number): Promise<void> {
    const { ask, open, answered, refused, failed, timing, random } = this.#options;
    if (!open()) return;
    let answer: Answer;
    try {
      answer = await ask(cursor);
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
      this.#retry.set(Math.max(named, wait), () => void this.#ask(cursor, number, failures + 1));
      return;
    }
    if (number === this.#latest) answered(answer);
  }
}

/** Refusals of the request itself are final; 408, 425, 429 and the server's own troubles pass. */
export function isFinal(problem: Problem): boolean {
  return problem.status >= 400 && problem.status < 500 && ![408, 425, 429].includes(problem.status);
}

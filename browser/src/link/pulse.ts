/**
 * Checks a connection on which nothing has arrived for a while.
 *
 * A half-open connection looks like an idle one, and Socket.IO's own heartbeat takes most of a minute to notice.
 */

import { Timer, type Timing } from "./timing.js";

export interface PulseOptions {
  readonly timing: Timing;
  /** Whether events are expected, so that silence is suspicious. */
  readonly expects: () => boolean;
  /** Ask the server for any answer; rejects if none arrives within `seconds`. */
  readonly ask: (seconds: number) => Promise<unknown>;
  /** The server has answered. */
  readonly alive: () => void;
  /** The server has not answered. */
  readonly dead: () => void;
}

export class Pulse {
  readonly #options: PulseOptions;
  readonly #timer = new Timer();
  #heardAt = 0;
  /** Counts the connections: a check of an earlier one says nothing about this one. */
  #connection = 0;

  constructor(options: PulseOptions) {
    this.#options = options;
  }

  /** A connection begins. */
  start(): void {
    this.stop();
    this.heard();
    this.#lookAgain();
  }

  stop(): void {
    this.#connection += 1;
    this.#timer.clear();
  }

  /** Something has arrived. */
  heard(): void {
    this.#heardAt = Date.now();
  }

  #lookAgain(): void {
    this.#timer.set(this.#options.timing.silentAfter / 4, () => void this.#look());
  }

  async #look(): Promise<void> {
    const { timing, expects, ask, alive, dead } = this.#options;
    const connection = this.#connection;
    if (Date.now() - this.#heardAt >= timing.silentAfter * 1000 && expects()) {
      const answered = await ask(timing.aliveWithin).then(
        () => true,
        () => false,
      );
      if (connection !== this.#connection) return;
      if (!answered) return dead();
      alive();
    }
    this.#lookAgain();
  }
}

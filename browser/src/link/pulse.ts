/**
 * Doubts a connection on which nothing has come for a while.
 *
 * One that is half open looks like one on which nothing happens, and Socket.IO's own heartbeat notices only after most of a minute.
 */

import { Timer, type Timing } from "./timing.js";

export interface PulseOptions {
  readonly timing: Timing;
  /** Whether news may come at any moment, so that a silence is doubted. */
  readonly expects: () => boolean;
  /** Ask the server for a sign of life; rejects if none comes within `seconds`. */
  readonly ask: (seconds: number) => Promise<unknown>;
  /** The server has given a sign of life. */
  readonly alive: () => void;
  /** It has given none. */
  readonly dead: () => void;
}

export class Pulse {
  readonly #options: PulseOptions;
  readonly #timer = new Timer();
  #heardAt = 0;
  /** Counts the connections: what is asked of an earlier one says nothing of this one. */
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

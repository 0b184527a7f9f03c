/** The journal server's clock, estimated from the instants of the events that arrive live. */

/** Instants in milliseconds since 1970, by the server's clock. */
export interface Moment {
  readonly now: number;
  /** When the newest progress came: the time left counts down from there. */
  readonly progressAt?: number | null;
  /** When the worker was last heard from. */
  readonly heardAt?: number | null;
}

export class ServerClock {
  readonly #local: () => number;
  #ahead: number | null = null;

  /** `local` returns milliseconds since 1970 by this machine's clock. */
  constructor(local: () => number) {
    this.#local = local;
  }

  /** Take the `at` of an event that has just arrived. The one that took the least time gives the best estimate. */
  hear(at: number): void {
    const ahead = this.#local() - at;
    if (this.#ahead === null || ahead < this.#ahead) this.#ahead = ahead;
  }

  /** Milliseconds since 1970 by the server's clock; by this machine's until the first event. */
  now(): number {
    return this.#local() - (this.#ahead ?? 0);
  }
}

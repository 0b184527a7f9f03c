/** The journal server's clock, as a browser can know it: from the instants of the events that arrive live. */

/** Instants in milliseconds since 1970, by the server's clock. */
export interface Moment {
  readonly now: number;
  /** When the newest progress came: the time left counts down from there. */
  readonly progressAt?: number | null;
  /** When the worker was last heard of. */
  readonly heardAt?: number | null;
}

export class ServerClock {
  readonly #local: () => number;
  #ahead: number | null = null;

  /** `local` returns milliseconds since 1970 by this machine's clock. */
  constructor(local: () => number) {
    this.#local = local;
  }

  /** Take the `at` of an event that has just arrived. The quickest one is the nearest to the truth. */
  hear(at: number): void {
    const ahead = this.#local() - at;
    if (this.#ahead === null || ahead < this.#ahead) this.#ahead = ahead;
  }

  /** Milliseconds since 1970 by the server's clock; by this machine's own until something has been heard. */
  now(): number {
    return this.#local() - (this.#ahead ?? 0);
  }
}

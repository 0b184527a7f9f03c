/** The token of a client without a session: kept until shortly before it expires, then renewed. */

import { Refused } from "../protocol/problem.js";
import { Timer } from "./timing.js";

/** A token, or a function that returns a new one: called before the present one expires, and after a 401. */
export type TokenSource = string | (() => string | Promise<string>);

/** The share of its lifetime after which a token is renewed. */
const RENEW_AT = 0.8;

export class Tokens {
  readonly #source: TokenSource | null;
  readonly #renewal = new Timer();
  #held: Promise<string> | null = null;

  constructor(source: TokenSource | null) {
    this.#source = source;
  }

  /** Whether a new token can be had. */
  get renews(): boolean {
    return typeof this.#source === "function";
  }

  /**
   * Call with the token; after a 401, once more with a new one. A second 401 is final.
   *
   * Throws what the call and the source throw.
   */
  async use<Reply>(call: (token: string | null) => Promise<Reply>): Promise<Reply> {
    const held = this.#get();
    try {
      return await call(await held);
    } catch (error) {
      if (!this.renews || !(error instanceof Refused) || error.problem.status !== 401) throw error;
      if (this.#held === held) this.forget();
      return call(await this.#get());
    }
  }

  /** The token expires in so many seconds: shortly before, forget it and call `renew`. */
  endsIn(seconds: unknown, renew: () => void): void {
    if (!this.renews || typeof seconds !== "number") return;
    this.#renewal.set(seconds * RENEW_AT, () => {
      this.forget();
      renew();
    });
  }

  forget(): void {
    this.#held = null;
  }

  close(): void {
    this.#renewal.clear();
  }

  #get(): Promise<string | null> {
    const source = this.#source;
    if (typeof source !== "function") return Promise.resolve(source);
    if (!this.#held) {
      const held: Promise<string> = Promise.resolve().then(source);
      this.#held = held;
      // Whoever awaits it gets the failure; the next call asks again.
      held.catch(() => {
        if (this.#held === held) this.#held = null;
      });
    }
    return this.#held;
  }
}

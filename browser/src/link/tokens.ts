/** The token that a client sends where there is no session: kept until it ends, then asked for anew. */

import { Refused } from "../protocol/problem.js";
import { Timer } from "./timing.js";

/** A token, or what returns a new one: asked before the present one ends, and after the server refuses it. */
export type TokenSource = string | (() => string | Promise<string>);

/** At which part of its time a token is renewed. */
const RENEW_AT = 0.8;

export class Tokens {
  readonly #source: TokenSource | null;
  readonly #ending = new Timer();
  #held: Promise<string> | null = null;

  constructor(source: TokenSource | null) {
    this.#source = source;
  }

  /** Whether there may be a newer one. */
  get renews(): boolean {
    return typeof this.#source === "function";
  }

  /**
   * Call with the token, and once more with a new one where it has ended: a new one that is refused as well is an answer.
   *
   * Throws what the call and what the source throws.
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

  /** The present token ends in so many seconds: shortly before, forget it and say so. */
  endsIn(seconds: unknown, renew: () => void): void {
    if (!this.renews || typeof seconds !== "number") return;
    this.#ending.set(seconds * RENEW_AT, () => {
      this.forget();
      renew();
    });
  }

  forget(): void {
    this.#held = null;
  }

  close(): void {
    this.#ending.clear();
  }

  #get(): Promise<string | null> {
    const source = this.#source;
    if (typeof source !== "function") return Promise.resolve(source);
    if (!this.#held) {
      const held: Promise<string> = Promise.resolve().then(source);
      this.#held = held;
      // Who waits hears of the failure; the next one asks again.
      held.catch(() => {
        if (this.#held === held) this.#held = null;
      });
    }
    return this.#held;
  }
}

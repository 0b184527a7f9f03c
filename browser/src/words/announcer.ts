/** What a screen reader is told of a task: its start, each quarter, every change of state, and its end. Pure. */

import type { Words } from "./task.js";

/** The shortest time between two announced quarters, in milliseconds. */
const APART = 10_000;

export class Announcer {
  #state: Words["state"] = null;
  #again: string | null = null;
  #forcible = false;
  #quarter = 0;
  #at = Number.NEGATIVE_INFINITY;

  /** Return what to say, or null. `now` is in milliseconds of any clock; failure is left to the alert. */
  take(words: Words, now: number): string | null {
    if (words.state === null) return null;
    const offered = words.forcible && !this.#forcible;
    this.#forcible = words.forcible;
    if (offered) return `${words.title}: It has not stopped by itself yet. Force stop is possible.`;
    if (words.state !== this.#state || words.again !== this.#again) return this.#changed(words, now);
    const quarter = words.bar === "filling" ? Math.floor((words.fraction ?? 0) * 4) : 0;
    if (quarter <= this.#quarter || now - this.#at < APART) return null;
    this.#quarter = quarter;
    this.#at = now;
    return [`${words.title}: ${words.percent ?? words.sentence}`, words.left].filter(Boolean).join(", ");
  }

  #changed(words: Words, now: number): string | null {
    const first = this.#state === null;
    this.#state = words.state;
    this.#again = words.again;
    this.#quarter = Math.floor((words.fraction ?? 0) * 4);
    this.#at = now;
    const over = words.state === "succeeded" || words.state === "cancelled";
    const alerted = words.state === "failed" || words.state === "lost";
    // A task that had ended before the page knew it is no news.
    if (alerted || (first && over)) return null;
    return `${words.title}: ${words.state === "succeeded" ? "Finished. " : ""}${words.again ?? words.sentence}`;
  }
}

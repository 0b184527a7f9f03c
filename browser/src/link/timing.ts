/** The client's durations, in seconds, and how it waits. */

export interface Timing {
  /** The longest first wait before the socket connects again; it doubles with every failure. */
  readonly reconnectFirst: number;
  /** The longest wait between two attempts, of the socket and of reads. */
  readonly reconnectMost: number;
  /** How long one attempt of the socket to connect may take. */
  readonly connectWithin: number;
  /** How long the socket may be away before the client asks over HTTP instead. */
  readonly fallbackAfter: number;
  /** The pause between two polls, unless the server names another. */
  readonly pollEvery: number;
  /** The pause between two reads of a list of tasks. */
  readonly listEvery: number;
  /** How long an acknowledgement or an HTTP answer may take. */
  readonly answerWithin: number;
  /** How long the connection may be silent while a watched task runs, before it is checked. */
  readonly silentAfter: number;
  /** How long the answer to that check may take. */
  readonly aliveWithin: number;
  /** How long acknowledgements are collected into one message. */
  readonly collectFor: number;
  /** How long the connection is kept once nothing is watched. */
  readonly idleAfter: number;
}

export const DEFAULT_TIMING: Timing = {
  reconnectFirst: 1,
  reconnectMost: 8,
  connectWithin: 10,
  fallbackAfter: 5,
  pollEvery: 3,
  listEvery: 10,
  answerWithin: 5,
  silentAfter: 4,
  aliveWithin: 4,
  collectFor: 0.2,
  idleAfter: 5,
};

/**
 * Return how many seconds to wait after this many failures: anything from 0 to the ceiling ("full jitter"), so that the
 * browsers that a restart has cut off come back spread out, however often they have failed.
 */
export function backoff(failures: number, timing: Timing, random: () => number): number {
  return random() * Math.min(timing.reconnectMost, timing.reconnectFirst * 2 ** Math.min(failures, 16));
}

/** Return the seconds that a Retry-After header names (a number or a date), within 1 to 60, or null without one. */
export function retryAfter(header: string | null, now: number): number | null {
  if (header === null || header.trim() === "") return null;
  const seconds = /^\s*\d+\s*$/.test(header) ? Number(header) : (Date.parse(header) - now) / 1000;
  return Number.isNaN(seconds) ? null : Math.min(Math.max(seconds, 1), 60);
}

/** One timer. Setting it again replaces the pending call. */
export class Timer {
  #handle: ReturnType<typeof setTimeout> | null = null;

  set(seconds: number, then: () => void): void {
    this.clear();
    this.#handle = setTimeout(() => {
      this.#handle = null;
      then();
    }, seconds * 1000);
  }

  clear(): void {
    if (this.#handle !== null) clearTimeout(this.#handle);
    this.#handle = null;
  }
}

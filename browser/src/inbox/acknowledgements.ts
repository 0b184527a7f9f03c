/** What this page has acknowledged: collected, sent in batches, and sent again until the server has answered. */

import { LatestRequest } from "../link/latest-request.js";
import { Timer, type Timing } from "../link/timing.js";
import { type Problem, Refused } from "../protocol/problem.js";
import { isGroup } from "../protocol/events.js";
import type { Acknowledgement } from "../protocol/requests.js";

export interface AcknowledgementsOptions {
  readonly send: (message: Acknowledgement) => Promise<void>;
  /** No answer, this many times in a row. */
  readonly failed: (failures: number) => void;
  /** The result of `has` has changed for some task. */
  readonly changed: () => void;
  /** Milliseconds since 1970 by the server's clock. */
  readonly now: () => number;
  readonly timing: Timing;
  readonly random: () => number;
}

/** The most tasks that one message may name. */
const BATCH = 100;
/** The most tasks that may wait: as many as an inbox holds. */
const MOST = 1000;
/** How many acknowledged tasks are remembered. */
const REMEMBERED = 2000;

class Deferred {
  resolve!: () => void;
  reject!: (error: Error) => void;
  readonly promise: Promise<void> = new Promise<void>((resolve, reject) => {
    this.resolve = resolve;
    this.reject = reject;
  });

  constructor() {
    // A caller that ignores the outcome needs no handler.
    this.promise.catch(() => undefined);
  }
}

export class Acknowledgements {
  readonly #options: AcknowledgementsOptions;
  readonly #request: LatestRequest<Acknowledgement, void>;
  readonly #collect = new Timer();
  /** Acknowledged here, answered or not, oldest first, and until which instant: a task ends once, a group may end again. */
  readonly #known = new Map<string, number>();
  readonly #waiting = new Map<string, Deferred>();
  #collecting = false;
  #all: Deferred | null = null;
  #sent: { readonly message: Acknowledgement; readonly settled: readonly Deferred[] } | null = null;

  constructor(options: AcknowledgementsOptions) {
    this.#options = options;
    this.#request = new LatestRequest({
      ask: options.send,
      open: () => true,
      answered: () => this.#settle(null),
      refused: (problem) => this.#settle(problem),
      failed: options.failed,
      timing: options.timing,
      random: options.random,
    });
  }

  /** Whether this page has acknowledged the task's notice of this instant, and the server has not refused. */
  has(task: string, at = 0): boolean {
    return (this.#known.get(task) ?? -1) >= at;
  }

  /** Acknowledge these, each once; resolves when the server has answered. Rejects with `Refused`, or if too many wait. */
  async add(tasks: readonly string[]): Promise<void> {
    const fresh = [...new Set(tasks)].filter((task) => this.#known.get(task) !== Infinity && !this.#waiting.has(task));
    if (this.#waiting.size + fresh.length > MOST) {
      throw new Error(`More than ${MOST} acknowledgements wait for the server. Acknowledge fewer, or "all".`);
    }
    for (const task of fresh) {
      this.#known.set(task, isGroup(task) ? this.#options.now() : Infinity);
      this.#waiting.set(task, new Deferred());
    }
    for (const task of this.#known.keys()) {
      if (this.#known.size <= REMEMBERED) break;
      if (!this.#waiting.has(task)) this.#known.delete(task);
    }
    const awaited = tasks.map((task) => this.#waiting.get(task)?.promise);
    if (fresh.length > 0) {
      this.#options.changed();
      this.#soon();
    }
    await Promise.all(awaited);
  }

  /** Acknowledge everything that is in the inbox when this arrives. */
  async addAll(): Promise<void> {
    this.#all ??= new Deferred();
    const { promise } = this.#all;
    this.#soon();
    await promise;
  }

  /** The connection is back: send the unanswered message again at once. */
  again(): void {
    if (this.#sent) this.#request.send(this.#sent.message);
  }

  close(): void {
    this.#request.cancel();
    this.#collect.clear();
    this.#collecting = false;
    const left = [...this.#waiting.values(), ...(this.#sent?.settled ?? []), ...(this.#all ? [this.#all] : [])];
    for (const task of this.#waiting.keys()) this.#known.delete(task);
    this.#waiting.clear();
    this.#all = this.#sent = null;
    for (const each of left) each.reject(new Error("The client was closed before the server had answered."));
  }

  #soon(): void {
    if (this.#sent || this.#collecting) return;
    this.#collecting = true;
    this.#collect.set(this.#options.timing.collectFor, () => this.#next());
  }

  #next(): void {
    this.#collecting = false;
    const tasks = [...this.#waiting.keys()].slice(0, BATCH);
    if (tasks.length > 0) {
      this.#sent = { message: { tasks }, settled: tasks.map((task) => this.#waiting.get(task)!) };
    } else if (this.#all) {
      this.#sent = { message: { all: true }, settled: [this.#all] };
      // A later `addAll` needs a message of its own: this one may miss notices that arrive by then.
      this.#all = null;
    } else return;
    this.#request.send(this.#sent.message);
  }

  #settle(problem: Problem | null): void {
    const sent = this.#sent;
    if (!sent) return;
    this.#sent = null;
    for (const task of "tasks" in sent.message ? sent.message.tasks : []) {
      this.#waiting.delete(task);
      if (problem) this.#known.delete(task);
    }
    for (const each of sent.settled) {
      if (problem) each.reject(new Refused(problem));
      else each.resolve();
    }
    if (problem) this.#options.changed();
    this.#next();
  }
}

/** A person's inbox: what is acknowledged here disappears at once, and is back if the server refuses. */

import { Emitter } from "../link/emitter.js";
import { LatestRequest } from "../link/latest-request.js";
import type { LinkState } from "../link/link.js";
import type { Timing } from "../link/timing.js";
import type { Document } from "../protocol/events.js";
import { type Problem, Refused } from "../protocol/problem.js";
import type { Snapshot } from "../protocol/reading.js";
import type { TaskView } from "../tasks/view.js";
import { count, type Notice, noticesOf, without } from "./notices.js";

export interface InboxEvents {
  /** The contents have changed; once for all events that arrived together. */
  change: readonly [document: Document];
  /** The server has answered a read: everything until then has been shown. */
  read: readonly [];
  link: readonly [state: LinkState];
  /** An acknowledgement was refused: its notices are back. */
  undone: readonly [problem: Problem];
  /** The server refuses to show the inbox, or to go on showing it. The view is closed. */
  refused: readonly [problem: Problem];
}

/** What an inbox needs from its client. */
export interface InboxServer {
  find(): Promise<Snapshot>;
  watch(snapshot: Snapshot): TaskView;
  /** Whether this page has acknowledged the notice of this instant. */
  acknowledged(task: string, at: number): boolean;
  acknowledge(tasksOrAll: readonly string[] | "all"): Promise<void>;
  release(): void;
  link(): LinkState;
  now(): number;
  readonly timing: Timing;
  readonly random: () => number;
}

export class InboxView {
  readonly #server: InboxServer;
  readonly #events = new Emitter<InboxEvents>();
  readonly #find: LatestRequest<null, Snapshot>;
  #view: TaskView | null = null;
  #shown: Document = {};
  /** What is hidden after "acknowledge all", until the server has done it. */
  #cleared: { readonly tasks: ReadonlySet<string>; readonly earlier: number; answered: boolean } | null = null;
  #problem: Problem | null = null;
  #closed = false;

  /** @internal Made by `TaskClient.inbox`. */
  constructor(server: InboxServer) {
    this.#server = server;
    this.#find = new LatestRequest({
      ask: () => server.find(),
      open: () => true,
      answered: (snapshot) => this.#follow(server.watch(snapshot)),
      refused: (problem) => this.#refuse(problem),
      failed: () => undefined,
      timing: server.timing,
      random: server.random,
    });
    queueMicrotask(() => {
      if (!this.#closed) this.#find.send(null);
    });
  }

  /** The feed's name; null before the server has named it. */
  get feed(): string | null {
    return this.#view?.feed ?? null;
  }

  /** The inbox without what this page has acknowledged: `unread`, `earlier` and a notice for each of the newest. */
  get document(): Document {
    return this.#shown;
  }

  /** The newest notices, the newest first. */
  get notices(): Notice[] {
    return noticesOf(this.#shown);
  }

  get unread(): number {
    return count(this.#shown, "unread");
  }

  /** How many unread ones there are beside `notices`. */
  get earlier(): number {
    return count(this.#shown, "earlier");
  }

  get link(): LinkState {
    return this.#server.link();
  }

  /** Whether recent notices may be missing: before the first answer, and while a read is pending. */
  get reading(): boolean {
    return this.#view?.reading ?? true;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Why the server refused to show the inbox, if it did. */
  get problem(): Problem | null {
    return this.#problem;
  }

  /** Milliseconds since 1970 by the server's clock. */
  get now(): number {
    return this.#server.now();
  }

  /** Call the listener at every such event; returns its undo. */
  on<Name extends keyof InboxEvents>(name: Name, listener: (...values: InboxEvents[Name]) => void): () => void {
    return this.#events.on(name, listener);
  }

  /** Remove these notices, or all, as `TaskClient.acknowledge` does; if the server refuses, `undone` is emitted too. */
  async acknowledge(tasksOrAll: readonly string[] | "all"): Promise<void> {
    // If "all" were sent twice, it would remove what arrived in between: name them if all are known.
    const named = tasksOrAll === "all" && this.earlier === 0 ? this.notices.map((notice) => notice.id) : tasksOrAll;
    try {
      await this.#server.acknowledge(named);
    } catch (error) {
      if (error instanceof Refused) this.#events.emit("undone", error.problem);
      throw error;
    }
  }

  /** Stop watching. The document stays as it is. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#find.cancel();
    this.#view?.close();
    this.#server.release();
    this.#events.clear();
  }

  /** @internal Everything in it has been acknowledged; what arrives later is new. */
  clear(answered: Promise<void>): void {
    const document = this.#view?.document ?? {};
    const cleared = {
      tasks: new Set(noticesOf(document).map((notice) => notice.id)),
      earlier: count(document, "earlier"),
      answered: false,
    };
    this.#cleared = cleared;
    this.update();
    answered.then(
      () => (cleared.answered = true),
      () => {
        if (this.#cleared === cleared) this.#cleared = null;
        this.update();
      },
    );
  }

  /** @internal What is shown may have changed. */
  update(): void {
    if (this.#closed || !this.#view) return;
    const cleared = this.#cleared;
    const taken = (task: string, at: number): boolean => this.#server.acknowledged(task, at) || cleared?.tasks.has(task) === true;
    const shown = without(this.#view.document, taken, cleared?.earlier ?? 0);
    if (JSON.stringify(shown) === JSON.stringify(this.#shown)) return;
    this.#shown = shown;
    this.#events.emit("change", shown);
  }

  #follow(view: TaskView): void {
    this.#view = view;
    view.on("change", () => {
      if (this.#cleared?.answered) this.#cleared = null;
      this.update();
    });
    view.on("read", () => this.#events.emit("read"));
    view.on("link", (state) => this.#events.emit("link", state));
    view.on("refused", (problem) => this.#refuse(problem));
    this.update();
  }

  #refuse(problem: Problem): void {
    this.#problem = problem;
    this.#events.emit("refused", problem);
    this.close();
  }
}

/** One person's tasks as a list sees them: the newest first, read again while somebody looks, further ones when they are wanted. */

import { Emitter } from "../link/emitter.js";
import { LatestRequest } from "../link/latest-request.js";
import { Timer, type Timing } from "../link/timing.js";
import type { Document } from "../protocol/events.js";
import type { Problem } from "../protocol/problem.js";
import type { Snapshot } from "../protocol/reading.js";
import type { TaskFilter, TaskPage } from "../protocol/requests.js";

export interface ListEvents {
  /** The list has other tasks, or another order; what becomes of each is told by a view of it. */
  change: readonly [tasks: readonly Snapshot[]];
  /** The server has answered a read, or did not: `failing` says which. */
  read: readonly [];
  /** The server refuses to show the list. It is closed. */
  refused: readonly [problem: Problem];
}

/** What a list needs of its client. */
export interface ListServer {
  read(filter: TaskFilter & { readonly cursor?: string }): Promise<TaskPage>;
  release(): void;
  readonly timing: Timing;
  readonly random: () => number;
}

export class TaskListView {
  readonly #server: ListServer;
  readonly #filter: TaskFilter;
  readonly #events = new Emitter<ListEvents>();
  readonly #first: LatestRequest<null, TaskPage>;
  readonly #next = new Timer();
  #tasks: readonly Snapshot[] = [];
  #more: string | null = null;
  #known = false;
  #failing = false;
  #problem: Problem | null = null;
  #closed = false;
  /** Tasks that have taken the place of another one, and those others. */
  readonly #moved = new Set<string>();
  readonly #replaced = new Set<string>();
  /** Tasks that the list isn't of any more. */
  readonly #left = new Set<string>();

  /** @internal Made by `TaskClient.tasks`. */
  constructor(server: ListServer, filter: TaskFilter) {
    this.#server = server;
    this.#filter = filter;
    this.#first = new LatestRequest({
      ask: () => server.read(filter),
      open: () => true,
      answered: (page) => this.#answered(page),
      refused: (problem) => this.#refuse(problem),
      failed: () => this.#failed(),
      timing: server.timing,
      random: server.random,
    });
    queueMicrotask(() => this.refresh());
  }

  /** The tasks that were read so far, as the list had them then. */
  get tasks(): readonly Snapshot[] {
    return this.#tasks;
  }

  /** Whether there are further tasks. */
  get hasMore(): boolean {
    return this.#more !== null;
  }

  /** Whether the server has answered at all. */
  get known(): boolean {
    return this.#known;
  }

  /** Whether the newest read got no answer; it is tried again. */
  get failing(): boolean {
    return this.#failing;
  }

  get problem(): Problem | null {
    return this.#problem;
  }

  /** Call the listener at every such event; returns its undo. */
  on<Name extends keyof ListEvents>(name: Name, listener: (...values: ListEvents[Name]) => void): () => void {
    return this.#events.on(name, listener);
  }

  /** Read the newest tasks now, and every `listEvery` seconds from then on while the page is visible. */
  refresh(): void {
    if (!this.#closed) this.#first.send(null);
  }

  /** Read the next page; resolves to how many tasks came. Rejects as `fetch` does, or with `Refused`. */
  async more(): Promise<number> {
    const cursor = this.#more;
    if (cursor === null || this.#closed) return 0;
    const page = await this.#server.read({ ...this.#filter, cursor });
    if (cursor !== this.#more || this.#closed) return 0;
    this.#more = page.next;
    const held = new Set(this.#tasks.map(({ id }) => id));
    const fresh = page.tasks.filter(({ id }) => !held.has(id) && !this.#replaced.has(id));
    this.#show([...this.#tasks, ...fresh]);
    return fresh.length;
  }

  /** Show a task that has just been started, unless it is another one than the list is of. */
  add(snapshot: Snapshot): void {
    const { state, name } = this.#filter;
    const { document } = snapshot;
    const other = (state !== undefined && document.state !== state) || (name !== undefined && document.task !== name);
    if (other || this.#closed || this.#tasks.some(({ id }) => id === snapshot.id)) return;
    this.#show([snapshot, ...this.#tasks]);
    this.refresh(); // what is under way may not have it yet
  }

  /** A task has become this: if the list isn't of that state, the task is gone when the list is read next. */
  changed(task: string, { state }: Document): void {
    const { state: wanted } = this.#filter;
    if (wanted === undefined || state === wanted) this.#left.delete(task);
    else this.#left.add(task);
  }

  /** Show a task in the place of the one that it repeats. */
  replace(task: string, snapshot: Snapshot): void {
    this.#replaced.add(task);
    this.#moved.add(snapshot.id);
    const others = this.#tasks.filter(({ id }) => id !== snapshot.id);
    this.#show(others.map((held) => (held.id === task ? snapshot : held)));
    this.refresh();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#first.cancel();
    this.#next.clear();
    this.#server.release();
    this.#events.clear();
  }

  #answered({ tasks, next }: TaskPage): void {
    const page = tasks.filter(({ id }) => !this.#replaced.has(id));
    const { merged, anew } = merge(this.#tasks, page, next !== null, { moved: this.#moved, left: this.#left });
    // What follows the first page stays where it is: a cursor is of a task, not of a number of them.
    if (anew || !this.#known || next === null) this.#more = next;
    this.#known = true;
    this.#failing = false;
    this.#show(merged);
    this.#again();
    this.#events.emit("read");
  }

  #failed(): void {
    this.#failing = true;
    this.#events.emit("read");
  }

  #again(): void {
    this.#next.set(this.#server.timing.listEvery, () => {
      if (globalThis.document?.visibilityState === "hidden") this.#again();
      else this.refresh();
    });
  }

  #refuse(problem: Problem): void {
    this.#problem = problem;
    this.#events.emit("refused", problem);
    this.close();
  }

  #show(tasks: readonly Snapshot[]): void {
    const same = tasks.length === this.#tasks.length && tasks.every(({ id }, index) => id === this.#tasks[index]?.id);
    this.#tasks = tasks;
    if (!same) this.#events.emit("change", tasks);
  }
}

/**
 * Return the list after the newest page was read: what is new stands where the page has it, what the page would have and hasn't
 * is gone, and nothing else moves. `anew`: it has nothing in common with the page, so that there may be tasks between.
 */
export function merge(
  held: readonly Snapshot[],
  page: readonly Snapshot[],
  more: boolean,
  { moved, left }: { readonly moved: ReadonlySet<string>; readonly left: ReadonlySet<string> },
): { merged: readonly Snapshot[]; anew: boolean } {
  const listed = new Map(page.map((task) => [task.id, task]));
  const last = held.reduce((found, { id }, index) => (listed.has(id) && !moved.has(id) ? index : found), -1);
  if (more && last < 0 && page.length > 0) return { merged: page, anew: true };
  const kept = held.filter(({ id }, index) => listed.has(id) || (more && !left.has(id) && (index > last || moved.has(id))));
  const known = new Set(kept.map(({ id }) => id));
  const merged: Snapshot[] = [...kept];
  let before = more ? (held.slice(last + 1).find(({ id }) => known.has(id))?.id ?? null) : null;
  for (const task of [...page].reverse()) {
    if (moved.has(task.id) && known.has(task.id)) continue;
    if (!known.has(task.id)) {
      const place = before === null ? merged.length : merged.findIndex(({ id }) => id === before);
      merged.splice(place, 0, task);
    }
    before = task.id;
  }
  return { merged, anew: false };
}

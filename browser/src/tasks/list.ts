/** A person's tasks, newest first: the first page is kept up to date while it is visible, further ones are read on demand. */

import { Emitter } from "../link/emitter.js";
import { LatestRequest } from "../link/latest-request.js";
import { Timer, type Timing } from "../link/timing.js";
import type { Document } from "../protocol/events.js";
import type { Problem } from "../protocol/problem.js";
import type { Snapshot } from "../protocol/reading.js";
import type { TaskFilter, TaskPage } from "../protocol/requests.js";

export interface ListEvents {
  /** Tasks were added, removed or moved. To follow a single task, watch it. */
  change: readonly [tasks: readonly Snapshot[]];
  /** A read has ended; `failing` says whether it got no answer. */
  read: readonly [];
  /** The server refuses to show the list. It is closed. */
  refused: readonly [problem: Problem];
}

/** What a list needs from its client. */
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
  /** Tasks that stand where the one they repeat stood, and the ones they repeat. */
  readonly #moved = new Set<string>();
  readonly #replaced = new Set<string>();
  /** Tasks that no longer match the filter. */
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

  /** The tasks read so far, each as it was then. */
  get tasks(): readonly Snapshot[] {
    return this.#tasks;
  }

  /** Whether there is a further page. */
  get hasMore(): boolean {
    return this.#more !== null;
  }

  /** Whether the server has answered at all. */
  get known(): boolean {
    return this.#known;
  }

  /** Whether the last read got no answer; it is tried again. */
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

  /** Read the next page; resolves to the number of tasks added. Rejects as `fetch` does, or with `Refused`. */
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

  /** Show a task that has just been started, if it matches the filter. */
  add(snapshot: Snapshot): void {
    const { state, name } = this.#filter;
    const { document } = snapshot;
    const other = (state !== undefined && document.state !== state) || (name !== undefined && document.task !== name);
    if (other || this.#closed || this.#tasks.some(({ id }) => id === snapshot.id)) return;
    this.#show([snapshot, ...this.#tasks]);
    this.refresh(); // a pending read may not include it
  }

  /** A task's document has changed: if it no longer matches the filter, the next read removes it. */
  changed(task: string, { state }: Document): void {
    const { state: wanted } = this.#filter;
    if (wanted === undefined || state === wanted) this.#left.delete(task);
    else this.#left.add(task);
  }

  /** Show a task in the place of the one that it repeats. */
  replace(task: string, snapshot: Snapshot): void {
    // A group that is started again keeps its id, and its place.
    if (task !== snapshot.id) {
      this.#replaced.add(task);
      this.#moved.add(snapshot.id);
    }
    const others = this.#tasks.filter(({ id }) => id === task || id !== snapshot.id);
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
    // The cursor of the next page stays valid: it names a task, not an offset.
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
 * Return the list after its first page was read: new tasks stand where the page has them, tasks that the page should have and
 * hasn't are gone, and nothing else moves. `anew`: the two have no task in common, so there may be others between them.
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

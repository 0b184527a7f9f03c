/** What one hook knows of a task: React's external store over a `TaskView`. */

import type { TaskClient } from "../client/client.js";
import type { LinkState } from "../link/link.js";
import { parseCursor } from "../protocol/cursor.js";
import { type Document, type Event, feedId, feedOf, isGroup, type Progress } from "../protocol/events.js";
import type { Problem } from "../protocol/problem.js";
import { Reader, type Receipt } from "../protocol/reader.js";
import type { Snapshot } from "../protocol/reading.js";
import { isTerminal, type TaskState } from "../protocol/states.js";
import type { TaskView } from "../tasks/view.js";
import { shareView } from "./shared-views.js";
import type { Store } from "./store.js";

/** A task as it is at one moment. The object stays the same until something changes. */
export interface TaskValue {
  /** The task's id; null if none is named. */
  readonly id: string | null;
  /** Everything that is known of it; `{}` before the first answer. */
  readonly document: Document;
  /** The document's state; null before the first answer. */
  readonly state: TaskState | null;
  readonly progress: Progress | null;
  /** What it has written, by name: only with the option `texts`. */
  readonly texts: Readonly<Record<string, string>>;
  /** Whether it has ended and everything up to its end has been shown. */
  readonly ended: boolean;
  /** Whether anything is missing; null until the end. */
  readonly receipt: Receipt | null;
  /** Why the server doesn't show it, if it doesn't. */
  readonly problem: Problem | null;
  /** The state of the connection; null while this task isn't watched. */
  readonly link: LinkState | null;
}

/** What happens to a task. */
export interface TaskHandlers {
  /** The task has ended; of a group, at the end of each run. */
  readonly onEnd?: ((value: TaskValue) => void) | undefined;
  /** One fact or counter, in order; every fact once. */
  readonly onEvent?: ((event: Event) => void) | undefined;
}

export interface TaskStoreOptions {
  readonly client: () => TaskClient;
  readonly task: string | Snapshot | null;
  readonly texts: boolean;
  /** Not to share the view, for a hook that wants every event. */
  readonly alone: boolean;
}

const NOTHING: TaskValue = {
  id: null,
  document: {},
  state: null,
  progress: null,
  texts: {},
  ended: false,
  receipt: null,
  problem: null,
  link: null,
};
const FIELDS = Object.keys(NOTHING) as readonly (keyof TaskValue)[];

export class TaskStore implements Store<TaskValue> {
  readonly initial: TaskValue;
  /** Set by the hook that owns this store. */
  handlers: TaskHandlers = {};
  readonly #options: TaskStoreOptions;
  /** The task as the view is asked for it, and its feed; null if that isn't a task's id. */
  readonly #named: string | null;
  readonly #feed: string | null;
  /** What its view is shared by. */
  readonly #key: unknown;
  readonly #listeners = new Set<() => void>();
  #value: TaskValue;
  #view: TaskView | null = null;
  #leave: () => void = () => undefined;
  /** Where to continue when the task is watched again. */
  #cursor: string | null;
  /** Whether the view has said anything yet: an opened one may know less than this store. */
  #answered = false;
  /** Whether facts of the present run were missed, by this view or an earlier one. */
  #missed = false;
  /** Whether `onEnd` has been called for the present run. */
  #told = false;

  constructor(options: TaskStoreOptions) {
    const { task, texts } = options;
    this.#options = options;
    this.#named = task === null || typeof task === "string" ? task : task.feed;
    this.#feed = this.#named === null ? null : feedOf(this.#named);
    this.#cursor = task === null || typeof task === "string" ? null : task.cursor;
    this.#key = options.alone ? this : [this.#feed, this.#cursor, texts].join(" ");
    this.initial = task === null || this.#feed === null ? NOTHING : valueOf(task, this.#feed, texts);
    this.#value = this.initial;
  }

  get value(): TaskValue {
    return this.#value;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    if (this.#listeners.size === 1) this.#open();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#close();
    };
  };

  async cancel(options: { readonly force?: boolean } = {}): Promise<Document> {
    return this.#options.client().cancel(this.#name(), options);
  }

  async retry(): Promise<Snapshot> {
    // Of a group the view itself goes on.
    return this.#view?.retry() ?? this.#options.client().retry(this.#name());
  }

  async acknowledge(): Promise<void> {
    return this.#options.client().acknowledge([this.#name()]);
  }

  #name(): string {
    if (this.#named !== null) return this.#named;
    throw new RangeError("No task is named. Pass a task's id or snapshot to the hook first.");
  }

  #open(): void {
    const [task, feed, cursor] = [this.#named, this.#feed, this.#cursor];
    if (task === null) return;
    if (this.#value.ended && !(feed !== null && isGroup(feed))) {
      // Nothing more comes, so nothing is asked.
      this.#end();
      return;
    }
    const { texts } = this.#options;
    const client = this.#options.client();
    const { document } = this.#value;
    try {
      const { view, leave } = shareView(client, this.#key, () =>
        client.watch(task, { cursor, texts, ...(cursor !== null && { document }) }),
      );
      this.#follow(view, leave);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.#set({ problem: { title: error.message, status: 400 } });
    }
  }

  #follow(view: TaskView, leave: () => void): void {
    const update = (): void => this.#update(view);
    const undo = [
      view.on("event", (event) => this.handlers.onEvent?.(event)),
      view.on("change", update),
      view.on("text", () => this.#update(view, textsOf(view))),
      view.on("reset", () => {
        this.#missed = true;
        update();
      }),
      view.on("read", update),
      view.on("link", (link) => this.#set({ link })),
      view.on("refused", update),
      view.on("again", () => {
        this.#missed = this.#told = false;
        update();
      }),
      view.on("end", () => {
        update();
        this.#end();
      }),
    ];
    this.#leave = () => {
      for (const each of undo) each();
      leave();
    };
    this.#view = view;
    this.#answered = false;
    if (this.#isAhead(view)) this.#update(view, this.#options.texts ? textsOf(view) : NOTHING.texts);
    else this.#set({ link: view.link });
    if (view.ended) this.#end();
  }

  /** Whether a view that others have opened, or that this store has just left, knows more than this store. */
  #isAhead(view: TaskView): boolean {
    if (view.ended || view.closed) return true;
    const [there, here] = [parseCursor(view.cursor), parseCursor(this.#cursor)];
    return there !== null && (here === null || there.epoch !== here.epoch || there.seq > here.seq);
  }

  #close(): void {
    const view = this.#view;
    if (!view) return;
    if (this.#answered) this.#cursor = view.cursor;
    this.#view = null;
    this.#leave();
    this.#set({ link: null });
  }

  #update(view: TaskView, texts: TaskValue["texts"] = this.#value.texts): void {
    this.#answered = true;
    const { id, document, progress, ended, problem } = view;
    this.#set({
      id,
      document,
      state: document.state ?? null,
      progress,
      texts,
      ended,
      receipt: ended ? (this.#value.receipt ?? this.#receiptOf(view)) : null,
      problem,
      link: ended || problem ? null : view.link,
    });
  }

  #set(changes: Partial<TaskValue>): void {
    const value = { ...this.#value, ...changes };
    if (FIELDS.every((field) => value[field] === this.#value[field])) return;
    this.#value = value;
    for (const listener of [...this.#listeners]) listener();
  }

  #receiptOf({ receipt }: TaskView): Receipt {
    return { ...receipt, complete: receipt.complete && !this.#missed };
  }

  #end(): void {
    if (this.#told) return;
    this.#told = true;
    this.handlers.onEnd?.(this.#value);
  }
}

/** Return what a snapshot says without asking the server. */
function valueOf(task: string | Snapshot, feed: string, texts: boolean): TaskValue {
  const id = feedId(feed);
  if (typeof task === "string") return { ...NOTHING, id };
  const { document } = task;
  const { state = null, progress = null } = document;
  // A snapshot has no texts: they are read, even after the end.
  const ended = isTerminal(document) && !texts;
  const receipt = ended ? new Reader(feed, { cursor: parseCursor(task.cursor), document, texts }).receipt : null;
  return { ...NOTHING, id, document, state, progress, ended, receipt };
}

function textsOf(view: TaskView): TaskValue["texts"] {
  return Object.fromEntries(view.texts.map((name) => [name, view.text(name)]));
}

/** Watches tasks without a user interface: one connection for all of them, one reader for each view. */

import { Acknowledgements } from "../inbox/acknowledgements.js";
import { InboxView } from "../inbox/inbox.js";
import { ServerClock } from "../link/clock.js";
import { Emitter } from "../link/emitter.js";
import { Http } from "../link/http.js";
import { Link, type LinkState } from "../link/link.js";
import { DEFAULT_TIMING, Timer, type Timing } from "../link/timing.js";
import { Tokens, type TokenSource } from "../link/tokens.js";
import { Transport } from "../link/transport.js";
import type { Child, ChildFilter, ChildPage } from "../protocol/children.js";
import { parseCursor } from "../protocol/cursor.js";
import { type Document, feedId, feedOf, isGroup, parseEvent } from "../protocol/events.js";
import { parseProblem } from "../protocol/problem.js";
import { type Links, parseReading, type Snapshot } from "../protocol/reading.js";
import type { TaskFilter } from "../protocol/requests.js";
import { TaskListView } from "../tasks/list.js";
import { type TaskServer, TaskView } from "../tasks/view.js";

export interface ClientOptions {
  /** The server, for example `https://app.example`; the page's own origin without it. */
  readonly url?: string;
  /** Where Petiole's HTTP calls are. Default `/petiole`. */
  readonly prefix?: string;
  /** Where Socket.IO is. Default `/socket.io`. */
  readonly path?: string;
  /** A token instead of a session, or a function that returns one: called before the present one expires, and after a 401. */
  readonly token?: TokenSource;
  /** Durations that differ from `DEFAULT_TIMING`, in seconds. */
  readonly timing?: Partial<Timing>;
  /** For tests: a source of numbers from 0 up to 1. */
  readonly random?: () => number;
  /** For tests: milliseconds since 1970. */
  readonly now?: () => number;
}

export interface WatchOptions {
  /** Where to continue: the cursor of a snapshot or of an earlier view. Without one, every fact is read. */
  readonly cursor?: string | null;
  /** The document at that cursor, shown until the first answer. */
  readonly document?: Document;
  /** Whether to read what the task writes; true by default. */
  readonly texts?: boolean;
}

export interface ClientEvents {
  link: readonly [state: LinkState];
  /** `start` or `post` has started a task. */
  started: readonly [snapshot: Snapshot];
}

export class TaskClient {
  readonly #events = new Emitter<ClientEvents>();
  readonly #link: Link;
  readonly #http: Http;
  readonly #transport: Transport;
  readonly #timing: Timing;
  readonly #tokens: Tokens;
  readonly #idle = new Timer();
  readonly #views = new Set<TaskView>();
  readonly #inboxes = new Set<InboxView>();
  readonly #lists = new Set<TaskListView>();
  readonly #acknowledgements: Acknowledgements;
  readonly #server: TaskServer;

  constructor(options: ClientOptions = {}) {
    const origin = options.url === undefined ? null : new URL(options.url).origin;
    const random = options.random ?? Math.random;
    this.#timing = { ...DEFAULT_TIMING, ...options.timing };
    this.#tokens = new Tokens(options.token ?? null);
    this.#http = new Http({
      origin,
      prefix: (options.prefix ?? "/petiole").replace(/\/+$/, ""),
      answerWithin: this.#timing.answerWithin,
    });
    const expects = (): boolean => [...this.#views].some((view) => !view.feed.startsWith("user:") && !view.ended);
    const link = new Link({ origin, path: options.path ?? "/socket.io", timing: this.#timing, random, expects });
    this.#link = link;
    const transport = new Transport({ link, http: this.#http, tokens: this.#tokens, renew: () => this.#refresh() });
    this.#transport = transport;
    this.#server = {
      get link() {
        return link.state;
      },
      get polling() {
        return link.fallback;
      },
      get open() {
        return link.connected || link.fallback;
      },
      clock: new ServerClock(options.now ?? Date.now),
      timing: this.#timing,
      random,
      read: (feed, cursor, document, asked) => transport.read(feed, cursor, document, asked),
      cancel: (feed, force) => transport.cancel(feed, force),
      retry: (feed) => transport.retry(feed),
      links: (feed) => this.links(feed),
      children: (feed, page) => transport.children(feed, page),
      watch: (feed, options) => this.watch(feed, options),
      acknowledge: (task) => this.acknowledge([task]),
      failed: (failures) => this.#failed(failures),
      release: (view) => this.#release(view),
    };
    this.#acknowledgements = new Acknowledgements({
      send: (message) => transport.acknowledge(message),
      failed: (failures) => this.#failed(failures),
      changed: () => this.#inboxes.forEach((inbox) => inbox.update()),
      now: () => this.#server.clock.now(),
      timing: this.#timing,
      random,
    });
    const catchUp = (): void => {
      this.#acknowledgements.again();
      this.#refresh();
    };
    link.on("connect", catchUp);
    link.on("connect", () => this.#lists.forEach((list) => list.refresh()));
    link.on("wake", catchUp);
    link.on("fallback", () => this.#refresh());
    link.on("disconnect", () => this.#views.forEach((view) => view.interrupt()));
    link.on("state", (state) => {
      this.#events.emit("link", state);
      this.#views.forEach((view) => view.linkChanged(state));
    });
    link.on("event", (wire) => this.#event(wire));
    link.on("reset", (wire) => this.#reset(wire));
    link.on("refused", (wire) => this.#refused(wire));
  }

  get link(): LinkState {
    return this.#link.state;
  }

  /** Call the listener at every such event; returns its undo. */
  on<Name extends keyof ClientEvents>(name: Name, listener: (...values: ClientEvents[Name]) => void): () => void {
    return this.#events.on(name, listener);
  }

  /**
   * Watch a task or a group by its id, or any feed by its name. The view begins after this turn of the event loop, so that
   * listeners added at once miss nothing.
   *
   * Throws `RangeError` if the feed or the cursor isn't valid.
   */
  watch(taskOrFeed: string, { cursor: text = null, document, texts = true }: WatchOptions = {}): TaskView {
    const feed = feedName(taskOrFeed);
    const cursor = parseCursor(text);
    if (text !== null && cursor === null) {
      throw new RangeError("That is not a cursor. Pass the cursor of a snapshot or of a view unchanged, or none.");
    }
    const view = new TaskView(this.#server, feed, { cursor, ...(document && { document }), texts });
    this.#views.add(view);
    this.#idle.clear();
    queueMicrotask(() => {
      if (!this.#views.has(view)) return;
      this.#link.open();
      view.refresh();
    });
    return view;
  }

  /**
   * Start a task: POST the body as JSON to a route of the application that answers 202 with a snapshot, and watch from
   * the snapshot's cursor, which predates the dispatch, so that nothing is missed.
   *
   * Rejects with `Refused` if the route answers anything else, and as `fetch` does if it can't be reached.
   */
  async start(url: string, body: unknown, options?: { headers?: Record<string, string> }): Promise<TaskView> {
    return this.resume(await this.post(url, body, options));
  }

  /** Start a task as `start` does, without watching it: resolves to its snapshot. */
  async post(url: string, body: unknown, options?: { headers?: Record<string, string> }): Promise<Snapshot> {
    const snapshot = await this.#http.start(url, body, options?.headers ?? {});
    this.#events.emit("started", snapshot);
    return snapshot;
  }

  /** Watch from a snapshot that the page has already, for example one that the server rendered into it. */
  resume({ feed, cursor, document }: Snapshot, options: { readonly texts?: boolean } = {}): TaskView {
    return this.watch(feed, { cursor, document, ...options });
  }

  /** Watch the inbox of the person who is logged in: a notice for each of their finished tasks. */
  inbox(): InboxView {
    const inbox: InboxView = new InboxView({
      find: () => this.#transport.inbox(),
      watch: (snapshot) => this.resume(snapshot),
      acknowledged: (task, at) => this.#acknowledgements.has(task, at),
      acknowledge: (tasksOrAll) => this.acknowledge(tasksOrAll),
      release: () => void this.#inboxes.delete(inbox),
      link: () => this.#link.state,
      now: () => this.#server.clock.now(),
      timing: this.#timing,
      random: this.#server.random,
    });
    this.#inboxes.add(inbox);
    return inbox;
  }

  /** List the tasks of the person who is logged in, newest first. Tasks that this client starts appear at once. */
  tasks(filter: TaskFilter = {}): TaskListView {
    const undo = this.#events.on("started", (snapshot) => list.add(snapshot));
    const list: TaskListView = new TaskListView(
      {
        read: (page) => this.#transport.tasks(page),
        release: () => {
          undo();
          this.#lists.delete(list);
        },
        timing: this.#timing,
        random: this.#server.random,
      },
      filter,
    );
    this.#lists.add(list);
    return list;
  }

  /**
   * Remove the notices of these tasks, or all notices, from the inbox, on every page. A task that is acknowledged before its
   * notice arrives gets none. Sent again until the server has answered.
   *
   * Throws `RangeError` if one isn't a task's id. Rejects with `Refused` if the server refuses.
   */
  acknowledge(tasksOrAll: readonly string[] | "all"): Promise<void> {
    if (tasksOrAll !== "all") return this.#acknowledgements.add(tasksOrAll.map(taskId));
    const answered = this.#acknowledgements.addAll();
    this.#inboxes.forEach((inbox) => inbox.clear(answered));
    return answered;
  }

  /** Ask a task to stop, without watching it; as `TaskView.cancel`. Throws `RangeError` if that isn't a task's id. */
  async cancel(taskOrFeed: string, { force = false }: { readonly force?: boolean } = {}): Promise<Document> {
    return this.#transport.cancel(feedName(taskOrFeed), force);
  }

  /** Start an ended task again, without watching it; as `TaskView.retry`. Throws `RangeError` if that isn't a task's id. */
  async retry(taskOrFeed: string): Promise<Snapshot> {
    return this.#transport.retry(feedName(taskOrFeed));
  }

  /** The URLs of what can be done with this task now, such as `cancel` and `retry`. */
  async links(taskOrFeed: string): Promise<Links> {
    const feed = feedOf(taskOrFeed);
    return feed === null ? {} : ((await this.#transport.snapshot(feed)).links ?? {});
  }

  /**
   * List a group's children by number, those in some state or all. Pages are read as the loop goes on, each as of its own instant;
   * `limit` is the size of one.
   *
   * Throws `RangeError` if that isn't a group's id, `Refused`, or as `fetch` does.
   */
  async *children(group: string, filter: ChildFilter = {}): AsyncGenerator<Child, void, undefined> {
    if (!isGroup(group)) throw new RangeError("That is not a group's id. Pass the id that the 202 named.");
    let cursor: string | null = null;
    do {
      const page: ChildPage = await this.#transport.children(group, { ...filter, cursor });
      yield* page.children;
      cursor = page.next;
    } while (cursor !== null);
  }

  /**
   * Take the connection away for so many seconds, as a cut cable does, to show or test how the page copes. Nothing is asked
   * over HTTP meanwhile either. The client reconnects by itself and catches up.
   */
  cut(seconds: number): void {
    this.#link.cut(seconds);
  }

  /** Close every view and the connection. */
  close(): void {
    for (const inbox of [...this.#inboxes]) inbox.close();
    for (const list of [...this.#lists]) list.close();
    this.#acknowledgements.close();
    for (const view of [...this.#views]) view.close();
    this.#idle.clear();
    this.#tokens.close();
    this.#link.close();
  }

  #refresh(): void {
    for (const view of [...this.#views]) view.refresh();
  }

  #event(wire: unknown): void {
    const event = parseEvent(wire);
    if (!event) {
      console.warn("Petiole: a message that isn't an event is ignored.");
      return;
    }
    this.#server.clock.hear(event.at);
    this.#of(event.feed).forEach((view) => view.take(event));
  }

  #reset(wire: unknown): void {
    const reading = parseReading(wire);
    if (reading) this.#of(reading.feed).forEach((view) => view.takeReset(reading));
  }

  #refused(wire: unknown): void {
    const { feed, error } = (wire ?? {}) as { feed?: unknown; error?: unknown };
    if (typeof feed !== "string") return;
    const problem = parseProblem(error);
    const renewed = problem.status === 401 && this.#tokens.renews;
    if (renewed) this.#tokens.forget();
    this.#of(feed).forEach((view) => (renewed ? view.refresh() : view.takeRefusal(problem)));
  }

  #of(feed: string): TaskView[] {
    return [...this.#views].filter((view) => view.feed === feed);
  }

  /** A connected socket that leaves two requests in a row unanswered is dead. */
  #failed(failures: number): void {
    if (failures >= 2 && this.#link.connected) this.#link.restart();
  }

  #release(view: TaskView): void {
    if (!this.#views.delete(view)) return;
    if (this.#of(view.feed).length === 0) this.#transport.unwatch(view.feed);
    if (this.#views.size > 0) return;
    this.#tokens.close();
    this.#idle.set(this.#timing.idleAfter, () => this.#link.close());
  }
}

function feedName(taskOrFeed: string): string {
  const feed = feedOf(taskOrFeed);
  if (feed !== null) return feed;
  throw new RangeError("That is not a task's id or a feed's name. Pass the id that the 202 named.");
}

function taskId(text: string): string {
  const feed = feedOf(text);
  if (feed !== null && !feed.startsWith("user:")) return feedId(feed);
  throw new RangeError("That is not a task's id. Pass the ids that the 202 named, or \"all\".");
}

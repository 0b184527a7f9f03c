/** Watching tasks without any user interface: one connection for a page, one reader for each view. */

import { Acknowledgements } from "../inbox/acknowledgements.js";
import { InboxView } from "../inbox/inbox.js";
import { ServerClock } from "../link/clock.js";
import { Emitter } from "../link/emitter.js";
import { type Answer, Http } from "../link/http.js";
import { Link, type LinkState } from "../link/link.js";
import { DEFAULT_TIMING, Timer, type Timing } from "../link/timing.js";
import { Tokens, type TokenSource } from "../link/tokens.js";
import { type Cursor, formatCursor, parseCursor } from "../protocol/cursor.js";
import { type Document, feedId, feedOf, parseEvent } from "../protocol/events.js";
import { parseProblem, Refused } from "../protocol/problem.js";
import { type Links, parseReading, type Snapshot } from "../protocol/reading.js";
import type { Acknowledgement, TaskFilter, TaskPage } from "../protocol/requests.js";
import { TaskListView } from "../tasks/list.js";
import { type Server, TaskView } from "../tasks/view.js";

export interface ClientOptions {
  /** The server, for example `https://app.example`; the page's own origin without it. */
  readonly url?: string;
  /** Where Petiole's HTTP calls are. Default `/petiole`. */
  readonly prefix?: string;
  /** Where Socket.IO is. Default `/socket.io`. */
  readonly path?: string;
  /** Instead of a session: a token, or what returns a new one before the present one ends and after a 401. */
  readonly token?: TokenSource;
  /** Durations that differ from `DEFAULT_TIMING`, in seconds. */
  readonly timing?: Partial<Timing>;
  /** For tests: a source of numbers from 0 up to 1. */
  readonly random?: () => number;
  /** For tests: milliseconds since 1970. */
  readonly now?: () => number;
}

export interface WatchOptions {
  /** Where to go on from: the cursor of a snapshot or of an earlier view. Without one, every fact is read. */
  readonly cursor?: string | null;
  /** The document at that cursor, shown until the first answer. */
  readonly document?: Document;
}

export interface ClientEvents {
  link: readonly [state: LinkState];
  /** `start` has started a task. */
  started: readonly [snapshot: Snapshot];
}

export class TaskClient {
  readonly #events = new Emitter<ClientEvents>();
  readonly #link: Link;
  readonly #http: Http;
  readonly #timing: Timing;
  readonly #tokens: Tokens;
  readonly #idle = new Timer();
  readonly #views = new Set<TaskView>();
  readonly #inboxes = new Set<InboxView>();
  readonly #lists = new Set<TaskListView>();
  readonly #acknowledgements: Acknowledgements;
  readonly #server: Server;

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
    const expects = (): boolean => [...this.#views].some((view) => view.feed.startsWith("task:") && !view.ended);
    const link = new Link({ origin, path: options.path ?? "/socket.io", timing: this.#timing, random, expects });
    this.#link = link;
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
      read: (feed, cursor, document) => this.#read(feed, cursor, document),
      cancel: (feed, force) => this.#cancel(feed, force),
      retry: (feed) => this.#retry(feed),
      links: (feed) => this.links(feed),
      watch: (feed) => this.watch(feed),
      acknowledge: (task) => this.acknowledge([task]),
      failed: (failures) => this.#failed(failures),
      release: (view) => this.#release(view),
    };
    this.#acknowledgements = new Acknowledgements({
      send: (message) => this.#acknowledge(message),
      failed: (failures) => this.#failed(failures),
      changed: () => this.#inboxes.forEach((inbox) => inbox.update()),
      timing: this.#timing,
      random,
    });
    link.on("connect", () => this.#acknowledgements.again());
    link.on("wake", () => this.#acknowledgements.again());
    link.on("connect", () => this.#refresh());
    link.on("connect", () => this.#lists.forEach((list) => list.refresh()));
    link.on("wake", () => this.#refresh());
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
   * Watch a task by its id, or any feed by its name. The view begins after this turn of the event loop, so that
   * listeners added at once miss nothing.
   *
   * Throws `RangeError` if that can't be a feed or the cursor isn't one.
   */
  watch(taskOrFeed: string, { cursor: text = null, document }: WatchOptions = {}): TaskView {
    const feed = feedOf(taskOrFeed);
    const cursor = parseCursor(text);
    if (feed === null) throw new RangeError("That is not a task's id or a feed's name. Pass the id that the 202 named.");
    if (text !== null && cursor === null) {
      throw new RangeError("That is not a cursor. Pass the cursor of a snapshot or of a view unchanged, or none.");
    }
    const view = new TaskView(this.#server, feed, { cursor, ...(document && { document }) });
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
   * the snapshot's cursor, which is of before the dispatch, so that nothing is missed.
   *
   * Rejects with `Refused` if the route answers anything else, and as `fetch` does if it can't be reached.
   */
  async start(url: string, body: unknown, options: { headers?: Record<string, string> } = {}): Promise<TaskView> {
    const snapshot = await this.#http.start(url, body, options.headers ?? {});
    this.#events.emit("started", snapshot);
    return this.resume(snapshot);
  }

  /** Watch from a snapshot that the page has already, for example one that the server put into it. */
  resume({ feed, cursor, document }: Snapshot): TaskView {
    return this.watch(feed, { cursor, document });
  }

  /** Watch the inbox of whoever is logged in: one notice of each finished task of theirs. */
  inbox(): InboxView {
    const inbox: InboxView = new InboxView({
      find: () => this.#http.inbox(),
      watch: (snapshot) => this.resume(snapshot),
      acknowledged: (task) => this.#acknowledgements.has(task),
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

  /** List the tasks of whoever is logged in, the newest first. What this client starts is in it at once. */
  tasks(filter: TaskFilter = {}): TaskListView {
    const undo = this.#events.on("started", (snapshot) => list.add(snapshot));
    const list: TaskListView = new TaskListView(
      {
        read: (page) => this.#list(page),
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
   * Take the notices of these tasks out of the inbox, on all pages, or all that are in it. What is acknowledged before its
   * notice has come never comes. Sent again until the server has answered.
   *
   * Throws `RangeError` if one can't be a task's id. Rejects with `Refused` if the server refuses.
   */
  acknowledge(tasksOrAll: readonly string[] | "all"): Promise<void> {
    if (tasksOrAll !== "all") return this.#acknowledgements.add(tasksOrAll.map(taskId));
    const answered = this.#acknowledgements.addAll();
    this.#inboxes.forEach((inbox) => inbox.clear(answered));
    return answered;
  }

  /**
   * Take the connection away for so many seconds, as a cut cable does: for showing, and for testing, what the page makes of
   * it. Nothing is asked over HTTP meanwhile either. It comes back by itself and catches up.
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

  /** The addresses of what can be done with this task, such as `cancel` and `retry`, as the server names them now. */
  async links(taskOrFeed: string): Promise<Links> {
    const feed = feedOf(taskOrFeed);
    this.#overSocket();
    if (feed === null) return {};
    const snapshot = await this.#tokens.use((token) => this.#http.snapshot(feed, token));
    return snapshot.links ?? {};
  }

  async #list(page: TaskFilter & { readonly cursor?: string }): Promise<TaskPage> {
    this.#overSocket();
    return this.#tokens.use((token) => this.#http.tasks(page, token));
  }

  #read(feed: string, cursor: Cursor | null, document: Document): Promise<Answer> {
    return this.#tokens.use((token) => this.#readAs(token, feed, cursor, document));
  }

  async #readAs(token: string | null, feed: string, cursor: Cursor | null, document: Document): Promise<Answer> {
    if (!this.#overSocket()) return this.#poll(feed, cursor, document, token);
    const at = cursor && { cursor: formatCursor(cursor) };
    const reply = await this.#link.ask("watch", { feed, ...at, ...(token !== null && { token }) });
    const reading = parseReading(reply);
    if (reading) {
      this.#tokens.endsIn((reply as { token_expires_in?: unknown }).token_expires_in, () => this.#refresh());
      return { reading, again: null };
    }
    const problem = parseProblem((reply as { error?: unknown } | null)?.error);
    const after = (problem as { retry_after?: unknown }).retry_after;
    throw new Refused(problem, problem.status === 429 && typeof after === "number" ? Math.min(after, 60) : null);
  }

  /** Whether to ask over the socket; else it is HTTP, unless the connection was cut on purpose. */
  #overSocket(): boolean {
    if (this.#link.isCut) throw new Error("The connection is cut. Ask again when it is back.");
    return this.#link.connected;
  }

  async #poll(feed: string, cursor: Cursor | null, document: Document, token: string | null): Promise<Answer> {
    let answered = false;
    try {
      const answer = await this.#http.read(feed, cursor, document, token);
      answered = true;
      return answer;
    } finally {
      if (!this.#link.connected) this.#link.polled(answered);
    }
  }

  #cancel(feed: string, force: boolean): Promise<Document> {
    return this.#tokens.use((token) => this.#cancelAs(token, feed, force));
  }

  async #cancelAs(token: string | null, feed: string, force: boolean): Promise<Document> {
    if (!this.#overSocket()) return (await this.#http.cancel(feed, force, token)).document;
    const asked = { feed, ...(force && { force }), ...(token !== null && { token }) };
    const reply = (await this.#link.ask("cancel", asked)) as { document?: Document; error?: unknown } | null;
    if (reply?.document) return reply.document;
    throw new Refused(parseProblem(reply?.error));
  }

  async #retry(feed: string): Promise<Snapshot> {
    this.#overSocket();
    return this.#tokens.use((token) => this.#http.retry(feed, token));
  }

  async #acknowledge(message: Acknowledgement): Promise<void> {
    if (!this.#overSocket()) return this.#http.acknowledge(message);
    const reply = (await this.#link.ask("acknowledge", message)) as { error?: unknown } | null;
    if (reply?.error !== undefined) throw new Refused(parseProblem(reply.error));
  }

  /** A socket that is connected and leaves two questions in a row unanswered is dead. */
  #failed(failures: number): void {
    if (failures >= 2 && this.#link.connected) this.#link.restart();
  }

  #release(view: TaskView): void {
    if (!this.#views.delete(view)) return;
    if (this.#of(view.feed).length === 0 && this.#link.connected) {
      // Whether it arrives changes nothing here: a room that nobody watches costs the server a little until it closes.
      this.#link.ask("unwatch", { feed: view.feed }).catch(() => undefined);
    }
    if (this.#views.size > 0) return;
    this.#tokens.close();
    this.#idle.set(this.#timing.idleAfter, () => this.#link.close());
  }
}

function taskId(text: string): string {
  const feed = feedOf(text);
  if (feed?.startsWith("task:")) return feedId(feed);
  throw new RangeError("That is not a task's id. Pass the ids that the 202 named, or \"all\".");
}

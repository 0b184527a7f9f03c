/** One task as the page sees it: its document, kept up to date, and what happens to it. */

import type { Moment, ServerClock } from "../link/clock.js";
import { Emitter } from "../link/emitter.js";
import type { Answer, Asked } from "../link/http.js";
import { LatestRequest } from "../link/latest-request.js";
import type { LinkState } from "../link/link.js";
import type { Timing } from "../link/timing.js";
import type { ChildFilter, ChildPage } from "../protocol/children.js";
import { type Cursor, formatCursor, parseCursor, placeOf } from "../protocol/cursor.js";
import { type Document, type Event, feedId, isGroup, type Progress, VERSIONS } from "../protocol/events.js";
import { isFinal, type Problem } from "../protocol/problem.js";
import { type Action, Reader, type Receipt } from "../protocol/reader.js";
import type { Links, Reading, Snapshot } from "../protocol/reading.js";
import { isTerminal } from "../protocol/states.js";

export interface ViewEvents {
  /** The document has changed; once for all events that arrived together. */
  change: readonly [document: Document];
  /** One fact or counter, in order; every fact once. */
  event: readonly [event: Event];
  /**
   * A chunk was appended to a text, which is `whole` with it. Both are empty if the text is void: a later run begins its own, or
   * the server gives it again from the start.
   */
  text: readonly [name: string, chunk: string, whole: string];
  /** A snapshot has replaced the document: at most so many facts were missed. */
  reset: readonly [document: Document, missed: number];
  /** The server has answered a read: what happened until then has been shown. */
  read: readonly [];
  link: readonly [state: LinkState];
  /** The task has ended, and everything up to its end has been shown. Emitted once; of a group, at the end of each run. */
  end: readonly [receipt: Receipt];
  /** The group, which had ended, has begun again: its facts are shown from the first one, for a receipt of their own. */
  again: readonly [];
  /** The server refuses to show this feed: it doesn't exist, or this person may not see it. The view is closed. */
  refused: readonly [problem: Problem];
}

/** What a view needs from its client. */
export interface TaskServer {
  readonly link: LinkState;
  /** Whether the client asks over HTTP because the socket is away. */
  readonly polling: boolean;
  readonly open: boolean;
  readonly clock: ServerClock;
  readonly timing: Timing;
  readonly random: () => number;
  /** Read what follows the cursor; `document` is the one at that cursor. */
  read(feed: string, cursor: Cursor | null, document: Document, asked: Asked): Promise<Answer>;
  cancel(feed: string, force: boolean): Promise<Document>;
  retry(feed: string): Promise<Snapshot>;
  links(feed: string): Promise<Links>;
  children(feed: string, page: ChildFilter & { readonly cursor?: string | null }): Promise<ChildPage>;
  watch(feed: string, options: { readonly texts: boolean }): TaskView;
  acknowledge(task: string): Promise<void>;
  failed(failures: number): void;
  release(view: TaskView): void;
}

export class TaskView {
  readonly feed: string;
  readonly #server: TaskServer;
  readonly #events = new Emitter<ViewEvents>();
  #reader: Reader;
  readonly #reads: LatestRequest<Cursor | null, Answer>;
  #closed = false;
  #ended = false;
  /** Once the task has ended: hashes are compared once. */
  #receipt: Receipt | null = null;
  #problem: Problem | null = null;
  #seen: Document;
  #warned = false;
  #progressAt: number | null = null;
  #heardAt: number | null = null;

  /** @internal Views are made by `TaskClient.watch` and `TaskClient.start`. */
  constructor(server: TaskServer, feed: string, start: { cursor: Cursor | null; document?: Document; texts?: boolean }) {
    this.feed = feed;
    this.#server = server;
    this.#reader = new Reader(feed, start);
    this.#seen = this.#reader.document;
    this.#reads = new LatestRequest({
      ask: (cursor, within) => server.read(feed, cursor, this.document, { within, texts: this.#reader.keepsTexts }),
      open: () => server.open,
      answered: (answer) => this.#answered(answer),
      refused: (problem) => this.#refuse(problem),
      failed: (failures) => server.failed(failures),
      timing: server.timing,
      random: server.random,
    });
    if (this.progress) this.#progressAt = server.clock.now();
  }

  /** The task's id; a group's is its feed's whole name; of another feed, what follows its kind. */
  get id(): string {
    return feedId(this.feed);
  }

  get document(): Document {
    return this.#reader.document;
  }

  get progress(): Progress | null {
    return this.document.progress ?? null;
  }

  /**
   * The cursor to continue from after a reload; null before the first answer. It is without the lengths of texts: a page that keeps
   * only the cursor gets them from their start.
   */
  get cursor(): string | null {
    return this.#reader.cursor && formatCursor(placeOf(this.#reader.cursor));
  }

  /** A text as far as it has arrived; empty if there is none of this name. */
  text(name = "output"): string {
    return this.#reader.texts.get(name) ?? "";
  }

  /** The names of the texts, in the order in which they appeared. */
  get texts(): readonly string[] {
    return [...this.#reader.texts.keys()];
  }

  get receipt(): Receipt {
    return this.#receipt ?? this.#reader.receipt;
  }

  get link(): LinkState {
    return this.#server.link;
  }

  /** Whether the task has ended and its last fact has been shown. */
  get ended(): boolean {
    return this.#ended;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Why the server refused this feed, if it did. */
  get problem(): Problem | null {
    return this.#problem;
  }

  /** The instants that the words about this task depend on. */
  get moment(): Moment {
    return { now: this.#server.clock.now(), progressAt: this.#progressAt, heardAt: this.#heardAt };
  }

  /** Call the listener at every such event; returns its undo. */
  on<Name extends keyof ViewEvents>(name: Name, listener: (...values: ViewEvents[Name]) => void): () => void {
    return this.#events.on(name, listener);
  }

  /** Whether a read is pending, so that recent events may be missing. While the client polls, one always is. */
  get reading(): boolean {
    return this.#reader.reading;
  }

  /**
   * Ask the task to stop. `force` kills the process that runs it, from the document's `force_after` on. Rejects with `Refused`
   * if the task has finished or this person may not stop it.
   */
  cancel({ force = false }: { readonly force?: boolean } = {}): Promise<Document> {
    return this.#server.cancel(this.feed, force);
  }

  /**
   * Start the task again after its end. Resolves to the new task, which has an id of its own. A group keeps its id: those of its
   * children that failed begin again, and this view goes on. Rejects with `Refused` if the server can't repeat it.
   */
  async retry(): Promise<Snapshot> {
    const snapshot = await this.#server.retry(this.feed);
    if (snapshot.feed === this.feed && this.#ended) this.#again(snapshot);
    return snapshot;
  }

  /** The URLs of what can be done with this task now, such as `retry` if it can be started again. */
  links(): Promise<Links> {
    return this.#server.links(this.feed);
  }

  /** Return a page of this group's children: by number, from the cursor that the page before named. */
  childPage(page: ChildFilter & { readonly cursor?: string | null } = {}): Promise<ChildPage> {
    return this.#server.children(this.feed, page);
  }

  /** Watch the same task from its first fact, for a complete log wherever this view began; without its texts. */
  history(): TaskView {
    return this.#server.watch(this.feed, { texts: false });
  }

  /** Remove the notice of this task's end from its owner's inbox: somebody has seen it here. */
  acknowledge(): Promise<void> {
    return this.#server.acknowledge(this.id);
  }

  /** Stop watching. The document and the receipt stay as they are. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#reads.cancel();
    this.#server.release(this);
    this.#events.clear();
  }

  /** @internal Read from the cursor: first, after a reconnect, when the page wakes, and for every poll. */
  refresh(): void {
    if (!this.#closed && (!this.#ended || isGroup(this.feed))) this.#do(this.#reader.start());
  }

  /** @internal The connection is gone: pending requests are void. */
  interrupt(): void {
    this.#reads.cancel();
  }

  /** @internal Take an event of this feed. */
  take(event: Event): void {
    if (this.#isOver(event.epoch)) return;
    if (!VERSIONS.includes(event.v) && !this.#warned) {
      this.#warned = true;
      console.warn(`Petiole: an event of protocol version ${event.v} is ignored. Serve the petiole.js of the server.`);
    }
    this.#do(this.#reader.offer(event));
  }

  /** @internal Take a reset from the relay: a reading, after which the watch must be renewed. */
  takeReset(reading: Reading): void {
    if (this.#isOver(reading.cursor.epoch)) return;
    this.#reads.cancel();
    this.#do(this.#reader.reset(reading));
    if (!this.#reader.reading) this.refresh();
  }

  /** @internal The server has ended this watch. If that is temporary, watch again. */
  takeRefusal(problem: Problem): void {
    if (this.#closed || this.#ended) return;
    if (isFinal(problem)) this.#refuse(problem);
    else this.refresh();
  }

  #refuse(problem: Problem): void {
    if (this.#closed || this.#ended) return;
    this.#problem = problem;
    this.#events.emit("refused", problem);
    this.close();
  }

  /** @internal */
  linkChanged(state: LinkState): void {
    this.#events.emit("link", state);
  }

  /** Return whether nothing more is shown. What comes in another epoch after the end of a group says that it has begun again. */
  #isOver(epoch: string): boolean {
    if (this.#ended && !this.#closed && isGroup(this.feed) && epoch !== this.#reader.cursor?.epoch) this.#again();
    return this.#closed || this.#ended;
  }

  #again(snapshot?: Snapshot): void {
    this.#ended = false;
    this.#receipt = null;
    const { document, cursor } = snapshot ?? { document: this.document, cursor: null };
    this.#reader = new Reader(this.feed, { texts: this.#reader.keepsTexts, document, cursor: parseCursor(cursor) });
    this.#events.emit("again");
    this.refresh();
  }

  #answered({ reading, again }: Answer): void {
    if (this.#ended && !this.#isOver(reading.cursor.epoch)) return;
    this.#do(this.#reader.answer(reading));
    if (this.#closed || this.#reader.reading) return;
    this.#events.emit("read");
    if (this.#closed || this.#ended || this.#reader.reading || !this.#server.polling) return;
    for (const action of this.#reader.start()) {
      if (action.type === "read") this.#reads.send(action.cursor, again ?? this.#server.timing.pollEvery);
    }
  }

  /** Perform the reader's actions in order, then emit one `change` for all of them. */
  #do(actions: readonly Action[]): void {
    for (const action of actions) {
      if (action.type === "read") this.#reads.send(action.cursor);
      const event = action.type === "show" || action.type === "write" ? action.event : null;
      if (event && event.run > 0) this.#heardAt = event.at;
    }
    const { document } = this.#reader;
    const before = this.#seen;
    this.#seen = document;
    if (JSON.stringify(document.progress) !== JSON.stringify(before.progress)) {
      this.#progressAt = this.#server.clock.now();
    }
    for (const action of actions) {
      if (action.type === "show") this.#events.emit("event", action.event);
      if (action.type === "write") this.#events.emit("text", action.chunk.name, action.chunk.chunk, action.whole);
      if (action.type === "clear") for (const name of action.names) this.#events.emit("text", name, "", "");
      if (action.type === "reset") this.#events.emit("reset", document, action.cursor.facts);
    }
    if (document !== before) this.#events.emit("change", document);
    if (!this.#closed && !this.#ended && !this.#reader.reading && isTerminal(document)) this.#end();
  }

  #end(): void {
    this.#ended = true;
    this.#receipt = this.#reader.receipt;
    // A group may begin again, from any page.
    if (!isGroup(this.feed)) this.#server.release(this);
    this.#events.emit("end", this.receipt);
  }
}

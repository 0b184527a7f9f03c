/** A real Socket.IO and HTTP server that keeps the protocol, with levers to break it. */

import { createServer, type IncomingMessage, type Server as HttpServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Server, type Socket } from "socket.io";
import type { Child } from "../../src/protocol/children.js";
import type { JSONValue } from "../../src/protocol/encoding.js";
import { type Event, feedId, feedOf } from "../../src/protocol/events.js";
import { Journal } from "./journal.js";

export const INBOX: string = `user:${"0123456789abcdef".repeat(2)}`;

const EXPIRED = { type: "about:blank", title: "Token expired", status: 401, detail: "This token has expired." };
const NOT_FOUND = { type: "about:blank", title: "Not found", status: 404, detail: "There is no such task." };

export class TestServer {
  readonly journals = new Map<string, Journal>();
  /** Every `watch`, in order. */
  readonly watches: { feed: string; cursor?: string; texts?: string | false; token?: string }[] = [];
  /** Lever: the only token that is accepted; null: none is needed. */
  token: string | null = null;
  /** Lever: the seconds after which, as a watch says, its token expires. */
  tokenExpiresIn: number | null = null;
  readonly polls: string[] = [];
  /** The query of every request for the list of tasks. */
  readonly lists: string[] = [];
  /** Lever: the children of the group. */
  children: Child[] = [];
  /** The query of every request for children. */
  readonly childLists: string[] = [];
  /** The status that answered each conditional request for a document. */
  readonly conditional: number[] = [];
  readonly unwatched: string[] = [];
  /** Every acknowledgement, in order, and how it arrived. */
  readonly acknowledged: { way: "socket" | "http"; message: object }[] = [];
  readonly cancels: { way: "socket" | "http"; feed: string; force?: boolean }[] = [];
  /** Lever: the rings that get lost. */
  lose = 0;
  /** Lever: the watches that get no acknowledgement. */
  deaf = 0;
  /** Lever: nothing goes out, and the connections stay open: a cable cut further away. */
  halfOpen = false;
  /** Lever: how many acknowledgements of notices are accepted without an answer. */
  mute = 0;
  /** Lever: what the next acknowledgements of notices are refused with. */
  spurned: { title: string; status: number }[] = [];
  /** Lever: the number of `/inbox` calls that fail. */
  failing = 0;
  /** Lever: milliseconds before an acknowledgement. */
  delay = 0;
  /** Lever: what the next watches are refused with. */
  refusals: object[] = [];
  /** Lever: whether sockets are let in. */
  sockets = true;
  /** Lever: whose inbox `/inbox` is. */
  inbox = INBOX;
  retryAfter: string | null = null;
  /** Lever: the links in snapshots. */
  links: Record<string, string> = {};
  readonly #http: HttpServer = createServer((request, response) => void this.#serve(request, response));
  readonly #io = new Server(this.#http, { allowRequest: (_request, decide) => decide(null, this.sockets) });

  async open(): Promise<string> {
    this.#io.of("/petiole").use((_socket, next) => {
      const data = this.closed.shift();
      next(data ? Object.assign(new Error("Not now"), { data }) : undefined);
    });
    this.#io.of("/petiole").on("connection", (socket) => this.#greet(socket));
    await new Promise<void>((done) => this.#http.listen(0, "127.0.0.1", done));
    return this.url;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#http.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    await this.#io.close();
  }

  journal(feed: string): Journal {
    const journal = this.journals.get(feed) ?? new Journal(feed);
    this.journals.set(feed, journal);
    return journal;
  }

  ring(...events: Event[]): void {
    for (const event of events) {
      if (this.lose > 0) this.lose -= 1;
      else if (!this.halfOpen) this.#io.of("/petiole").to(event.feed).emit("event", event);
    }
  }

  reset(feed: string): void {
    const { texts, ...read } = this.journal(feed).read(null);
    const reading = { ...read, events: [], recovered: false, more: texts !== undefined };
    this.#io.of("/petiole").to(feed).emit("reset", reading);
  }

  /** Send a message to every connection. */
  say(name: string, payload: object): void {
    this.#io.of("/petiole").emit(name, payload);
  }

  /** Lever: what the next connections are refused with, on their way into the namespace. */
  readonly closed: object[] = [];

  /** End the right to watch this feed. */
  refuse(feed: string): void {
    const error = { ...NOT_FOUND, detail: "You may not see this any more." };
    this.#io.of("/petiole").to(feed).emit("refused", { feed, error });
  }

  /** Put the notice of a finished task into the inbox. */
  notice(id: string, notice: Record<string, JSONValue> = {}): Event {
    const inbox = this.journal(INBOX);
    const full = { title: "Flights", state: "succeeded", at: Date.now(), ...notice };
    const unread = (inbox.document["unread"] as number) + 1;
    return inbox.fact("notice", { [feedOf(id)!]: full, unread }, full);
  }

  /** Cut every connection, as a restart does. */
  cut(): void {
    for (const socket of this.#io.of("/petiole").sockets.values()) socket.conn.close();
  }

  get connections(): number {
    return this.#io.of("/petiole").sockets.size;
  }

  #greet(socket: Socket): void {
    socket.on("watch", (asked: (typeof this.watches)[number], acknowledge: (answer: object) => void) => {
      this.watches.push(asked);
      if (this.halfOpen) return;
      if (this.deaf > 0) {
        this.deaf -= 1;
        return;
      }
      void socket.join(asked.feed);
      const refusal = this.token !== null && asked.token !== this.token ? EXPIRED : this.refusals.shift();
      const journal = this.journals.get(asked.feed);
      const ends = this.tokenExpiresIn !== null && { token_expires_in: this.tokenExpiresIn };
      const answer = refusal
        ? { error: refusal }
        : journal
          ? { ...journal.read(asked.cursor ?? null, asked.texts), ...ends }
          : { error: NOT_FOUND };
      setTimeout(() => acknowledge(answer), this.delay);
    });
    socket.on("unwatch", ({ feed }: { feed: string }, acknowledge: (answer: object) => void) => {
      if (this.halfOpen) return;
      this.unwatched.push(feed);
      void socket.leave(feed);
      acknowledge({});
    });
    socket.on(
      "cancel",
      (asked: { feed: string; force?: boolean; token?: string }, acknowledge: (answer: object) => void) => {
        this.cancels.push({ way: "socket", feed: asked.feed, ...(asked.force && { force: asked.force }) });
        const expired = this.token !== null && asked.token !== this.token;
        acknowledge(expired ? { error: EXPIRED } : this.#cancel(asked.feed, asked.force));
      },
    );
    socket.on("acknowledge", (message: { tasks?: string[] }, acknowledge: (answer: object) => void) => {
      this.acknowledged.push({ way: "socket", message });
      const error = this.#acknowledge(message);
      if (this.mute > 0) this.mute -= 1;
      else acknowledge(error ? { error } : {});
    });
  }

  /** Remove notices; returns the problem if that is refused. */
  #acknowledge(message: { tasks?: string[] }): { title: string; status: number } | null {
    const refusal = this.spurned.shift();
    if (refusal) return refusal;
    const { document } = this.journal(INBOX);
    const waiting = Object.keys(document).filter((field) => /^(task|group):/.test(field));
    const named = message.tasks?.map(feedOf);
    const taken = named ? waiting.filter((field) => named.includes(field)) : waiting;
    const earlier = named ? ((document["earlier"] as number | undefined) ?? 0) : 0;
    if (taken.length === 0 && earlier === document["earlier"]) return null;
    const gone = Object.fromEntries(taken.map((field) => [field, null]));
    const unread = waiting.length - taken.length + earlier;
    this.ring(this.journal(INBOX).fact("acknowledged", { ...gone, unread, earlier }));
    return null;
  }

  #cancel(feed: string, force?: boolean): object {
    const journal = this.journals.get(feed);
    if (!journal) return { error: NOT_FOUND };
    if (journal.document.state === "succeeded") {
      return { error: { title: "It has finished already.", status: 409 } };
    }
    this.ring(journal.state("cancelling", force ? { forced: true } : {}));
    return { status: 202, document: journal.document };
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = "";
    for await (const chunk of request) text += String(chunk);
    const body = (text ? JSON.parse(text) : {}) as { tasks?: string[]; force?: boolean };
    const url = new URL(request.url ?? "/", "http://test");
    const send = (status: number, body: object, tag?: string): void => {
      response.writeHead(status, {
        ...(tag !== undefined && { ETag: tag }),
        "Content-Type": status < 400 ? "application/json" : "application/problem+json",
        ...(this.retryAfter !== null && { "Retry-After": this.retryAfter }),
      });
      response.end(status === 304 ? undefined : JSON.stringify(body));
    };
    if (url.pathname === "/exports") {
      const journal = this.journal("task:started");
      const snapshot = this.#snapshot(journal);
      journal.state("queued", { title: "Flights" });
      return send(202, snapshot);
    }
    if (url.pathname === "/petiole/inbox/acknowledge") {
      this.acknowledged.push({ way: "http", message: body });
      const problem = this.#acknowledge(body);
      if (this.mute > 0) {
        this.mute -= 1;
        return void response.destroy();
      }
      return problem ? send(problem.status, problem) : send(200, this.#snapshot(this.journal(INBOX)));
    }
    if (url.pathname === "/petiole/inbox") {
      if (this.failing > 0) {
        this.failing -= 1;
        return send(503, { title: "Unavailable", status: 503 });
      }
      const inbox = this.journal(this.inbox);
      if (inbox.facts === 0) inbox.fact("inbox", { unread: 0, earlier: 0 });
      return send(200, this.#snapshot(inbox));
    }
    if (url.pathname === "/petiole/inbox/events") {
      this.polls.push(url.searchParams.get("after") ?? "");
      const reading = this.journal(this.inbox).read(url.searchParams.get("after"));
      return reading.recovered ? send(200, reading) : send(410, { title: "Gone", status: 410 });
    }
    if (url.pathname === "/petiole/tasks") {
      this.lists.push(url.search);
      if (this.failing > 0) {
        this.failing -= 1;
        return send(503, { title: "Unavailable", status: 503 });
      }
      return this.#list(url.searchParams, response);
    }
    const [, id, call] = /^\/petiole\/tasks\/([^/]+)(?:\/(\w+))?$/.exec(url.pathname) ?? [];
    const journal = this.journals.get(feedOf(decodeURIComponent(id ?? "")) ?? "");
    if (!journal) return send(404, NOT_FOUND);
    if (this.token !== null && request.headers.authorization !== `Bearer ${this.token}`) return send(401, EXPIRED);
    if (call === "cancel") {
      this.cancels.push({ way: "http", feed: journal.feed, ...body });
      const answer = this.#cancel(journal.feed, body.force) as { error?: { status: number } };
      return answer.error ? send(answer.error.status, answer.error) : send(202, this.#snapshot(journal));
    }
    if (call === "retry") {
      // A group keeps its name.
      const again = new Journal(journal.feed.startsWith("task:") ? `${journal.feed}-again` : journal.feed);
      this.journals.set(again.feed, again);
      const snapshot = this.#snapshot(again);
      again.state("queued", { run: (journal.document.run ?? 0) + 1 });
      return send(202, snapshot);
    }
    if (call === "children") {
      this.childLists.push(url.search);
      return send(200, this.#childPage(url.searchParams));
    }
    if (call === undefined) {
      const asked = request.headers["if-none-match"];
      const tag = `"${journal.cursor}"`;
      const status = asked === tag ? 304 : 200;
      if (asked !== undefined) this.conditional.push(status);
      return send(status, this.#snapshot(journal), tag);
    }
    const after = url.searchParams.get("after");
    this.polls.push(after ?? "");
    const reading = journal.read(after, textsOf(url));
    return reading.recovered
      ? send(200, reading)
      : send(410, { title: "Gone", status: 410, links: { self: `/petiole/tasks/${id}` } });
  }

  /** The tasks that have a journal, newest first; the cursor is the index of the next one. */
  #list(query: URLSearchParams, response: ServerResponse): void {
    const [state, name] = [query.get("state"), query.get("name")];
    const fits = ({ document }: Journal): boolean =>
      (state === null || document.state === state) && (name === null || document.task === name);
    const tasks = [...this.journals.values()].filter(({ feed }) => feed.startsWith("task:")).reverse();
    const from = Number(query.get("cursor") ?? 0);
    const until = from + Number(query.get("limit") ?? 50);
    query.set("cursor", String(until));
    response.writeHead(200, {
      "Content-Type": "application/json",
      ...(until < tasks.length && { Link: `</petiole/tasks?${query.toString()}>; rel="next"` }),
    });
    response.end(JSON.stringify({ tasks: tasks.slice(from, until).filter(fits).map((task) => this.#snapshot(task)) }));
  }

  /** As many of `children` as are asked for; with a state that many are looked at. */
  #childPage(query: URLSearchParams): object {
    const from = Number(query.get("cursor") ?? 0);
    const until = from + Number(query.get("limit") ?? 50);
    const states = query.get("state")?.split(",");
    const children = this.children.slice(from, until).filter(({ state }) => states?.includes(state) ?? true);
    return { children, next: until < this.children.length ? String(until) : null };
  }

  #snapshot(journal: Journal): object {
    const { feed, place: cursor, document } = journal;
    return { id: feedId(feed), feed, cursor, document, links: this.links };
  }
}

/** What a poll says about texts: the lengths that its reader has, or that it shows none. */
function textsOf(url: URL): string | false | undefined {
  const texts = url.searchParams.get("texts");
  return texts === "false" ? false : (texts ?? undefined);
}

/** A real Socket.IO and HTTP server that keeps the protocol, with levers to break it. */

import { createServer, type IncomingMessage, type Server as HttpServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Server, type Socket } from "socket.io";
import type { Event } from "../src/events.js";
import { Journal } from "./journal.js";

const EXPIRED = { type: "about:blank", title: "Token expired", status: 401, detail: "This token has expired." };
const NOT_FOUND = { type: "about:blank", title: "Not found", status: 404, detail: "There is no such task." };

export class TestServer {
  readonly journals = new Map<string, Journal>();
  /** Every `watch`, in order. */
  readonly watches: { feed: string; cursor?: string; token?: string }[] = [];
  /** Lever: the only token that is taken; null: none is needed. */
  token: string | null = null;
  /** Lever: what a watch says of its token's end. */
  tokenExpiresIn: number | null = null;
  readonly polls: string[] = [];
  readonly unwatched: string[] = [];
  /** Lever: rings that are lost on their way. */
  lose = 0;
  /** Lever: watches that stay without an acknowledgement. */
  deaf = 0;
  /** Lever: milliseconds before an acknowledgement. */
  delay = 0;
  /** Lever: what the next watches are refused with. */
  refusals: object[] = [];
  /** Lever: whether sockets are let in. */
  sockets = true;
  retryAfter: string | null = null;
  readonly #http: HttpServer = createServer((request, response) => this.#serve(request, response));
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
      else this.#io.of("/petiole").to(event.feed).emit("event", event);
    }
  }

  reset(feed: string): void {
    const reading = { ...this.journal(feed).read(null), events: [], recovered: false };
    this.#io.of("/petiole").to(feed).emit("reset", reading);
  }

  /** Say something to every connection. */
  say(name: string, payload: object): void {
    this.#io.of("/petiole").emit(name, payload);
  }

  /** Lever: what the next connections are refused with, on their way into the namespace. */
  readonly closed: object[] = [];

  /** Cut every connection, as a restart does. */
  cut(): void {
    for (const socket of this.#io.of("/petiole").sockets.values()) socket.conn.close();
  }

  get connections(): number {
    return this.#io.of("/petiole").sockets.size;
  }

  #greet(socket: Socket): void {
    socket.on("watch", (asked: { feed: string; cursor?: string; token?: string }, acknowledge: (answer: object) => void) => {
      this.watches.push(asked);
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
          ? { ...journal.read(asked.cursor ?? null), ...ends }
          : { error: NOT_FOUND };
      setTimeout(() => acknowledge(answer), this.delay);
    });
    socket.on("unwatch", ({ feed }: { feed: string }, acknowledge: (answer: object) => void) => {
      this.unwatched.push(feed);
      void socket.leave(feed);
      acknowledge({});
    });
    socket.on("cancel", ({ feed, token }: { feed: string; token?: string }, acknowledge: (answer: object) => void) => {
      acknowledge(this.token !== null && token !== this.token ? { error: EXPIRED } : this.#cancel(feed));
    });
  }

  #cancel(feed: string): object {
    const journal = this.journals.get(feed);
    if (!journal) return { error: NOT_FOUND };
    if (journal.document.state === "succeeded") {
      return { error: { title: "It has finished already.", status: 409 } };
    }
    this.ring(journal.state("cancelling"));
    return { status: 202, document: journal.document };
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? "/", "http://test");
    const send = (status: number, body: object): void => {
      response.writeHead(status, {
        "Content-Type": status < 400 ? "application/json" : "application/problem+json",
        ...(this.retryAfter !== null && { "Retry-After": this.retryAfter }),
      });
      response.end(JSON.stringify(body));
    };
    if (url.pathname === "/exports") {
      const journal = this.journal("task:started");
      const snapshot = this.#snapshot(journal);
      journal.state("queued", { title: "Flights" });
      return send(202, snapshot);
    }
    const [, id, call] = /^\/petiole\/tasks\/([^/]+)(?:\/(\w+))?$/.exec(url.pathname) ?? [];
    const journal = this.journals.get(`task:${id}`);
    if (!journal) return send(404, NOT_FOUND);
    if (this.token !== null && request.headers.authorization !== `Bearer ${this.token}`) return send(401, EXPIRED);
    if (call === "cancel") {
      const answer = this.#cancel(journal.feed) as { error?: { status: number } };
      return answer.error ? send(answer.error.status, answer.error) : send(202, this.#snapshot(journal));
    }
    if (call === undefined) return send(200, this.#snapshot(journal));
    const after = url.searchParams.get("after");
    this.polls.push(after ?? "");
    const reading = journal.read(after);
    return reading.recovered
      ? send(200, reading)
      : send(410, { title: "Gone", status: 410, links: { self: `/petiole/tasks/${id}` } });
  }

  #snapshot(journal: Journal): object {
    const { feed, cursor, document } = journal;
    return { id: feed.slice(5), feed, cursor, document, links: {} };
  }
}

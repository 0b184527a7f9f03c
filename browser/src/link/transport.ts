/** Every call to the server: over the socket while it is connected, else over HTTP, with a valid token. */

import type { ChildFilter, ChildPage } from "../protocol/children.js";
import { type Cursor, positionOf } from "../protocol/cursor.js";
import type { Document } from "../protocol/events.js";
import { parseProblem, Refused } from "../protocol/problem.js";
import { parseReading, type Snapshot } from "../protocol/reading.js";
import type { Acknowledgement, TaskFilter, TaskPage } from "../protocol/requests.js";
import type { Answer, Asked, Http } from "./http.js";
import type { Link } from "./link.js";
import type { Tokens } from "./tokens.js";

export interface TransportOptions {
  readonly link: Link;
  readonly http: Http;
  readonly tokens: Tokens;
  /** The token expires soon: watch again, with a new one. */
  readonly renew: () => void;
}

/** Each call throws `Refused`, or any other error if nothing answers or while the connection is cut. */
export class Transport {
  readonly #options: TransportOptions;

  constructor(options: TransportOptions) {
    this.#options = options;
  }

  /**
   * Read what follows the cursor; `document` is the one at that cursor. Over the socket this also starts the watch.
   */
  read(feed: string, cursor: Cursor | null, document: Document, asked: Asked): Promise<Answer> {
    return this.#options.tokens.use((token) =>
      this.#viaSocket() ? this.#watch(feed, cursor, token, asked) : this.#poll(feed, cursor, document, token, asked),
    );
  }

  /** Stop watching. If that doesn't arrive, the server keeps a room for nobody until the connection closes. */
  unwatch(feed: string): void {
    if (this.#options.link.connected) this.#options.link.ask("unwatch", { feed }).catch(() => undefined);
  }

  cancel(feed: string, force: boolean): Promise<Document> {
    const { link, http, tokens } = this.#options;
    return tokens.use(async (token) => {
      if (!this.#viaSocket()) return (await http.cancel(feed, force, token)).document;
      const request = { feed, ...(force && { force }), ...(token !== null && { token }) };
      const reply = (await link.ask("cancel", request)) as { document?: Document; error?: unknown } | null;
      if (reply?.document) return reply.document;
      throw new Refused(parseProblem(reply?.error));
    });
  }

  async acknowledge(message: Acknowledgement): Promise<void> {
    const { link, http } = this.#options;
    if (!this.#viaSocket()) return http.acknowledge(message);
    const reply = (await link.ask("acknowledge", message)) as { error?: unknown } | null;
    if (reply?.error !== undefined) throw new Refused(parseProblem(reply.error));
  }

  async retry(feed: string): Promise<Snapshot> {
    this.#viaSocket();
    return this.#options.tokens.use((token) => this.#options.http.retry(feed, token));
  }

  async snapshot(feed: string): Promise<Snapshot> {
    this.#viaSocket();
    return this.#options.tokens.use((token) => this.#options.http.snapshot(feed, token));
  }

  async children(feed: string, page: ChildFilter & { readonly cursor?: string | null }): Promise<ChildPage> {
    this.#viaSocket();
    return this.#options.tokens.use((token) => this.#options.http.children(feed, page, token));
  }

  async tasks(page: TaskFilter & { readonly cursor?: string }): Promise<TaskPage> {
    this.#viaSocket();
    return this.#options.tokens.use((token) => this.#options.http.tasks(page, token));
  }

  async inbox(): Promise<Snapshot> {
    this.#viaSocket();
    return this.#options.http.inbox();
  }

  /** Return whether to ask over the socket. Throws while the connection is cut: HTTP is cut too. */
  #viaSocket(): boolean {
    if (this.#options.link.isCut) throw new Error("The connection is cut. Ask again when it is back.");
    return this.#options.link.connected;
  }

  async #watch(feed: string, cursor: Cursor | null, token: string | null, asked: Asked): Promise<Answer> {
    const { link, tokens, renew } = this.#options;
    const from = cursor && positionOf(cursor);
    const none = !asked.texts && { texts: false };
    const reply = await link.ask("watch", { feed, ...from, ...none, ...(token !== null && { token }) }, asked.within);
    const reading = parseReading(reply);
    if (reading) {
      tokens.endsIn((reply as { token_expires_in?: unknown }).token_expires_in, renew);
      return { reading, again: null };
    }
    const problem = parseProblem((reply as { error?: unknown } | null)?.error);
    const after = (problem as { retry_after?: unknown }).retry_after;
    throw new Refused(problem, problem.status === 429 && typeof after === "number" ? Math.min(after, 60) : null);
  }

  async #poll(
    feed: string,
    cursor: Cursor | null,
    document: Document,
    token: string | null,
    asked: Asked,
  ): Promise<Answer> {
    const { link, http } = this.#options;
    let answered = false;
    try {
      const answer = await http.read(feed, cursor, document, token, asked);
      answered = true;
      return answer;
    } finally {
      if (!link.connected) link.polled(answered);
    }
  }
}

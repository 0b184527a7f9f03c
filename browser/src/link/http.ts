/** The HTTP calls: for what has no message on the socket, and for pages where sockets are blocked. */

import { type ChildFilter, type ChildPage, parseChildPage } from "../protocol/children.js";
import { type Cursor, formatCursor, isBehind, parseCursor, positionOf } from "../protocol/cursor.js";
import { areSame, NO_TEXTS } from "../protocol/texts.js";
import { type Document, feedId } from "../protocol/events.js";
import { parseProblem, Refused } from "../protocol/problem.js";
import { parseReading, parseSnapshot, type Reading, type Snapshot } from "../protocol/reading.js";
import type { Acknowledgement, TaskFilter, TaskPage } from "../protocol/requests.js";
import { retryAfter, Timer } from "./timing.js";

/** The answer to a read, and the seconds after which the server wants the next one. */
export interface Answer {
  readonly reading: Reading;
  readonly again: number | null;
}

/** How a reading is asked for: within how many seconds, and whether with texts. */
export interface Asked {
  readonly within: number;
  readonly texts: boolean;
}

export interface HttpOptions {
  /** The server's origin; null: the page's own. */
  readonly origin: string | null;
  /** Where Petiole's calls are, for example `/petiole`. */
  readonly prefix: string;
  /** Seconds that a call may take if it is safe to repeat. Only the browser limits the others. */
  readonly answerWithin: number;
}

export class Http {
  readonly #options: HttpOptions;

  constructor(options: HttpOptions) {
    this.#options = options;
  }

  /**
   * Read what follows the cursor. If the journal can't continue from it, the reading is a snapshot with `recovered: false`.
   *
   * With a cursor, a conditional request for the document (`If-None-Match`) comes first, and is enough while nothing or only
   * counters have changed. A second call reads the facts and the texts.
   *
   * Throws `Refused`, or what `fetch` throws when the server can't be reached.
   */
  async read(
    feed: string,
    cursor: Cursor | null,
    document: Document,
    token: string | null = null,
    { within = this.#options.answerWithin, texts = true }: Partial<Asked> = {},
  ): Promise<Answer> {
    if (cursor && Object.keys(document).length > 0) {
      const same = await this.#unlessFacts(feed, cursor, document, token, texts);
      if (same) return same;
    }
    return this.#events(feed, cursor, token, { within, texts });
  }

  /** Return a task as the server has it now. */
  async snapshot(feed: string, token: string | null = null): Promise<Snapshot> {
    const response = await this.#fetch(this.#home(feed), { headers: bearer(token) }, this.#options.answerWithin);
    return expectFeed(expectReply(parseSnapshot(await body(response)), response), feed);
  }

  /** Return the answer if no fact and no text follows the cursor; null if some do, or if the journal has another history. */
  async #unlessFacts(
    feed: string,
    cursor: Cursor,
    document: Document,
    token: string | null,
    texts: boolean,
  ): Promise<Answer | null> {
    const headers = { ...bearer(token), "If-None-Match": `"${formatCursor(cursor)}"` };
    const response = await this.#fetch(this.#home(feed), { headers }, this.#options.answerWithin);
    const again = pause(response);
    const nothing = { feed, events: [], recovered: true, more: false };
    if (response.status === 304) return { reading: { ...nothing, document, cursor }, again };
    const snapshot = expectFeed(expectReply(parseSnapshot(await body(response)), response), feed);
    // A snapshot's cursor is without the lengths of texts; in the tag they follow it.
    const tag = response.headers.get("ETag") ?? "";
    const at = parseCursor(tag.slice(tag.indexOf(snapshot.cursor)).split('"')[0]);
    if (!at || isBehind(at, cursor) || at.facts !== cursor.facts) return null;
    if (texts && !areSame(at.texts ?? NO_TEXTS, cursor.texts ?? NO_TEXTS)) return null;
    return { reading: { ...nothing, document: snapshot.document, cursor: at }, again };
  }

  async #events(feed: string, cursor: Cursor | null, token: string | null, { within, texts }: Asked): Promise<Answer> {
    const { cursor: after, texts: lengths } = cursor ? positionOf(cursor) : {};
    const asked = { after, texts: texts ? lengths : "false" };
    const init = { headers: bearer(token) };
    const response = await this.#fetch(`${this.#home(feed)}/events?${queryOf(asked)}`, init, within);
    if (response.status === 410) return this.#snapshot(feed, init);
    const reading = expectReply(parseReading(await body(response)), response);
    return { reading: expectFeed(reading, feed), again: pause(response) };
  }

  /** Return a page of the caller's tasks, newest first. */
  async tasks(filter: TaskFilter & { readonly cursor?: string }, token: string | null = null): Promise<TaskPage> {
    const url = `${this.#base()}/tasks?${queryOf(filter)}`;
    const response = await this.#fetch(url, { headers: bearer(token) }, this.#options.answerWithin);
    const { tasks } = ((await body(response)) ?? {}) as { tasks?: unknown };
    const snapshots = expectReply(Array.isArray(tasks) ? tasks.map(parseSnapshot) : null, response);
    // The rest of the URL is known.
    const [, following] = /<[^>]*\?([^>]*)>; *rel="next"/.exec(response.headers.get("Link") ?? "") ?? [];
    const next = following === undefined ? null : new URLSearchParams(following).get("cursor");
    return { tasks: snapshots.filter((task): task is Snapshot => task !== null), next };
  }

  /** Return a page of a group's children, by number. */
  async children(
    feed: string,
    filter: ChildFilter & { readonly cursor?: string | null },
    token: string | null = null,
  ): Promise<ChildPage> {
    const url = `${this.#home(feed)}/children?${queryOf(filter)}`;
    const response = await this.#fetch(url, { headers: bearer(token) }, this.#options.answerWithin);
    return expectReply(parseChildPage(await body(response)), response);
  }

  /** Ask the task to stop. Throws `Refused`, with status 409 if it has finished already or may not be forced. */
  async cancel(feed: string, force: boolean, token: string | null = null): Promise<Snapshot> {
    const headers = bearer(token);
    const init = force ? json({ force }, headers) : { method: "POST", headers };
    const response = await this.#fetch(`${this.#home(feed)}/cancel`, init);
    return expectReply(parseSnapshot(await body(response)), response);
  }

  /** Start a finished task again. Throws `Refused`, with status 409 if it hasn't finished or can't be repeated. */
  async retry(feed: string, token: string | null = null): Promise<Snapshot> {
    const response = await this.#fetch(`${this.#home(feed)}/retry`, { method: "POST", headers: bearer(token) });
    return expectReply(parseSnapshot(await body(response)), response);
  }

  /** Return the caller's inbox. */
  async inbox(): Promise<Snapshot> {
    const response = await this.#fetch(this.#inbox(), {}, this.#options.answerWithin);
    return expectReply(parseSnapshot(await body(response)), response);
  }

  /** Remove notices from the caller's inbox. */
  async acknowledge(message: Acknowledgement): Promise<void> {
    await this.#fetch(`${this.#inbox()}/acknowledge`, json(message), this.#options.answerWithin);
  }

  /** Send JSON to a route that starts a task. Throws `Refused` unless it answers 202 with a snapshot. */
  async start(url: string, message: unknown, headers: Readonly<Record<string, string>>): Promise<Snapshot> {
    const { origin } = this.#options;
    const response = await this.#fetch(origin === null ? url : new URL(url, origin).href, json(message, headers));
    const snapshot = parseSnapshot(await body(response));
    if (response.status === 202 && snapshot) return snapshot;
    throw new Refused({
      title: "This route does not start a task.",
      status: response.status,
      detail: `${url} answered ${response.status} without a task. Answer 202 with the snapshot of the task.`,
    });
  }

  async #snapshot(feed: string, init: RequestInit): Promise<Answer> {
    const response = await this.#fetch(this.#home(feed), init, this.#options.answerWithin);
    const snapshot = expectReply(parseSnapshot(await body(response)), response);
    const { document, cursor } = expectFeed(snapshot, feed);
    const at = expectReply(parseCursor(cursor), response);
    // A snapshot has no texts: they are read next.
    return { reading: { feed, document, events: [], cursor: at, recovered: false, more: true }, again: pause(response) };
  }

  #base(): string {
    return `${this.#options.origin ?? ""}${this.#options.prefix}`;
  }

  #inbox(): string {
    return `${this.#base()}/inbox`;
  }

  #home(feed: string): string {
    if (feed.startsWith("user:")) return this.#inbox();
    return `${this.#base()}/tasks/${encodeURIComponent(feedId(feed))}`;
  }

  /** Return the response if it is a success, 304 or 410; throw `Refused` otherwise. */
  async #fetch(url: string, init: RequestInit, within?: number): Promise<Response> {
    const abort = new AbortController();
    const timer = new Timer();
    if (within !== undefined) timer.set(within, () => abort.abort());
    try {
      const response = await fetch(url, {
        cache: "no-store",
        credentials: "same-origin",
        ...init,
        headers: { Accept: "application/json", ...init.headers },
        signal: abort.signal,
      });
      if (response.ok || response.status === 304 || response.status === 410) return response;
      throw new Refused(parseProblem(await body(response), response.status), pause(response));
    } finally {
      timer.clear();
    }
  }
}

/** Return what is defined as a query; an array's members are joined by commas. */
function queryOf(values: object): string {
  const defined = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return new URLSearchParams(defined.map(([name, value]) => [name, String(value)])).toString();
}

function json(message: unknown, headers: Readonly<Record<string, string>> = {}): RequestInit {
  return {
    method: "POST",
    headers: { ...headers, "Content-Type": "application/json" },
    body: JSON.stringify(message),
  };
}

async function body(response: Response): Promise<unknown> {
  try {
    return await response.json();
  } catch {
    return null;
  }
}

function bearer(token: string | null): Record<string, string> {
  return token === null ? {} : { Authorization: `Bearer ${token}` };
}

function pause(response: Response): number | null {
  return retryAfter(response.headers.get("Retry-After"), Date.now());
}

function expectReply<Reply>(reply: Reply | null, response: Response): Reply {
  if (reply !== null) return reply;
  throw new Refused({
    title: "The server's answer can't be understood.",
    status: 502,
    detail: `${response.url} did not answer with what the protocol says. Check that it reaches Petiole.`,
  });
}

const OTHER = "This inbox is another person's, or you have been logged out. Reload the page.";

/** `/inbox` is the caller's: after another login it is another feed, and the view of this one ends. */
function expectFeed<Reply extends { readonly feed: string }>(reply: Reply, feed: string): Reply {
  if (reply.feed === feed) return reply;
  throw new Refused({ title: "Not found", status: 404, detail: OTHER });
}

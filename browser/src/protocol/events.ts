/** Events, cursors and readings: what travels, as `protocol/README.md` defines it. No I/O. */

import { sha1 } from "./sha1.js";

export const VERSION = 1 as const;
export const ZERO_CHAIN = "0000000000000000" as const;

export type JSONValue = null | boolean | number | string | JSONValue[] | { [name: string]: JSONValue };

/** The newest counters of a task. Rate in units per second, time left in seconds, fraction of the whole task 0 to 1. */
export interface Progress {
  readonly completed?: number | null;
  readonly total?: number | null;
  readonly rate?: number | null;
  readonly time_left?: number | null;
  readonly fraction?: number | null;
  readonly stage?: string | null;
  readonly description?: string | null;
  readonly unit?: string | null;
}

export type TaskState =
  | "queued"
  | "running"
  | "retrying"
  | "stalled"
  | "cancelling"
  | "succeeded"
  | "failed"
  | "cancelled"
  | "lost";

/** A thing that the task has made. Size in bytes, `expires_at` in milliseconds since 1970. */
export interface Artifact {
  readonly name?: string;
  readonly url?: string;
  readonly size?: number;
  readonly rows?: number;
  readonly expires_at?: number;
  readonly [field: string]: JSONValue | undefined;
}

/** A feed's current state: flat. Instants in milliseconds since 1970, in the journal server's time. */
export interface Document {
  readonly state?: TaskState;
  readonly title?: string;
  readonly task?: string;
  readonly run?: number;
  readonly retries?: number;
  readonly queued_at?: number;
  readonly started_at?: number;
  readonly finished_at?: number;
  readonly worker?: string;
  readonly progress?: Progress;
  readonly reason?: string;
  readonly unheard?: string;
  readonly retry_at?: number;
  /** Its worker can end the process that runs it. */
  readonly forcible?: boolean;
  /** From when on that may be asked. */
  readonly force_after?: number;
  /** It has been asked. */
  readonly forced?: boolean;
  readonly error?: { readonly message?: string; readonly reference?: string };
  readonly result?: JSONValue;
  readonly artifacts?: readonly Artifact[];
  readonly [field: string]: unknown;
}

/** One numbered patch to a feed's document, as the journal has taken it. */
export interface Event {
  readonly v: number;
  readonly id: string;
  readonly feed: string;
  readonly epoch: string;
  readonly seq: number;
  readonly run: number;
  readonly facts: number;
  readonly chain: string;
  readonly at: number;
  readonly kind: string;
  readonly patch: { readonly [field: string]: JSONValue };
  readonly progress: Progress | null;
  readonly data?: JSONValue;
}

/** Where a reader stands in a feed. */
export interface Cursor {
  readonly epoch: string;
  readonly seq: number;
  readonly facts: number;
  readonly chain: string;
}

/** The journal's answer to a read, all of one instant; its events are facts, folded into the document already. */
export interface Reading {
  readonly feed: string;
  readonly document: Document;
  readonly events: readonly Event[];
  readonly cursor: Cursor;
  readonly recovered: boolean;
  readonly more: boolean;
  /** Where a reader without a cursor begins, if the facts up to there aren't kept any more. */
  readonly start?: Cursor | null;
}

/** Addresses by what they are for: `self`, `events`, `cancel`, `file`, `retry`; what can't be done has none. */
export type Links = { readonly [name: string]: string };

/** A task as the HTTP calls return it. */
export interface Snapshot {
  readonly id: string;
  readonly feed: string;
  readonly cursor: string;
  readonly document: Document;
  readonly links?: Links;
}

/** What was refused, and why: an RFC 9457 object. */
export interface Problem {
  readonly type?: string;
  readonly title: string;
  readonly status: number;
  readonly detail?: string;
}

const CURSOR = /^([0-9a-f]{8})\.([0-9]{1,16})\.([0-9]{1,16})\.([0-9a-f]{16})$/;
const FEED = /^(task|user|group):[A-Za-z0-9._~@-]{1,128}$/;
const TERMINAL: readonly string[] = ["succeeded", "failed", "cancelled", "lost"];

/** Return the chain after a fact with this id. */
export function advance(chain: string, id: string): string {
  return sha1(chain + id).slice(0, 16);
}

/** Return the cursor, or null if the text isn't one or its numbers are past 2^53 - 1. */
export function parseCursor(text: unknown): Cursor | null {
  const match = typeof text === "string" ? CURSOR.exec(text) : null;
  if (!match) return null;
  const [, epoch, seq, facts, chain] = match as unknown as [string, string, string, string, string];
  const cursor = { epoch, seq: Number(seq), facts: Number(facts), chain };
  return Number.isSafeInteger(cursor.seq) && Number.isSafeInteger(cursor.facts) ? cursor : null;
}

export function formatCursor(cursor: Cursor): string {
  return `${cursor.epoch}.${cursor.seq}.${cursor.facts}.${cursor.chain}`;
}

/** Say whether a journal that stands at `cursor` cannot have told a reader what `other` knows. */
export function isBehind(cursor: Cursor, other: Cursor): boolean {
  return (
    cursor.epoch !== other.epoch ||
    cursor.seq < other.seq ||
    cursor.facts < other.facts ||
    (cursor.facts === other.facts && cursor.chain !== other.chain)
  );
}

export function isFact(event: Event): boolean {
  return event.kind !== "counter";
}

/** Say whether a task in this document takes no more events. */
export function isTerminal(document: Document): boolean {
  return TERMINAL.includes(document.state ?? "");
}

/** Return the feed of a task id, or the feed itself where a whole name is given; null if it can't be one. */
export function feedOf(taskOrFeed: string): string | null {
  const feed = taskOrFeed.includes(":") ? taskOrFeed : `task:${taskOrFeed}`;
  return FEED.test(feed) ? feed : null;
}

/** Return what stands after the kind in a feed's name. */
export function feedId(feed: string): string {
  return feed.slice(feed.indexOf(":") + 1);
}

/** Return the document after this event: its patch, then its progress, then its run. */
export function fold(document: Document, event: Event): Document {
  const folded: Record<string, unknown> = { ...document, ...event.patch };
  for (const [name, value] of Object.entries(event.patch)) {
    if (value === null) delete folded[name];
  }
  if (event.progress !== null) folded["progress"] = event.progress;
  if (event.run > 0) folded["run"] = event.run;
  return folded;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Return the event, or null if the object isn't one. An event of another version is returned: the reader decides. */
export function parseEvent(wire: unknown): Event | null {
  if (!isObject(wire)) return null;
  const numbers = [wire["v"], wire["seq"], wire["run"], wire["facts"], wire["at"]];
  const texts = [wire["id"], wire["feed"], wire["epoch"], wire["chain"], wire["kind"]];
  const valid =
    numbers.every((value) => Number.isSafeInteger(value)) &&
    texts.every((value) => typeof value === "string") &&
    isObject(wire["patch"]) &&
    (wire["progress"] === null || isObject(wire["progress"]));
  return valid ? (wire as unknown as Event) : null;
}

/** Return the reading, or null if the object isn't one. */
export function parseReading(wire: unknown): Reading | null {
  if (!isObject(wire) || !Array.isArray(wire["events"]) || !isObject(wire["document"])) return null;
  const cursor = parseCursor(wire["cursor"]);
  const events = wire["events"].map(parseEvent);
  if (!cursor || typeof wire["feed"] !== "string" || !events.every((event): event is Event => event !== null)) {
    return null;
  }
  return {
    feed: wire["feed"],
    document: wire["document"] as Document,
    events,
    cursor,
    recovered: wire["recovered"] === true,
    more: wire["more"] === true,
    start: parseCursor(wire["start"]),
  };
}

/** Return the snapshot, or null if the object isn't one. */
export function parseSnapshot(wire: unknown): Snapshot | null {
  const valid =
    isObject(wire) && typeof wire["feed"] === "string" && isObject(wire["document"]) && parseCursor(wire["cursor"]);
  return valid ? (wire as unknown as Snapshot) : null;
}

/** Return the problem; what isn't one becomes one, so that every refusal can be shown. */
export function parseProblem(wire: unknown, status = 500): Problem {
  if (isObject(wire) && typeof wire["title"] === "string") {
    return { ...wire, title: wire["title"], status: typeof wire["status"] === "number" ? wire["status"] : status };
  }
  return { title: "The server refused this without saying why.", status };
}

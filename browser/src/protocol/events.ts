/** Events and the document that they add up to, as `protocol/README.md` defines them. No I/O. */

import type { ChildCounts, ChildError } from "./children.js";
import { isObject, type JSONValue } from "./encoding.js";
import type { TaskState } from "./states.js";
import { type Chunk, isChunk, isTexts, TEXT, type Texts } from "./texts.js";

/** What a reader understands: 2 are the text events, which a reader of version 1 passes over. */
export const VERSIONS: readonly number[] = [1, 2];

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
  /** Of a group: the number of its stage among `steps`, from 1. */
  readonly step?: number | null;
  /** Of a group, and of nothing else: how many children are in each state. */
  readonly children?: ChildCounts;
}

/** Something that the task has made. Size in bytes, `expires_at` in milliseconds since 1970. */
export interface Artifact {
  readonly name?: string;
  readonly url?: string;
  readonly size?: number;
  readonly rows?: number;
  readonly expires_at?: number;
  readonly [field: string]: JSONValue | undefined;
}

/** What a text was in the end: its length in bytes of UTF-8, and how many bytes past the limit were omitted. */
export interface WrittenText {
  readonly length: number;
  readonly sha256: string;
  readonly omitted?: number;
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
  /** Whether its worker can kill the process that runs it. */
  readonly forcible?: boolean;
  /** The instant from which that may be requested. */
  readonly force_after?: number;
  /** Whether it has been requested. */
  readonly forced?: boolean;
  readonly error?: { readonly message?: string; readonly reference?: string };
  readonly result?: JSONValue;
  readonly artifacts?: readonly Artifact[];
  /** By their names, once the run that wrote them has ended. */
  readonly texts?: Readonly<Record<string, WrittenText>>;
  /** Of a group: the names of a chain's links, or of a chord's header and body, in order. */
  readonly steps?: readonly string[];
  /** Of a group: whether its children have no feeds of their own. */
  readonly light?: boolean;
  /** Of a group: the errors of the first children that failed. */
  readonly error1?: ChildError;
  readonly error2?: ChildError;
  readonly error3?: ChildError;
  readonly error4?: ChildError;
  readonly error5?: ChildError;
  readonly [field: string]: unknown;
}

/** One numbered patch to a feed's document, as the journal has kept it. */
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
  /** How long each text is with this event; only in a feed that has had one. */
  readonly texts?: Texts;
}

const FEED = /^(task|user|group):[A-Za-z0-9._~@-]{1,128}$/;

/** Return whether the event is kept by itself: counters are folded, texts are appended. */
export function isFact({ kind }: Pick<Event, "kind">): boolean {
  return kind !== "counter" && kind !== TEXT;
}

/** Return what a text event adds to its text; null for any other event. */
export function chunkOf({ kind, data }: Event): Chunk | null {
  return kind === TEXT ? (data as unknown as Chunk) : null;
}

/** Return whether this is the feed, or the id, of a group of tasks. */
export function isGroup(name: string): boolean {
  return name.startsWith("group:");
}

/** Return the feed of a task's id. A feed's full name is returned as it is; null if the text is neither. */
export function feedOf(taskOrFeed: string): string | null {
  const feed = taskOrFeed.includes(":") ? taskOrFeed : `task:${taskOrFeed}`;
  return FEED.test(feed) ? feed : null;
}

/** Return a feed's id: its name without its kind, of a group the whole name. */
export function feedId(feed: string): string {
  return isGroup(feed) ? feed : feed.slice(feed.indexOf(":") + 1);
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

/** Return the event, or null if the object isn't one. An event of another version is returned: the reader decides. */
export function parseEvent(wire: unknown): Event | null {
  if (!isObject(wire)) return null;
  const numbers = [wire["v"], wire["seq"], wire["run"], wire["facts"], wire["at"]];
  const strings = [wire["id"], wire["feed"], wire["epoch"], wire["chain"], wire["kind"]];
  const valid =
    numbers.every((value) => Number.isSafeInteger(value)) &&
    strings.every((value) => typeof value === "string") &&
    isObject(wire["patch"]) &&
    (wire["progress"] === null || isObject(wire["progress"])) &&
    isTexts(wire["texts"]) &&
    (wire["kind"] !== TEXT || isChunk(wire["data"]));
  return valid ? (wire as unknown as Event) : null;
}

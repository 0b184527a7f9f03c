/** What the server answers: readings of a feed, and snapshots of a task. */

import { type Cursor, parseCursor } from "./cursor.js";
import { isObject } from "./encoding.js";
import { type Document, type Event, parseEvent } from "./events.js";
import { type Chunk, isChunk } from "./texts.js";

/** The journal's answer to a read, all of one instant. Its events are facts, and the document includes them already. */
export interface Reading {
  readonly feed: string;
  readonly document: Document;
  readonly events: readonly Event[];
  readonly cursor: Cursor;
  readonly recovered: boolean;
  readonly more: boolean;
  /** Where a reader without a cursor starts, if the facts before that are no longer kept. */
  readonly start?: Cursor | null;
  /** What the texts have after the given cursor: a part of it, if there is `more`. */
  readonly texts?: readonly Chunk[];
}

/** URLs by purpose: `self`, `events`, `cancel`, `file`, `retry`. What can't be done has none. */
export type Links = { readonly [name: string]: string };

/** A task as the HTTP calls return it. */
export interface Snapshot {
  readonly id: string;
  readonly feed: string;
  readonly cursor: string;
  readonly document: Document;
  readonly links?: Links;
}

/** Return the reading, or null if the object isn't one. */
export function parseReading(wire: unknown): Reading | null {
  if (!isObject(wire) || !Array.isArray(wire["events"]) || !isObject(wire["document"])) return null;
  const { after, chunks: texts = [] } = isObject(wire["texts"]) ? wire["texts"] : {};
  const cursor = parseCursor(wire["cursor"], after);
  const events = wire["events"].map(parseEvent);
  if (!cursor || typeof wire["feed"] !== "string" || !events.every((event): event is Event => event !== null)) {
    return null;
  }
  if (!Array.isArray(texts) || !texts.every(isChunk)) return null;
  return {
    feed: wire["feed"],
    document: wire["document"] as Document,
    events,
    cursor,
    recovered: wire["recovered"] === true,
    more: wire["more"] === true,
    start: parseCursor(wire["start"]),
    texts,
  };
}

/** Return the snapshot, or null if the object isn't one. */
export function parseSnapshot(wire: unknown): Snapshot | null {
  const valid =
    isObject(wire) && typeof wire["feed"] === "string" && isObject(wire["document"]) && parseCursor(wire["cursor"]);
  return valid ? (wire as unknown as Snapshot) : null;
}

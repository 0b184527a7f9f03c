/** Where a reader stands in a feed, and the chain that tells one history from another. */

import { sha1 } from "./digests.js";
import { formatTexts, NO_TEXTS, parseTexts, type Texts } from "./texts.js";

export const ZERO_CHAIN = "0000000000000000" as const;

/** Where a reader stands in a feed. */
export interface Cursor {
  readonly epoch: string;
  readonly seq: number;
  readonly facts: number;
  readonly chain: string;
  /** How much of the feed's texts the reader has; none without it. */
  readonly texts?: Texts;
}

const CURSOR =
  /^([0-9a-f]{8})\.([0-9]{1,16})\.([0-9]{1,16})\.([0-9a-f]{16})(?:~([0-9]{1,15}(?:~[A-Za-z0-9_-]{1,32}~[0-9]{1,15}){0,8}))?$/;

/** Return the chain after a fact with this id. */
export function advance(chain: string, id: string): string {
  return sha1(chain + id).slice(0, 16);
}

/**
 * Return the cursor, or null if the text isn't one or its numbers are past 2^53 - 1. `after`: the lengths of texts, where they
 * are given apart from it.
 */
export function parseCursor(text: unknown, after?: unknown): Cursor | null {
  if (typeof text === "string" && typeof after === "string") return parseCursor(`${text}~${after}`);
  const match = typeof text === "string" ? CURSOR.exec(text) : null;
  if (!match) return null;
  const [, epoch, seq, facts, chain, texts] = match as unknown as [string, string, string, string, string, string?];
  const place = { epoch, seq: Number(seq), facts: Number(facts), chain };
  const cursor = texts === undefined ? place : atTexts(place, parseTexts(texts));
  return Number.isSafeInteger(cursor.seq) && Number.isSafeInteger(cursor.facts) ? cursor : null;
}

/** Return the cursor as it is sent: a server that knows no texts reads the cursor, and passes over their lengths. */
export function positionOf(cursor: Cursor): { readonly cursor: string; readonly texts?: string } {
  const { texts } = cursor;
  return { cursor: formatCursor(placeOf(cursor)), ...(texts && { texts: formatTexts(texts) }) };
}

export function formatCursor({ epoch, seq, facts, chain, texts }: Cursor): string {
  return `${epoch}.${seq}.${facts}.${chain}${texts?.run ? `~${formatTexts(texts)}` : ""}`;
}

/** Return the cursor of a reader that has so much of the texts. */
export function atTexts({ epoch, seq, facts, chain }: Cursor, texts: Texts): Cursor {
  const place = { epoch, seq, facts, chain };
  return texts.run > 0 ? { ...place, texts } : place;
}

/** Return the cursor of a reader that has no texts: it is given them from the start. */
export function placeOf(cursor: Cursor): Cursor {
  return atTexts(cursor, NO_TEXTS);
}

/** Return whether a journal at `cursor` can't have brought a reader to `other`: it is behind, or has another history. */
export function isBehind(cursor: Cursor, other: Cursor): boolean {
  return (
    cursor.epoch !== other.epoch ||
    cursor.seq < other.seq ||
    cursor.facts < other.facts ||
    (cursor.facts === other.facts && cursor.chain !== other.chain)
  );
}

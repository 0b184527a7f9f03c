/** Where a reader stands in a feed, and the chain that tells one history from another. */

import { sha1 } from "./sha1.js";

export const ZERO_CHAIN = "0000000000000000" as const;

/** Where a reader stands in a feed. */
export interface Cursor {
  readonly epoch: string;
  readonly seq: number;
  readonly facts: number;
  readonly chain: string;
}

const CURSOR = /^([0-9a-f]{8})\.([0-9]{1,16})\.([0-9]{1,16})\.([0-9a-f]{16})$/;

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

/** Return whether a journal at `cursor` can't have brought a reader to `other`: it is behind, or has another history. */
export function isBehind(cursor: Cursor, other: Cursor): boolean {
  return (
    cursor.epoch !== other.epoch ||
    cursor.seq < other.seq ||
    cursor.facts < other.facts ||
    (cursor.facts === other.facts && cursor.chain !== other.chain)
  );
}

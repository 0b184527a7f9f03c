/**
 * The reader's rule, as `protocol/README.md` states it.
 *
 * Pure: no clock, no I/O. `src/petiole/protocol/reader.py` is its twin, and both run `protocol/transcripts/*.json`.
 */

import { advance, type Cursor, isBehind, ZERO_CHAIN } from "./cursor.js";
import { type Document, type Event, fold, isFact, VERSION } from "./events.js";
import type { Reading } from "./reading.js";

export const BUFFER_LIMIT = 1024;

export type Verdict = "apply" | "drop" | "read";

/**
 * What a reader wants done: show this event (applied, or folded into a reading already); ask the journal for what
 * follows this cursor (null: from the start); say that the document was replaced and facts may have been missed.
 */
export type Action =
  | { readonly type: "show"; readonly event: Event }
  | { readonly type: "read"; readonly cursor: Cursor | null }
  | { readonly type: "reset"; readonly cursor: Cursor };

/** Decide what a reader at `cursor` does with `event`. */
export function judge(cursor: Cursor, event: Event): Verdict {
  if (event.epoch !== cursor.epoch) return "read";
  if (event.facts < cursor.facts || (event.facts === cursor.facts && event.seq <= cursor.seq)) return "drop";
  if (event.seq <= cursor.seq) return "read";
  const follows = isFact(event)
    ? event.facts === cursor.facts + 1 && event.chain === advance(cursor.chain, event.id)
    : event.facts === cursor.facts && event.chain === cursor.chain;
  return follows ? "apply" : "read";
}

/** Return whether these facts lead from one cursor to the other, one by one, by number and by chain. */
function lead(from: Cursor, events: readonly Event[], to: Cursor): boolean {
  let { facts, chain } = from;
  for (const event of events) {
    facts += 1;
    chain = advance(chain, event.id);
    if (event.epoch !== from.epoch || event.facts !== facts || event.chain !== chain) return false;
  }
  return to.facts === facts && to.chain === chain;
}

/** How many facts the feed has, how many of them were shown, and whether none is missing. */
export interface Receipt {
  readonly facts: number;
  readonly shown: number;
  readonly complete: boolean;
}

/** One reader of one feed. Its owner performs the actions that each call returns, in order. */
export class Reader {
  readonly feed: string;
  cursor: Cursor | null;
  document: Document;
  /** Whether a read is pending; events are buffered until it is answered. */
  reading = true;
  /** Facts shown: those of the first cursor (the application showed them) and those applied or read since. */
  shown: number;
  /** Whether the reader was never reset. Only then does "shown N of N" at the end prove that nothing is missing. */
  complete = true;
  #buffer: Event[] = [];
  #overflowed = false;

  constructor(feed: string, start: { cursor?: Cursor | null; document?: Document } = {}) {
    this.feed = feed;
    this.cursor = start.cursor ?? null;
    this.document = start.document ?? {};
    this.shown = this.cursor?.facts ?? 0;
  }

  get receipt(): Receipt {
    return { facts: this.cursor?.facts ?? 0, shown: this.shown, complete: this.complete };
  }

  /**
   * Ask for the first read, or for one after the connection was away. Earlier reads are void: never pass their answers to
   * this reader. The journal had kept what was buffered for them, so this read includes it.
   */
  start(): Action[] {
    this.#buffer = [];
    this.#overflowed = false;
    return [this.#read()];
  }

  /** Take an event from the relay. */
  offer(event: Event): Action[] {
    if (event.v !== VERSION || event.feed !== this.feed) return [];
    if (this.reading || this.cursor === null) {
      this.#keep(event);
      return [];
    }
    switch (judge(this.cursor, event)) {
      case "apply":
        this.cursor = { epoch: event.epoch, seq: event.seq, facts: event.facts, chain: event.chain };
        this.document = fold(this.document, event);
        if (isFact(event)) this.shown += 1;
        return [{ type: "show", event }];
      case "read":
        // Not buffered: the journal keeps an event before it rings, so this read includes it.
        return [this.#read()];
      case "drop":
        return [];
    }
  }

  /** Take the answer to the read that this reader asked for. */
  answer(reading: Reading): Action[] {
    const actions: Action[] = [];
    let fits = this.#fits(reading);
    if (!fits) {
      this.complete = false;
      const start = this.#startOf(reading);
      actions.push({ type: "reset", cursor: start ?? reading.cursor });
      fits = start !== null;
    }
    if (fits) {
      this.shown += reading.events.length;
      for (const event of reading.events) actions.push({ type: "show", event });
    }
    this.cursor = reading.cursor;
    this.document = reading.document;
    if (reading.more) return [...actions, this.#read()];
    this.reading = false;
    if (this.#overflowed) {
      this.#overflowed = false;
      return [...actions, this.#read()];
    }
    const buffered = this.#buffer;
    this.#buffer = [];
    for (const event of buffered) {
      actions.push(...this.offer(event));
      if (this.reading) break; // the next read includes the rest
    }
    return actions;
  }

  /**
   * Take a reset from the relay; pending reads are void. It is about the relay's position: a reader that may be able to
   * continue from its own asks the journal.
   */
  reset(reading: Reading): Action[] {
    if (this.cursor === null || !isBehind(reading.cursor, this.cursor)) return this.start();
    return this.answer(reading);
  }

  /** Compare with the feed's head, requested while the reader was at `asked`. */
  head(head: Cursor, asked: Cursor): Action[] {
    if (this.reading || this.cursor === null) return [];
    const ahead = head.facts > this.cursor.facts || head.seq > this.cursor.seq;
    return ahead || isBehind(head, asked) ? [this.#read()] : [];
  }

  #read(): Action {
    this.reading = true;
    return { type: "read", cursor: this.cursor };
  }

  #keep(event: Event): void {
    if (this.#buffer.length < BUFFER_LIMIT && !this.#overflowed) {
      this.#buffer.push(event);
    } else {
      this.#buffer = [];
      this.#overflowed = true;
    }
  }

  #fits(reading: Reading): boolean {
    if (!reading.recovered) return false;
    const held = this.cursor ?? { epoch: reading.cursor.epoch, seq: 0, facts: 0, chain: ZERO_CHAIN };
    return !isBehind(reading.cursor, held) && lead(held, reading.events, reading.cursor);
  }

  /** Return where a reader without a cursor starts if the first facts are no longer kept; null if the reading doesn't say. */
  #startOf({ recovered, start, events, cursor }: Reading): Cursor | null {
    if (recovered || this.cursor !== null || !start || start.epoch !== cursor.epoch) return null;
    return lead(start, events, cursor) ? start : null;
  }
}

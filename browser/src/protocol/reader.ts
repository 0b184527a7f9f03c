/**
 * The reader's rule, as `protocol/README.md` states it.
 *
 * Pure: no clock, no I/O. `src/petiole/protocol/reader.py` is its twin, and both run `protocol/transcripts/*.json`.
 */

import { advance, atTexts, type Cursor, isBehind, placeOf, ZERO_CHAIN } from "./cursor.js";
import { sha256 } from "./digests.js";
import { own } from "./encoding.js";
import { chunkOf, type Document, type Event, fold, isFact, VERSIONS } from "./events.js";
import type { Reading } from "./reading.js";
import { areSame, type Chunk, follows, grown, lengthOf, NO_TEXTS, ofRun, TEXT, type Texts } from "./texts.js";

export const BUFFER_LIMIT = 1024;

export type Verdict = "apply" | "drop" | "read";

/**
 * What a reader wants done: show this event (applied, or folded into a reading already); append this chunk to its text,
 * which is `whole` with it (`event`: the one that brought it; null: a reading did); void the texts, because `run` begins its
 * own or they are read again from the start; ask the journal for what follows this cursor (null: from the start); say that
 * the document was replaced and facts may have been missed.
 */
export type Action =
  | { readonly type: "show"; readonly event: Event }
  | { readonly type: "write"; readonly chunk: Chunk; readonly whole: string; readonly event: Event | null }
  | { readonly type: "clear"; readonly run: number; readonly names: readonly string[] }
  | { readonly type: "read"; readonly cursor: Cursor | null }
  | { readonly type: "reset"; readonly cursor: Cursor };

/** Decide what a reader at `cursor` does with `event`; `texts`: whether it shows texts. */
export function judge(cursor: Cursor, event: Event, texts = true): Verdict {
  if (event.epoch !== cursor.epoch) return "read";
  if (event.facts < cursor.facts || (event.facts === cursor.facts && event.seq <= cursor.seq)) return "drop";
  if (event.seq <= cursor.seq) return "read";
  const fits = isFact(event)
    ? event.facts === cursor.facts + 1 && event.chain === advance(cursor.chain, event.id)
    : event.facts === cursor.facts && event.chain === cursor.chain;
  if (!texts) return fits ? "apply" : "read";
  return fits && follows(event.texts ?? NO_TEXTS, cursor.texts ?? NO_TEXTS, chunkOf(event)) ? "apply" : "read";
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

/** How long a text is here, in bytes of UTF-8. `complete`: it is what its run has written; null: no run has said (yet). */
export interface TextReceipt {
  readonly length: number;
  readonly complete: boolean | null;
  /** How many bytes past the limit its run has omitted. */
  readonly omitted: number;
}

/** How many facts the feed has, how many of them were shown, its texts, and whether nothing is missing. */
export interface Receipt {
  readonly facts: number;
  readonly shown: number;
  readonly complete: boolean;
  readonly texts: Readonly<Record<string, TextReceipt>>;
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
  readonly keepsTexts: boolean;
  /** The texts as far as this reader has them, in the order in which they appeared. */
  readonly texts: ReadonlyMap<string, string>;
  readonly #written = new Map<string, string>();
  #buffer: Event[] = [];
  #overflowed = false;

  /** `texts`: whether this reader shows texts. Without, it passes over them, and its cursor has no lengths. */
  constructor(feed: string, start: { cursor?: Cursor | null; document?: Document; texts?: boolean } = {}) {
    this.feed = feed;
    this.keepsTexts = start.texts ?? true;
    // Whoever gives a cursor has shown the facts up to it, and no text.
    this.cursor = start.cursor ? placeOf(start.cursor) : null;
    this.document = start.document ?? {};
    this.shown = this.cursor?.facts ?? 0;
    this.texts = this.#written;
  }

  get receipt(): Receipt {
    const texts = this.#textReceipts();
    const complete = this.complete && Object.values(texts).every((text) => text.complete !== false);
    return { facts: this.cursor?.facts ?? 0, shown: this.shown, complete, texts };
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
    if (!VERSIONS.includes(event.v) || event.feed !== this.feed) return [];
    if (this.reading || this.cursor === null) {
      this.#keep(event);
      return [];
    }
    switch (judge(this.cursor, event, this.keepsTexts)) {
      case "apply":
        return this.#apply(this.cursor, event);
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
    const held = (fits && this.cursor?.texts) || NO_TEXTS;
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
    this.document = reading.document;
    const told = (this.keepsTexts && reading.cursor.texts) || NO_TEXTS;
    const { actions: written, texts } = this.#writeAll(this.keepsTexts ? (reading.texts ?? []) : [], held, told);
    actions.push(...written);
    this.cursor = atTexts(reading.cursor, texts);
    // Texts that don't fit are read again from the start, once.
    if (reading.more || (held.run > 0 && !areSame(texts, told))) return [...actions, this.#read()];
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

  #apply(cursor: Cursor, event: Event): Action[] {
    const { epoch, seq, facts, chain } = event;
    const texts = (this.keepsTexts && event.texts) || NO_TEXTS;
    const actions = texts.run > (cursor.texts ?? NO_TEXTS).run ? this.#clear(texts.run) : [];
    this.cursor = atTexts({ epoch, seq, facts, chain }, texts);
    this.document = changesNothing(this.document, event) ? this.document : fold(this.document, event);
    if (isFact(event)) this.shown += 1;
    const chunk = chunkOf(event);
    if (chunk && !this.keepsTexts) return [];
    return [...actions, chunk ? this.#write(chunk, event) : { type: "show", event }];
  }

  /** Write a reading's chunks for a reader that has `held`, to have what the reading has `told`; nothing, if they don't fit. */
  #writeAll(chunks: readonly Chunk[], held: Texts, told: Texts): { actions: Action[]; texts: Texts } {
    let brought = ofRun(held, told.run);
    let fits = true;
    for (const chunk of chunks) {
      fits &&= chunk.at === lengthOf(brought, chunk.name);
      brought = grown(brought, chunk);
    }
    fits &&= areSame(brought, told);
    // What was written before a reset isn't held any more.
    const actions = fits && held.run > 0 && held.run === told.run ? [] : this.#clear(told.run);
    if (!fits) return { actions, texts: NO_TEXTS };
    for (const chunk of chunks) actions.push(this.#write(chunk, null));
    return { actions, texts: told };
  }

  #write(chunk: Chunk, event: Event | null): Action {
    const whole = this.#text(chunk.name) + chunk.chunk;
    this.#written.set(chunk.name, whole);
    return { type: "write", chunk, whole, event };
  }

  #clear(run: number): Action[] {
    const names = [...this.#written.keys()];
    this.#written.clear();
    return names.length > 0 ? [{ type: "clear", run, names }] : [];
  }

  #text(name: string): string {
    return this.#written.get(name) ?? "";
  }

  #textReceipts(): Record<string, TextReceipt> {
    const { texts } = this.document;
    const names = new Set([...this.#written.keys(), ...Object.keys(texts ?? {})]);
    return Object.fromEntries(
      Array.from(names, (name) => {
        const length = lengthOf(this.cursor?.texts ?? NO_TEXTS, name);
        const told = texts && own(texts, name);
        const complete = texts && this.keepsTexts ? length === told?.length && sha256(this.#text(name)) === told.sha256 : null;
        return [name, { length, complete, omitted: told?.omitted ?? 0 }];
      }),
    );
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

/** Return whether a text event leaves the document as it is, as nearly all do. */
function changesNothing(document: Document, { kind, run, patch, progress }: Event): boolean {
  const same = JSON.stringify(progress) === JSON.stringify(document.progress ?? null);
  return kind === TEXT && run === document.run && same && Object.keys(patch).length === 0;
}

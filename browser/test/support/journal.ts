/** A feed kept in memory, as the protocol says, for tests. */

import { createHash, randomBytes } from "node:crypto";
import { formatCursor, parseCursor, placeOf } from "../../src/protocol/cursor.js";
import { type JSONValue, own } from "../../src/protocol/encoding.js";
import { type Document, type Event, fold, isFact, type Progress } from "../../src/protocol/events.js";
import { type Chunk, formatTexts, NO_TEXTS, type Texts } from "../../src/protocol/texts.js";

export interface WireReading {
  feed: string;
  document: Document;
  events: Event[];
  cursor: string;
  recovered: boolean;
  more: boolean;
  texts?: { after: string; chunks: Chunk[] };
}

const nextChain = (chain: string, id: string): string =>
  createHash("sha1").update(chain + id).digest("hex").slice(0, 16);

export class Journal {
  readonly feed: string;
  epoch: string = randomBytes(4).toString("hex");
  document: Document = {};
  /** Facts before this number are trimmed. */
  keptFrom = 1;
  /** The most facts in one reading. */
  limit = 100;
  /** The most bytes of texts in one reading. */
  part = 256 * 1024;
  run = 1;
  #written = new Map<string, Buffer>();
  #textsRun = 0;
  #facts: Event[] = [];
  #seq = 0;
  #chain = "0".repeat(16);
  #progress: Progress | null = null;

  constructor(feed: string) {
    this.feed = feed;
    // An inbox has no runs.
    if (!feed.startsWith("task:")) this.run = 0;
  }

  get cursor(): string {
    return this.#at(this.#texts);
  }

  /** The cursor as a snapshot gives it. */
  get place(): string {
    return this.#at(NO_TEXTS);
  }

  /** The texts as they are kept, by name. */
  get written(): Record<string, string> {
    return Object.fromEntries([...this.#written].map(([name, bytes]) => [name, bytes.toString()]));
  }

  get facts(): number {
    return this.#facts.length;
  }

  fact(kind: string, patch: Record<string, JSONValue> = {}, data?: JSONValue): Event {
    return this.#append(kind, patch, data);
  }

  state(state: string, patch: Record<string, JSONValue> = {}): Event {
    return this.fact("state", { state, ...patch });
  }

  counter(completed: number, total: number | null = 100): Event {
    this.#progress = { completed, total, unit: "rows", fraction: total ? completed / total : null };
    return this.#append("counter", {});
  }

  /** Append to a text of the present run. */
  text(chunk: string, name = "output"): Event {
    if (this.#textsRun !== this.run) this.#void();
    const before = this.#written.get(name) ?? Buffer.alloc(0);
    this.#written.set(name, Buffer.concat([before, Buffer.from(chunk)]));
    return this.#append("text", {}, { name, at: before.length, chunk });
  }

  /** Begin the next run: the texts of the one before are void. */
  begin(): Event {
    this.run += 1;
    if (this.#textsRun > 0) this.#void();
    return this.state("running");
  }

  /** End the task, with what it says of its texts. */
  end(state: string, omitted = 0): Event {
    const texts = [...this.#written].map(([name, bytes]) => [
      name,
      { length: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex"), omitted },
    ]);
    return this.state(state, { texts: Object.fromEntries(texts) as Record<string, JSONValue> });
  }

  read(cursor: string | null, after?: string | false): WireReading {
    const from = cursor === null ? 0 : this.#position(cursor);
    const lost = from === null || from + 1 < this.keptFrom;
    const held = lost || cursor === null ? NO_TEXTS : (parseCursor(cursor, after)?.texts ?? NO_TEXTS);
    const { texts, lengths } = this.#parts(after === false ? this.#texts : held);
    const more = JSON.stringify(lengths) !== JSON.stringify(this.#texts);
    const brought = lengths.run > 0 && { texts: { after: formatTexts(lengths), chunks: texts } };
    const reading = { feed: this.feed, document: this.document, cursor: this.#at(NO_TEXTS), more, ...brought };
    if (lost) return { ...reading, events: [], recovered: false };
    const events = this.#facts.slice(from, from + this.limit);
    const last = events.at(-1);
    return last && from + events.length < this.#facts.length
      ? { ...reading, events, recovered: true, more: true, cursor: formatCursor(placeOf(last)) }
      : { ...reading, events, recovered: true };
  }

  /** What a reading brings of the texts: at most `part` bytes, whole characters. */
  #parts(held: Texts): { texts: Chunk[]; lengths: Texts } {
    const known = held.run === this.#textsRun ? held.lengths : {};
    const lengths: [string, number][] = [];
    const texts: Chunk[] = [];
    let left = this.part;
    for (const [name, bytes] of [...this.#written].sort()) {
      const at = own(known, name) ?? 0;
      let end = Math.min(bytes.length, at + left);
      while (end < bytes.length && (bytes[end]! & 0xc0) === 0x80) end -= 1;
      left -= end - at;
      if (end > at) texts.push({ name, at, chunk: bytes.subarray(at, end).toString() });
      if (end > 0) lengths.push([name, end]);
    }
    return { texts, lengths: { run: this.#textsRun, lengths: Object.fromEntries(lengths) } };
  }

  get #texts(): Texts {
    const lengths = [...this.#written].sort().map(([name, bytes]) => [name, bytes.length]);
    return { run: this.#textsRun, lengths: Object.fromEntries(lengths) as Record<string, number> };
  }

  #at(texts: Texts): string {
    return formatCursor({ epoch: this.epoch, seq: this.#seq, facts: this.#facts.length, chain: this.#chain, texts });
  }

  #void(): void {
    this.#written.clear();
    this.#textsRun = this.run;
  }

  /** The facts that a reader at this cursor has; null if it read another history. */
  #position(cursor: string): number | null {
    const [epoch, , facts, chain] = cursor.split(/[.~]/) as [string, string, string, string];
    const own = facts === "0" ? "0".repeat(16) : this.#facts[Number(facts) - 1]?.chain;
    return epoch === this.epoch && own === chain ? Number(facts) : null;
  }

  #append(kind: string, patch: Record<string, JSONValue>, data?: JSONValue): Event {
    const id = randomBytes(8).toString("hex");
    this.#seq += 1;
    const counts = isFact({ kind });
    if (counts) this.#chain = nextChain(this.#chain, id);
    const event: Event = {
      v: kind === "text" ? 2 : 1,
      id,
      feed: this.feed,
      epoch: this.epoch,
      seq: this.#seq,
      run: this.run,
      facts: this.#facts.length + (counts ? 1 : 0),
      chain: this.#chain,
      at: Date.now(),
      kind,
      patch,
      progress: this.#progress,
      ...(data !== undefined && { data }),
      ...(this.#textsRun > 0 && { texts: this.#texts }),
    };
    if (counts) this.#facts.push(event);
    this.document = fold(this.document, event);
    return event;
  }
}

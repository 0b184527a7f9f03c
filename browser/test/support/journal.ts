/** A feed kept in memory, as the protocol says, for tests. */

import { createHash, randomBytes } from "node:crypto";
import { formatCursor } from "../../src/protocol/cursor.js";
import type { JSONValue } from "../../src/protocol/encoding.js";
import { type Document, type Event, fold, type Progress } from "../../src/protocol/events.js";

export interface WireReading {
  feed: string;
  document: Document;
  events: Event[];
  cursor: string;
  recovered: boolean;
  more: boolean;
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
  #facts: Event[] = [];
  #seq = 0;
  #chain = "0".repeat(16);
  #progress: Progress | null = null;

  constructor(feed: string) {
    this.feed = feed;
  }

  get cursor(): string {
    return formatCursor({ epoch: this.epoch, seq: this.#seq, facts: this.#facts.length, chain: this.#chain });
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

  read(cursor: string | null): WireReading {
    const from = cursor === null ? 0 : this.#position(cursor);
    const reading = { feed: this.feed, document: this.document, cursor: this.cursor, more: false };
    if (from === null || from + 1 < this.keptFrom) return { ...reading, events: [], recovered: false };
    const events = this.#facts.slice(from, from + this.limit);
    const last = events.at(-1);
    return last && from + events.length < this.#facts.length
      ? { ...reading, events, recovered: true, more: true, cursor: formatCursor(last) }
      : { ...reading, events, recovered: true };
  }

  /** The facts that a reader at this cursor has; null if it read another history. */
  #position(cursor: string): number | null {
    const [epoch, , facts, chain] = cursor.split(".") as [string, string, string, string];
    const own = facts === "0" ? "0".repeat(16) : this.#facts[Number(facts) - 1]?.chain;
    return epoch === this.epoch && own === chain ? Number(facts) : null;
  }

  #append(kind: string, patch: Record<string, JSONValue>, data?: JSONValue): Event {
    const id = randomBytes(8).toString("hex");
    this.#seq += 1;
    const isFact = kind !== "counter";
    if (isFact) this.#chain = nextChain(this.#chain, id);
    const event: Event = {
      v: 1,
      id,
      feed: this.feed,
      epoch: this.epoch,
      seq: this.#seq,
      // An inbox has no runs.
      run: this.feed.startsWith("task:") ? 1 : 0,
      facts: this.#facts.length + (isFact ? 1 : 0),
      chain: this.#chain,
      at: Date.now(),
      kind,
      patch,
      progress: this.#progress,
      ...(data !== undefined && { data }),
    };
    if (isFact) this.#facts.push(event);
    this.document = fold(this.document, event);
    return event;
  }
}

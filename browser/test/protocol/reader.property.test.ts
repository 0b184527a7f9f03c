/** The reader with a journal and a bus that fast-check drives: whatever happens in whatever order, no loss goes unsaid. */

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Cursor, formatCursor, parseCursor } from "../../src/protocol/cursor.js";
import { chunkOf, type Event, fold, isFact } from "../../src/protocol/events.js";
import { type Action, Reader } from "../../src/protocol/reader.js";
import { parseReading, type Reading } from "../../src/protocol/reading.js";
import { grown, lengthOf, NO_TEXTS, ofRun } from "../../src/protocol/texts.js";
import { Journal } from "../support/journal.js";

const FEED = "task:1";
const SETTLING_ROUNDS = 5;
const CHUNKS = ["one ", "zwölf ", "👋🏽", "\u0000", "שלום"];

const STEPS = [
  "fact",
  "counter",
  "text",
  "other text",
  "next run",
  "deliver",
  "drop",
  "double",
  "swap",
  "trim",
  "new epoch",
  "reconnect",
  "journal reads",
  "reading arrives",
  "ask for the head",
  "head arrives",
] as const;
type Step = (typeof STEPS)[number];

const step = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom<Step>("fact", "counter", "text", "other text") },
  { weight: 5, arbitrary: fc.constantFrom<Step>("deliver", "journal reads", "reading arrives") },
  { weight: 2, arbitrary: fc.constantFrom<Step>("drop", "double", "swap", "ask for the head", "head arrives") },
  { weight: 1, arbitrary: fc.constantFrom<Step>("trim", "new epoch", "reconnect", "next run") },
);
const steps = fc.array(step, { maxLength: 80, size: "max" });

/** A journal, a bus and one reader, whose reads and heads are answered late. */
class World {
  readonly journal = new Journal(FEED);
  readonly #reader: Reader;
  readonly #comparesHeads: boolean;
  readonly #facts: string[] = [];
  #bus: Event[] = [];
  #asked: { cursor: Cursor | null } | null = null;
  #answer: Reading | null = null;
  #head: { head: Cursor; asked: Cursor } | null = null;
  /** Facts shown since the page began or was reset, which was at `#since`. */
  #shown: string[] = [];
  /** What was written since the texts were void. */
  readonly #texts = new Map<string, string>();
  #since = 0;
  #resets = 0;
  #lossy = false;
  #said = 0;
  #completed = -1;
  #epochs = 0;

  constructor(make: () => Reader, limit: number, comparesHeads: boolean) {
    this.journal.limit = limit;
    this.journal.part = 7 * limit;
    this.#comparesHeads = comparesHeads;
    this.#write(this.journal.state("queued"));
    this.#reader = make();
    this.#act(this.#reader.start());
  }

  take(step: Step): void {
    switch (step) {
      case "fact":
        this.#said += 1;
        return this.#write(this.journal.fact("log", this.#said % 3 ? {} : { note: this.#said }, this.#said));
      case "counter":
        this.#said += 1;
        return this.#write(this.journal.counter(this.#said));
      case "text":
      case "other text":
        this.#said += 1;
        return this.#write(this.journal.text(CHUNKS[this.#said % CHUNKS.length]!, step === "text" ? "output" : "__proto__"));
      case "next run":
        return this.#write(this.journal.begin());
      case "deliver": {
        const event = this.#bus.shift();
        return event && this.#act(this.#reader.offer(event));
      }
      case "drop":
        this.#bus.shift();
        return;
      case "double":
        if (this.#bus[0]) this.#bus.push(this.#bus[0]);
        return;
      case "swap":
        if (this.#bus.length > 1) this.#bus.unshift(...this.#bus.splice(1, 1));
        return;
      case "trim":
        this.#lossy ||= this.journal.facts > 1;
        this.journal.keptFrom = Math.max(this.journal.facts, this.journal.keptFrom);
        return;
      case "new epoch":
        // What a writer does when the journal has lost the feed: it writes its document at its numbers, without earlier facts.
        this.#lossy = true;
        this.#epochs += 1;
        this.journal.epoch = this.#epochs.toString(16).padStart(8, "0");
        this.journal.keptFrom = this.journal.facts + 1;
        return;
      case "reconnect":
        this.#bus = [];
        this.#asked = this.#answer = this.#head = null;
        return this.#act(this.#reader.start());
      case "journal reads":
        if (this.#asked) this.#answer ??= parseReading(this.journal.read(this.#asked.cursor && formatCursor(this.#asked.cursor)))!;
        return;
      case "reading arrives": {
        const answer = this.#answer;
        if (!answer) return;
        this.#asked = this.#answer = null;
        return this.#act(this.#reader.answer(answer));
      }
      case "ask for the head":
        if (this.#comparesHeads && this.#reader.cursor) this.#head ??= { head: this.#cursor, asked: this.#reader.cursor };
        return;
      case "head arrives": {
        const head = this.#head;
        if (!head) return;
        this.#head = null;
        return this.#act(this.#reader.head(head.head, head.asked));
      }
    }
  }

  /** From here on nothing goes wrong: the page ends up with what the journal has. */
  settle(): void {
    while (this.#bus.length > 0) this.take("deliver");
    this.take("head arrives");
    for (let round = 0; round < SETTLING_ROUNDS; round += 1) {
      while (this.#asked) {
        this.take("journal reads");
        this.take("reading arrives");
      }
      this.take("ask for the head");
      this.take("head arrives");
    }
    expect(this.#reader.reading).toBe(false);
    expect(this.#reader.cursor).toEqual(this.#cursor);
    expect(this.#reader.document).toEqual(this.journal.document);
    expect(Object.fromEntries(this.#texts)).toEqual(this.journal.written);
    expect(this.#reader.texts).toEqual(this.#texts);
    expect(this.#shown).toEqual(this.#facts.slice(this.#since));
    expect(this.#reader.complete).toBe(this.#resets === 0);
    if (this.#reader.complete) expect([this.#since, this.#reader.shown]).toEqual([0, this.#facts.length]);
  }

  get #cursor(): Cursor {
    return parseCursor(this.journal.cursor)!;
  }

  #write(event: Event): void {
    if (isFact(event)) this.#facts.push(event.id);
    this.#bus.push(event);
  }

  #act(actions: Action[]): void {
    for (const action of actions) {
      if (action.type === "read") {
        expect(this.#asked, "a reader asks for one read at a time").toBeNull();
        this.#asked = { cursor: action.cursor };
      } else if (action.type === "reset") {
        expect(this.#lossy, "a reset is said only if the journal has lost something").toBe(true);
        this.#resets += 1;
        this.#since = action.cursor.facts;
        this.#shown = [];
      } else if (action.type === "clear") {
        expect(action.names).toEqual([...this.#texts.keys()]);
        this.#texts.clear();
      } else if (action.type === "write") {
        const { name, at, chunk } = action.chunk;
        const before = this.#texts.get(name) ?? "";
        expect(at, "a chunk begins where its text ends").toBe(Buffer.byteLength(before));
        expect(action.whole).toBe(before + chunk);
        this.#texts.set(name, action.whole);
      } else if (isFact(action.event)) {
        this.#shown.push(action.event.id);
        expect(this.#facts[this.#since + this.#shown.length - 1], "facts come in order, each once").toBe(action.event.id);
      }
    }
    const { progress } = this.#reader.document;
    const completed = progress ? (progress as { completed: number }).completed : -1;
    expect(completed, "progress never goes back").toBeGreaterThanOrEqual(this.#completed);
    this.#completed = completed;
  }
}

function property(make: () => Reader, { comparesHeads = true } = {}): fc.IProperty<[Step[], number]> {
  return fc.property(steps, fc.constantFrom(1, 2, 100), (taken, limit) => {
    const world = new World(make, limit, comparesHeads);
    for (const each of taken) world.take(each);
    world.settle();
  });
}

/** A reader without the rule: it applies whatever arrives. */
class Credulous extends Reader {
  override offer(event: Event): Action[] {
    if (this.reading || this.cursor === null || chunkOf(event)) return super.offer(event);
    this.cursor = { epoch: event.epoch, seq: event.seq, facts: event.facts, chain: event.chain };
    this.document = fold(this.document, event);
    if (isFact(event)) this.shown += 1;
    return [{ type: "show", event }];
  }
}

/** A reader that compares no lengths of texts: it takes every event as of those that it has, except a text's own. */
class WithoutLengths extends Reader {
  override offer(event: Event): Action[] {
    const { texts } = this.cursor ?? {};
    return super.offer(chunkOf(event) || !texts || event.texts?.run !== texts.run ? event : { ...event, texts });
  }
}

/** A reader that compares no positions: it takes every chunk to begin where its text ends. */
class WithoutPositions extends Reader {
  override offer(event: Event): Action[] {
    const chunk = chunkOf(event);
    const texts = event.texts ?? NO_TEXTS;
    if (!chunk || this.cursor === null) return super.offer(event);
    const at = lengthOf(ofRun(this.cursor.texts ?? NO_TEXTS, texts.run), chunk.name);
    return super.offer({ ...event, data: { ...chunk, at }, texts: grown(ofRun(this.cursor.texts ?? NO_TEXTS, texts.run), { ...chunk, at }) });
  }
}

describe("property", () => {
  test("in whatever order things happen, every fact is shown once and in order, or a reset is said, and texts end as they were written", { timeout: 60_000 }, () => {
    fc.assert(property(() => new Reader(FEED)), { numRuns: 1000 });
  });

  test("a reader that applies whatever comes is found", () => {
    expect(fc.check(property(() => new Credulous(FEED)), { seed: 1 }).failed).toBe(true);
  });

  test("a reader that compares no lengths of texts is found", () => {
    expect(fc.check(property(() => new WithoutLengths(FEED)), { seed: 1, numRuns: 1000 }).failed).toBe(true);
  });

  test("a reader that compares no positions of chunks is found", () => {
    expect(fc.check(property(() => new WithoutPositions(FEED)), { seed: 1, numRuns: 1000 }).failed).toBe(true);
  });

  test("a reader whose head is never compared is found", () => {
    expect(fc.check(property(() => new Reader(FEED), { comparesHeads: false }), { seed: 1 }).failed).toBe(true);
  });
});

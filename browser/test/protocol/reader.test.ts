import { describe, expect, test } from "vitest";
import { parseCursor } from "../../src/protocol/cursor.js";
import { feedOf, parseEvent } from "../../src/protocol/events.js";
import { BUFFER_LIMIT, Reader } from "../../src/protocol/reader.js";
import { parseReading, type Reading } from "../../src/protocol/reading.js";
import { Journal } from "../support/journal.js";

const FEED = "task:1";

function reading(journal: Journal, cursor: string | null): Reading {
  return parseReading(journal.read(cursor))!;
}

function following(journal: Journal): Reader {
  const reader = new Reader(journal.feed);
  reader.start();
  reader.answer(reading(journal, null));
  return reader;
}

describe("reader", () => {
  test("a buffer that overflows is discarded, and read once more afterwards", () => {
    const journal = new Journal(FEED);
    const reader = new Reader(FEED);
    reader.start();
    const early = reading(journal, null);
    for (let number = 0; number <= BUFFER_LIMIT; number += 1) expect(reader.offer(journal.fact("log"))).toEqual([]);
    expect(reader.answer(early)).toEqual([{ type: "read", cursor: early.cursor }]);
    journal.limit = 5000;
    const actions = reader.answer(reading(journal, journal.read(null) && `${journal.epoch}.0.0.${"0".repeat(16)}`));
    expect(actions).toHaveLength(BUFFER_LIMIT + 1);
    expect(reader).toMatchObject({ shown: BUFFER_LIMIT + 1, complete: true, reading: false });
  });

  test("starting again makes it read from its cursor and forget its buffer", () => {
    const journal = new Journal(FEED);
    journal.state("queued");
    const reader = following(journal);
    const cursor = reader.cursor;
    reader.offer({ ...journal.fact("log"), epoch: "00000000" });
    reader.offer(journal.fact("log"));
    expect(reader.start()).toEqual([{ type: "read", cursor }]);
    expect(reader.answer(reading(journal, `${cursor!.epoch}.${cursor!.seq}.${cursor!.facts}.${cursor!.chain}`))).toHaveLength(2);
    expect(reader.shown).toBe(3);
  });

  test("an event cannot change what objects inherit", () => {
    const journal = new Journal(FEED);
    const reader = following(journal);
    reader.offer(journal.fact("custom", JSON.parse('{"__proto__": {"owned": true}}')));
    expect(({} as Record<string, unknown>)["owned"]).toBeUndefined();
    expect(reader.document["owned"]).toBeUndefined();
  });

  test("whatever the bus drops, doubles and reorders, every fact is shown once and in order", () => {
    for (let seed = 1; seed <= 200; seed += 1) {
      let state = seed;
      const random = (): number => (state = (state * 48271) % 2147483647) / 2147483647;
      const journal = new Journal(FEED);
      journal.limit = 3;
      const reader = new Reader(FEED);
      const shown: string[] = [];
      const facts: string[] = [];
      const perform = (actions: ReturnType<Reader["start"]>): void => {
        for (const action of actions) {
          if (action.type === "show" && action.event.kind !== "counter") shown.push(action.event.id);
          if (action.type === "read") {
            const { cursor } = action;
            waiting.push(() => reader.answer(reading(journal, cursor && `${cursor.epoch}.${cursor.seq}.${cursor.facts}.${cursor.chain}`)));
          }
        }
      };
      const waiting: (() => ReturnType<Reader["start"]>)[] = [];
      let bus: ReturnType<Journal["fact"]>[] = [];
      perform(reader.start());
      for (let step = 0; step < 60; step += 1) {
        const event = random() < 0.5 ? journal.fact("log") : journal.counter(step);
        if (event.kind !== "counter") facts.push(event.id);
        if (random() < 0.7) bus.push(event);
        if (random() < 0.2) bus.push(event);
        if (random() < 0.3) bus.reverse();
        if (random() < 0.6) bus.splice(0, 2).forEach((ring) => perform(reader.offer(ring)));
        if (random() < 0.4) perform(waiting.shift()?.() ?? []);
      }
      bus.forEach((ring) => perform(reader.offer(ring)));
      bus = [];
      for (let next = waiting.shift(); next; next = waiting.shift()) perform(next());
      perform(reader.head(parseCursor(journal.cursor)!, reader.cursor!));
      for (let next = waiting.shift(); next; next = waiting.shift()) perform(next());
      expect(shown, `seed ${seed}`).toEqual(facts);
      expect(reader).toMatchObject({ complete: true, shown: facts.length, document: journal.document });
    }
  });
});

describe("wire", () => {
  test("a cursor past 2^53 - 1 is none", () => {
    expect(parseCursor("9f3a1c2e.9007199254740991.4.0a1b2c3d4e5f6071")).toMatchObject({ seq: 9007199254740991 });
    expect(parseCursor("9f3a1c2e.9007199254740992.4.0a1b2c3d4e5f6071")).toBeNull();
    expect(parseCursor("9f3a1c2e.1.4.0a1b2c3d4e5f607")).toBeNull();
    expect(parseCursor("9f3a1c2e.1.4.0a1b2c3d4e5f6071\n")).toBeNull();
    expect(parseCursor(undefined)).toBeNull();
  });

  test("what is malformed is no event and no reading", () => {
    const event = new Journal(FEED).fact("log");
    expect(parseEvent(event)).toBe(event);
    for (const broken of [null, [], "x", { ...event, seq: "1" }, { ...event, patch: [] }, { ...event, chain: undefined }]) {
      expect(parseEvent(broken)).toBeNull();
    }
    const whole = new Journal(FEED).read(null);
    expect(parseReading({ ...whole, cursor: "x" })).toBeNull();
    expect(parseReading({ ...whole, events: [{}] })).toBeNull();
    expect(parseReading({ ...whole, document: null })).toBeNull();
  });

  test("a task's id becomes its feed, a feed stays what it is", () => {
    expect(feedOf("a-1")).toBe("task:a-1");
    expect(feedOf("user:7")).toBe("user:7");
    expect(feedOf("room:7")).toBeNull();
    expect(feedOf("../x")).toBeNull();
    expect(feedOf("x".repeat(129))).toBeNull();
  });
});

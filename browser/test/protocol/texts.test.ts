import { describe, expect, test } from "vitest";
import { formatCursor, parseCursor, placeOf } from "../../src/protocol/cursor.js";
import { parseEvent } from "../../src/protocol/events.js";
import { Reader } from "../../src/protocol/reader.js";
import { parseReading } from "../../src/protocol/reading.js";
import { sizeOf } from "../../src/protocol/texts.js";
import { Journal } from "../support/journal.js";

const FEED = "task:1";

function following(journal: Journal): Reader {
  const reader = new Reader(journal.feed);
  reader.start();
  reader.answer(parseReading(journal.read(null))!);
  return reader;
}

test("sizes are those of UTF-8", () => {
  const texts = ["", "abc", "Grüß", "€", "👋🏽", "👩‍👩‍👧", "a\u0000b", "\ud83d", "\udc4b\ud83d", "\ud83dx", "x".repeat(1000)];
  for (const text of texts) expect(sizeOf(text), JSON.stringify(text)).toBe(new TextEncoder().encode(text).length);
});

test("a cursor carries the lengths of texts, by name, and its place has none", () => {
  const place = "9f3a1c2e.12.4.0a1b2c3d4e5f6071";
  const cursor = parseCursor(`${place}~2~output~1240~__proto__~3`)!;
  expect(cursor.texts!.run).toBe(2);
  expect(Object.entries(cursor.texts!.lengths).sort()).toEqual([["__proto__", 3], ["output", 1240]]);
  expect(formatCursor(cursor)).toBe(`${place}~2~__proto__~3~output~1240`);
  expect(formatCursor(placeOf(cursor))).toBe(place);
  expect(formatCursor(parseCursor(`${place}~3`)!)).toBe(`${place}~3`);
  for (const broken of ["~", "~x", "~1~output", "~1~a b~3", "~1~output~-3", "~1~output~3~", `~1~${"x".repeat(33)}~3`]) {
    expect(parseCursor(place + broken), broken).toBeNull();
  }
});

test("a text event without its chunk, or with other lengths than numbers, is no event", () => {
  const event = new Journal(FEED).text("one");
  expect(parseEvent(event)).toBe(event);
  for (const data of [undefined, "one", { name: "output", at: -1, chunk: "one" }, { name: 1, at: 0, chunk: "" }, { name: "output", at: 0 }]) {
    expect(parseEvent({ ...event, data })).toBeNull();
  }
  for (const texts of [1, {}, { run: 1, lengths: { output: "3" } }, { run: 1, lengths: [] }]) {
    expect(parseEvent({ ...event, texts })).toBeNull();
  }
});

test("a text event that only appends leaves the document as it is", () => {
  const journal = new Journal(FEED);
  journal.state("running");
  const reader = following(journal);
  const { document } = reader;
  reader.offer(journal.text("one"));
  expect(reader.document).toBe(document);
  journal.counter(1);
  const late = journal.text(" two");
  reader.offer(late);
  expect(reader.document.progress?.completed).toBe(1);
});

describe("receipt", () => {
  test("a text is complete if it has the length and the hash that its run has said", () => {
    const journal = new Journal(FEED);
    journal.state("running");
    const reader = following(journal);
    reader.offer(journal.text("Grüß "));
    reader.offer(journal.text("Gott"));
    expect(reader.receipt.texts).toEqual({ output: { length: 11, complete: null, omitted: 0 } });
    reader.offer(journal.end("succeeded", 7));
    expect(reader.receipt).toEqual({ facts: 2, shown: 2, complete: true, texts: { output: { length: 11, complete: true, omitted: 7 } } });
  });

  test("a text of the same length and other words is found, as is one that never came", () => {
    const journal = new Journal(FEED);
    journal.state("running");
    const reader = following(journal);
    const { texts, data, ...event } = journal.text("right");
    reader.offer({ ...event, data: { name: "output", at: 0, chunk: "wrong" }, ...(texts && { texts }) });
    reader.offer(journal.end("succeeded"));
    expect(reader.receipt).toMatchObject({ complete: false, texts: { output: { length: 5, complete: false } } });
    reader.document = { ...reader.document, texts: { other: { length: 3, sha256: "" } } };
    expect(reader.receipt.texts["other"]).toEqual({ length: 0, complete: false, omitted: 0 });
  });

  test("of a task that was lost nobody has said how long its texts are", () => {
    const journal = new Journal(FEED);
    const reader = following(journal);
    reader.offer(journal.text("one"));
    reader.offer(journal.state("lost"));
    expect(reader.receipt).toMatchObject({ complete: true, texts: { output: { length: 3, complete: null } } });
  });
});

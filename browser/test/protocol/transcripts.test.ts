import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Cursor, formatCursor, parseCursor } from "../../src/protocol/cursor.js";
import { type Document, parseEvent } from "../../src/protocol/events.js";
import { type Action, Reader } from "../../src/protocol/reader.js";
import { parseReading } from "../../src/protocol/reading.js";

interface Step {
  readonly start?: true;
  readonly event?: unknown;
  readonly reading?: unknown;
  readonly reset?: unknown;
  readonly head?: Cursor;
  readonly asked?: string;
  readonly do: readonly unknown[];
}

interface Transcript {
  readonly name: string;
  readonly feed: string;
  readonly cursor?: string;
  readonly document?: Document;
  readonly steps: readonly Step[];
  readonly expect: { readonly texts?: Readonly<Record<string, string>> };
}

const FOLDER = join(__dirname, "../../../protocol/transcripts");

function onTheWire(action: Action): unknown {
  switch (action.type) {
    case "show":
      return { show: action.event.id };
    case "write":
      return { write: [action.chunk.name, action.chunk.at, action.chunk.chunk] };
    case "clear":
      return { clear: action.run };
    case "read":
      return { read: action.cursor && formatCursor(action.cursor) };
    case "reset":
      return { reset: formatCursor(action.cursor) };
  }
}

function take(reader: Reader, step: Step): Action[] {
  if (step.start) return reader.start();
  if (step.event) return reader.offer(parseEvent(step.event)!);
  if (step.reading) return reader.answer(parseReading(step.reading)!);
  if (step.reset) return reader.reset(parseReading(step.reset)!);
  return reader.head(step.head!, parseCursor(step.asked)!);
}

const files = readdirSync(FOLDER).filter((file) => file.endsWith(".json"));

test("there are transcripts", () => {
  expect(files.length).toBeGreaterThanOrEqual(14);
});

describe("transcripts", () => {
  test.each(files)("%s", (file) => {
    const transcript = JSON.parse(readFileSync(join(FOLDER, file), "utf8")) as Transcript;
    const reader = new Reader(transcript.feed, {
      cursor: parseCursor(transcript.cursor),
      ...(transcript.document && { document: transcript.document }),
    });
    transcript.steps.forEach((step, index) => {
      expect(take(reader, step).map(onTheWire), `step ${index}`).toEqual(step.do);
    });
    const { document, shown, complete } = reader;
    const cursor = reader.cursor && formatCursor(reader.cursor);
    const { texts = {}, ...expected } = transcript.expect;
    expect({ cursor, document, shown, complete }).toEqual(expected);
    expect(Object.fromEntries(reader.texts)).toEqual(texts);
  });
});

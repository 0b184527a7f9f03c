/** Texts: what a task writes bit by bit, and how far each text of a feed goes. Positions are lengths in bytes of UTF-8. */

import { isObject, own } from "./encoding.js";

/** The kind of an event that appends to a text. */
export const TEXT = "text" as const;

/** A part of a text: `at` is the length of the text before it. It never splits a character. */
export interface Chunk {
  readonly name: string;
  readonly at: number;
  readonly chunk: string;
}

/** How long each text of a feed is, and which run writes them; run 0: there is none. */
export interface Texts {
  readonly run: number;
  readonly lengths: Readonly<Record<string, number>>;
}

export const NO_TEXTS: Texts = { run: 0, lengths: {} };

/** Return how many bytes a text has in UTF-8. */
export function sizeOf(text: string): number {
  let size = text.length;
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    // Each half of a surrogate pair counts 2 of its 4 bytes.
    if (code > 0x7f) size += code < 0x800 || isHalf(text, index, code) ? 1 : 2;
  }
  return size;
}

/** Return whether this is half of a surrogate pair. A lone surrogate is written as U+FFFD, which has three bytes. */
function isHalf(text: string, index: number, code: number): boolean {
  if (code < 0xd800 || code > 0xdfff) return false;
  return code < 0xdc00 ? text.charCodeAt(index + 1) >> 10 === 0x37 : text.charCodeAt(index - 1) >> 10 === 0x36;
}

/** Return a text's length; 0 for one that there is not. */
export function lengthOf({ lengths }: Texts, name: string): number {
  return own(lengths, name) ?? 0;
}

/** Return the lengths with this chunk. */
export function grown(texts: Texts, { name, at, chunk }: Chunk): Texts {
  return { run: texts.run, lengths: { ...texts.lengths, [name]: at + sizeOf(chunk) } };
}

/** Return the lengths as `run` continues them: a later run begins its texts anew. */
export function ofRun(texts: Texts, run: number): Texts {
  return texts.run === run ? texts : { run, lengths: {} };
}

export function areSame(texts: Texts, others: Texts): boolean {
  const names = Object.keys(texts.lengths);
  return (
    texts.run === others.run &&
    names.length === Object.keys(others.lengths).length &&
    names.every((name) => texts.lengths[name] === own(others.lengths, name))
  );
}

/** Return whether a reader that has `held` has `texts` after an event with this chunk; null: one that adds nothing. */
export function follows(texts: Texts, held: Texts, chunk: Chunk | null): boolean {
  if (texts.run < held.run) return false;
  const begun = ofRun(held, texts.run);
  if (chunk === null) return areSame(begun, texts);
  return chunk.chunk !== "" && chunk.at === lengthOf(begun, chunk.name) && areSame(grown(begun, chunk), texts);
}

/** Return whether this is the JSON object of a chunk. */
export function isChunk(wire: unknown): wire is Chunk {
  return (
    isObject(wire) && typeof wire["name"] === "string" && isPosition(wire["at"]) && typeof wire["chunk"] === "string"
  );
}

/** Return whether these are the lengths that an event has; a feed without texts has none. */
export function isTexts(wire: unknown): wire is Texts | undefined {
  if (wire === undefined) return true;
  return (
    isObject(wire) && isPosition(wire["run"]) && isObject(wire["lengths"]) && Object.values(wire["lengths"]).every(isPosition)
  );
}

/** Read the lengths from their form in a cursor, `run~name~length~…`, whose syntax is known to be right. */
export function parseTexts(text: string): Texts {
  const [run, ...rest] = text.split("~");
  const lengths = rest.flatMap((name, index) => (index % 2 === 0 ? [[name, Number(rest[index + 1])] as const] : []));
  return { run: Number(run), lengths: Object.fromEntries(lengths) };
}

export function formatTexts({ run, lengths }: Texts): string {
  const names = Object.keys(lengths).sort();
  return [run, ...names.flatMap((name) => [name, lengths[name]])].join("~");
}

function isPosition(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

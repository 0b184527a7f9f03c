/** A text on the page: text nodes only, in blocks, so that a browser lays out the last one again and not all of a long text. */

import { make } from "../nodes.js";

/** The characters after which a block ends: with its line; without a line's end with a word; without that anywhere. */
const LINE = 4096;
const WORD = 16_384;
const ANYWHERE = 32_768;
/** Pixels from the end within which the text scrolls along as it grows. */
const NEAR = 24;

export class Lines {
  /** It scrolls, so the keyboard must reach it. Not a live region: a text would talk without end. */
  readonly root: HTMLElement;
  #block: Text | null = null;
  /** Whether the end is shown, until the person scrolls away from it. */
  #follows = true;

  constructor(label: string) {
    // Each of its lines has the direction of its own first letter.
    this.root = make("pre", "text-lines", { tabindex: "0", role: "group", "aria-labelledby": label, dir: "auto" });
    this.root.addEventListener("scroll", () => {
      const { scrollHeight, scrollTop, clientHeight } = this.root;
      this.#follows = scrollHeight - scrollTop - clientHeight < NEAR;
    });
  }

  /** Append a part of the text. `fromStart`: a first part is read from its start, not from its end. */
  append(text: string, fromStart: boolean): void {
    if (this.#block === null) this.#follows = !fromStart;
    for (let rest = text; rest !== ""; ) {
      this.#block ??= this.#begin();
      const end = endOfBlock(this.#block.length, rest);
      this.#block.appendData(rest.slice(0, end ?? rest.length));
      if (end !== null) this.#block = this.#begin();
      rest = end === null ? "" : rest.slice(end);
    }
    if (this.#follows) this.root.scrollTop = this.root.scrollHeight;
  }

  clear(): void {
    this.root.replaceChildren();
    this.#block = null;
    this.#follows = true;
  }

  #begin(): Text {
    const block = document.createElement("div");
    const text = document.createTextNode("");
    block.append(text);
    this.root.append(block);
    return text;
  }
}

/** Return where a block that has so many characters ends within this text; null if all of it belongs to the block. */
function endOfBlock(length: number, text: string): number | null {
  for (const [mark, from, until] of [["\n", LINE, WORD], [" ", WORD, ANYWHERE]] as const) {
    const end = text.indexOf(mark, Math.max(from - length, 0)) + 1;
    if (end > 0 && length + end <= until) return end;
  }
  const end = ANYWHERE - length;
  if (end >= text.length) return null;
  return /[\uDC00-\uDFFF]/.test(text.charAt(end)) ? end + 1 : end;
}

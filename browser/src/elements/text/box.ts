/** One text with its heading, a button that copies it, and what there is to say about it. */

import { TextAnnouncer } from "../../words/text-announcer.js";
import { disable, fill, make } from "../nodes.js";
import { copyText } from "./copy.js";
import { Lines } from "./lines.js";

/** Milliseconds for which the button says that the text was copied. */
const COPIED = 2000;

/** What a box says beside its text. */
export interface TextNotes {
  readonly label: string;
  /** Above the text: that a later run has begun it anew. */
  readonly begun: string | null;
  /** Below it: why it is incomplete. */
  readonly note: string | null;
  /** Whether the text grows no more. */
  readonly over: boolean;
  /** What is announced when it has just ended; null: something else on the page says so. */
  readonly closing: string | null;
}

export class TextBox {
  readonly root: HTMLElement = make("div", "text");
  readonly #label: HTMLElement;
  readonly #copy: HTMLButtonElement;
  readonly #begun = make("p", "text-note");
  readonly #note = make("p", "text-note");
  readonly #said = make("div", "said", { role: "status" });
  readonly #lines: Lines;
  readonly #announcer = new TextAnnouncer();
  #whole = "";
  /** What isn't on the page yet. */
  #waiting = "";
  /** As `show` was told last: whether the text grows no more; null before that is known. */
  #over: boolean | null = null;
  /** Whether the task had ended when the text's first part came: it is read from its start. */
  #fromStart = false;
  #drawing = false;
  #problem: string | null = null;

  constructor(name: string) {
    const id = `text-${name}`;
    this.#label = make("span", "text-label", { id, dir: "auto" });
    this.#copy = make("button", "copy", { type: "button", "aria-describedby": id });
    this.#lines = new Lines(id);
    const head = make("div", "text-head");
    head.append(this.#label, this.#copy);
    this.#begun.dir = this.#note.dir = "auto";
    this.root.append(head, this.#begun, this.#lines.root, this.#note, this.#said);
    this.#copy.textContent = "Copy";
    this.#copy.addEventListener("click", () => void this.#press());
  }

  /**
   * Append a chunk to the text, which is `whole` with it; both are empty if it begins anew. `isNews`: it was written just now;
   * `ended`: the task has ended by then.
   */
  take(chunk: string, whole: string, isNews: boolean, ended: boolean): void {
    if (chunk === whole) this.#fromStart = ended;
    this.#whole = whole;
    if (whole === "") {
      this.#waiting = "";
      this.#lines.clear();
      this.#announcer.clear();
    }
    this.#waiting += chunk;
    if (isNews) this.#announcer.add(chunk);
    this.#draw();
  }

  show({ label, begun, note, over, closing }: TextNotes): void {
    if (over && this.#over === false && closing !== null) this.#announcer.add(`\n${closing}`);
    this.#over = over;
    if (begun !== null && this.#begun.textContent !== begun) this.#said.textContent = begun;
    fill(this.#label, label);
    fill(this.#begun, begun);
    fill(this.#note, [this.#problem, note].filter(Boolean).join(" ") || null);
    disable(this.#copy, this.#whole === "");
    const said = this.#announcer.take(Date.now(), over);
    if (said !== null) this.#said.textContent = said;
  }

  /** Once for all chunks until the next frame. */
  #draw(): void {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      this.#lines.append(this.#waiting, this.#fromStart);
      this.#waiting = "";
    });
  }

  async #press(): Promise<void> {
    if (this.#whole === "") return;
    const copied = await copyText(this.#whole, this.#lines.root);
    this.#problem = copied ? null : "The browser does not let this page copy. The text is selected: copy it with the keyboard.";
    this.#said.textContent = this.#problem ?? "Copied.";
    if (!copied) return fill(this.#note, this.#problem);
    this.#copy.textContent = "Copied";
    setTimeout(() => (this.#copy.textContent = "Copy"), COPIED);
  }
}

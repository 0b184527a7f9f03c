/** The texts of one view, each in a box of its own, by their names. */

import { isTerminal } from "../../protocol/states.js";
import type { TaskView } from "../../tasks/view.js";
import { COMPLETE, describeBegun, describePartial, describeTextName } from "../../words/texts.js";
import { make } from "../nodes.js";
import { TextBox } from "./box.js";

interface Shown {
  readonly box: TextBox;
  /** The run that has written what the box shows. */
  run: number;
  /** The later run that has begun it anew, on this page. */
  begun: number | null;
}

export class TextBoxes {
  readonly root: HTMLElement = make("div", "texts");
  readonly #shown = new Map<string, Shown>();
  #view: TaskView | null = null;
  #only: string | null = null;
  #undo: readonly (() => void)[] = [];

  /** Show the texts of this view as they appear, or the one of this name; null: none. */
  follow(view: TaskView | null, only: string | null = null): void {
    if (view === this.#view && only === this.#only) return;
    for (const undo of this.#undo) undo();
    this.#undo = [];
    this.#shown.clear();
    this.root.replaceChildren();
    this.#view = view;
    this.#only = only;
    if (view === null) return;
    // What had been written before this page came is no news.
    let isNews = !view.reading;
    const take = (name: string, chunk: string, whole: string): void => {
      if (only !== null && name !== only) return;
      const shown = this.#of(name);
      const { run = 0 } = view.document;
      if (whole === "" && run > shown.run && shown.run > 0) shown.begun = run;
      shown.run = run;
      shown.box.take(chunk, whole, isNews, isTerminal(view.document));
    };
    if (only !== null) this.#of(only);
    for (const name of view.texts) take(name, view.text(name), view.text(name));
    this.#undo = [view.on("text", take), view.on("read", () => (isNews = true))];
  }

  /** Say what there is to say. `label`: instead of a text's name; `empty`: what is said of one that is empty. */
  show(locale: string, label: string | null = null, empty: string | null = null): void {
    const { document = {}, receipt } = this.#view ?? {};
    for (const [name, { box, begun }] of this.#shown) {
      const written = this.#view?.text(name) !== "";
      const partial = describePartial(document, receipt?.texts[name], locale);
      box.show({
        label: label ?? describeTextName(name),
        begun: begun === null ? null : describeBegun(begun, locale),
        note: written ? partial : empty,
        over: isTerminal(document),
        // A card announces its own end.
        closing: this.#only === null ? null : written ? (partial ?? COMPLETE) : empty,
      });
    }
  }

  #of(name: string): Shown {
    const known = this.#shown.get(name);
    if (known) return known;
    const shown = { box: new TextBox(name), run: 0, begun: null };
    // By name: in which order they appeared isn't known after a reload.
    const next = [...this.#shown.keys()].filter((other) => other > name).sort()[0];
    this.root.insertBefore(shown.box.root, next === undefined ? null : this.#shown.get(next)!.box.root);
    this.#shown.set(name, shown);
    return shown;
  }
}

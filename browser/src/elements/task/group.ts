/** What only a group's card has: segments, steps, errors and the list of its tasks. Their class is in a file of its own. */

import type { TaskView } from "../../tasks/view.js";
import { GROUP_ELEMENT, type GroupPart } from "../group-part.js";

/** Where the served file is, and the other one beside it. A module has no such address: there the class is defined already. */
const HERE = (globalThis.document?.currentScript as HTMLScriptElement | null)?.src;
/** Milliseconds before the file is asked for again if it did not arrive. */
const ASK_AGAIN = 5000;

export class GroupSlot {
  readonly root: GroupPart = document.createElement(GROUP_ELEMENT);
  readonly #bar: HTMLElement;
  #asked = 0;
  #asking = false;

  constructor(bar: HTMLElement) {
    this.#bar = bar;
  }

  /** Show the group of this view; null: it is none. `arrived` is called once the class is there. */
  show(view: TaskView | null, locale: string, arrived: () => void): void {
    if (this.root.show) this.root.show(view, this.#bar, locale);
    else if (view && HERE && !this.#asking) this.#load(HERE, arrived);
  }

  #load(beside: string, arrived: () => void): void {
    this.#asking = true;
    // A browser may keep in mind that an address has failed.
    const url = new URL(`petiole-group.js${this.#asked ? `?${this.#asked}` : ""}`, beside).href;
    this.#asked += 1;
    import(/* @vite-ignore */ /* webpackIgnore: true */ url).then(arrived, () => setTimeout(() => (this.#asking = false), ASK_AGAIN));
  }
}

/** What only a group's card has: segments, steps, errors and the list of its tasks. Their class is loaded with the first group. */

import type { TaskView } from "../../tasks/view.js";
import { GROUP_ELEMENT, type GroupPart } from "../group-part.js";
import { loadBeside } from "./beside.js";

/** The bundle command sets it: in the served file the class is in another one beside it. */
declare const PETIOLE_SERVED: true | undefined;

/** Milliseconds before the class is asked for again if it did not arrive. */
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
    else if (view && !this.#asking) this.#load(arrived);
  }

  #load(arrived: () => void): void {
    this.#asking = true;
    load(this.#asked).then(arrived, () => setTimeout(() => (this.#asking = false), ASK_AGAIN));
    this.#asked += 1;
  }
}

/** Define the class. In an application's own bundle it is a part that its bundler has split off. */
async function load(asked: number): Promise<void> {
  if (typeof PETIOLE_SERVED !== "undefined") await loadBeside("petiole-group.js", asked);
  else (await import("../group/define.js")).defineGroup();
}

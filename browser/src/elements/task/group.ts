/** What only a group's card has: segments, steps, errors and the list of its tasks. Their class is in a file of its own. */

import type { TaskView } from "../../tasks/view.js";
import { GROUP_ELEMENT, type GroupPart } from "../group-part.js";

/** Where the served file is, and the other one beside it. In a package's modules the class is defined already. */
const HERE = addressOf(globalThis.document);
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

  #load(here: string, arrived: () => void): void {
    this.#asking = true;
    const url = new URL("petiole-group.js", here);
    // A page that names the version behind the "?" gets the same one of both.
    url.search = new URL(here).search;
    // A browser may keep in mind that an address has failed.
    if (this.#asked > 0) url.searchParams.set("again", String(this.#asked));
    this.#asked += 1;
    import(/* @vite-ignore */ /* webpackIgnore: true */ url.href).then(arrived, () =>
      setTimeout(() => (this.#asking = false), ASK_AGAIN),
    );
  }
}

function addressOf(page: Document | undefined): string | undefined {
  // With `type="module"` no script is the current one.
  const script = page?.currentScript ?? page?.querySelector('script[src*="petiole.js"]');
  return (script as HTMLScriptElement | null | undefined)?.src;
}

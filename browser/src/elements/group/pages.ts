/** The pages of a list of children: read on demand, and read anew where somebody looks. No DOM, no clock. */

import type { Child, ChildPage } from "../../protocol/children.js";

/** The most pages that one call of `read` asks for: with a filter a page may be empty. */
const MOST = 20;

export class ChildPages {
  readonly #ask: (cursor: string | null) => Promise<ChildPage>;
  #pages: readonly ChildPage[] = [];
  #children: readonly Child[] = [];
  #reading = false;

  /** `ask` returns the page that begins at this cursor; null: the first one. */
  constructor(ask: (cursor: string | null) => Promise<ChildPage>) {
    this.#ask = ask;
  }

  /** The children of the pages read so far. */
  get children(): readonly Child[] {
    return this.#children;
  }

  /** Whether a page has been read. */
  get known(): boolean {
    return this.#pages.length > 0;
  }

  /** Whether no page follows the last one. */
  get complete(): boolean {
    return this.#pages[this.#pages.length - 1]?.next === null;
  }

  get reading(): boolean {
    return this.#reading;
  }

  /**
   * Read the pages with the children at these places, whether they are known or not. If a page ends elsewhere than before, those
   * behind it are forgotten. Returns false at once while another call is under way. Rejects as `ask` does.
   */
  async read(first: number, last: number): Promise<boolean> {
    if (this.#reading) return false;
    this.#reading = true;
    try {
      let at = this.#pageOf(first);
      for (let asked = 0; asked < MOST; asked += 1) {
        const page = await this.#ask(this.#pages[at - 1]?.next ?? null);
        const same = this.#pages[at]?.next === page.next;
        this.#pages = [...this.#pages.slice(0, at), page, ...(same ? this.#pages.slice(at + 1) : [])];
        this.#children = this.#pages.flatMap(({ children }) => children);
        at += 1;
        if (page.next === null || this.#endOf(at) > last) break;
      }
    } finally {
      this.#reading = false;
    }
    return true;
  }

  /** Return which page has the child at this place; the next page, if none has. */
  #pageOf(place: number): number {
    const found = this.#pages.findIndex((_page, index) => this.#endOf(index + 1) > place);
    if (found >= 0) return found;
    return this.complete ? this.#pages.length - 1 : this.#pages.length;
  }

  /** Return how many children the first pages have, so many of them. */
  #endOf(pages: number): number {
    return this.#pages.slice(0, pages).reduce((sum, { children }) => sum + children.length, 0);
  }
}

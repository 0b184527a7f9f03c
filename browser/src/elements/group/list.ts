/** A list of children of which only the rows in sight have nodes. */

import type { Child } from "../../protocol/children.js";
import { describeChild } from "../../words/children.js";
import { icon, type IconName, STATE_ICONS } from "../icons.js";
import { fill, make, safeUrl } from "../nodes.js";

/** The most rows that have nodes, and how many of them are out of sight on either side. */
const MOST = 60;
const BESIDE = 8;
/** Pixels of a row that has not been laid out yet. */
const HEIGHT = 48;

export interface Range {
  readonly first: number;
  /** The place after the last one. */
  readonly end: number;
}

/** Return which rows have nodes, where these pixels of `rows` rows are in sight. */
export function inSight(top: number, height: number, row: number, rows: number): Range {
  const first = Math.min(Math.max(Math.floor(top / row) - BESIDE, 0), Math.max(rows - 1, 0));
  return { first, end: Math.min(Math.ceil((top + height) / row) + BESIDE, first + MOST, rows) };
}

export class ChildList {
  /** It scrolls, so the keyboard must reach it. */
  readonly root: HTMLElement = make("div", "children-rows", { tabindex: "0", role: "group", "aria-label": "List of tasks" });
  readonly #list = make("ul", "children-list", { role: "list" });
  #rows = new Map<number, Row>();
  #count = 0;

  constructor(scrolled: () => void) {
    this.root.append(this.#list);
    this.root.addEventListener("scroll", scrolled, { passive: true });
  }

  /** Which rows are in sight, or nearly. */
  get range(): Range {
    const row = this.#list.offsetHeight / this.#count || HEIGHT;
    return inSight(this.root.scrollTop, this.root.clientHeight, row, this.#count);
  }

  /** Go to the first row. */
  toTop(): void {
    this.root.scrollTop = 0;
  }

  /** Show these children; `total`: how many there are with those that have not been read. */
  draw(children: readonly Child[], total: number, now: number, locale: string): void {
    if (this.#count !== children.length) {
      this.#count = children.length;
      this.#list.style.setProperty("--_rows", String(children.length));
    }
    this.root.hidden = children.length === 0;
    const { first, end } = this.range;
    const wanted = new Map(children.slice(first, end).map((child, index) => [child.number, first + index]));
    this.#keepFocused(children, wanted);
    for (const [number, row] of this.#rows) {
      if (wanted.has(number)) continue;
      row.item.remove();
      this.#rows.delete(number);
    }
    let next = this.#list.firstElementChild;
    for (const [number, place] of [...wanted].sort(([, one], [, other]) => one - other)) {
      const row = this.#rows.get(number) ?? new Row();
      this.#rows.set(number, row);
      row.show(children[place]!, place, total, now, locale);
      // A row that is in its place stays there: moving a node would take the focus away from it.
      if (row.item === next) next = next.nextElementSibling;
      else this.#list.insertBefore(row.item, next);
    }
  }

  /** A row with the focus keeps its node out of sight, too. If its child is gone, the list has the focus. */
  #keepFocused(children: readonly Child[], wanted: Map<number, number>): void {
    const active = (this.root.getRootNode() as ShadowRoot).activeElement;
    const [focused] = [...this.#rows].find(([, row]) => active !== null && row.item.contains(active)) ?? [];
    if (focused === undefined || wanted.has(focused)) return;
    const place = children.findIndex(({ number }) => number === focused);
    if (place >= 0) wanted.set(focused, place);
    else this.root.focus({ preventScroll: true });
  }
}

class Row {
  readonly item: HTMLLIElement = make("li", "child");
  readonly #icon = make("span", "child-icon");
  readonly #words = make("div", "child-words");
  readonly #sentence = make("span", "child-sentence");
  readonly #error = make("span", "child-error");
  readonly #reference = make("span", "child-reference");
  readonly #code = document.createElement("span");
  #name: HTMLElement = make("span", "child-name");
  #shown: Child["state"] | null = null;
  #place = -1;

  constructor() {
    for (const text of [this.#sentence, this.#error, this.#reference]) text.dir = "auto";
    const line = make("div", "child-line");
    const prefix = make("span", "child-prefix");
    prefix.textContent = "Reference ";
    this.#reference.append(prefix, this.#code);
    line.append(this.#name, this.#sentence, this.#reference);
    this.#words.append(line, this.#error);
    this.item.append(this.#icon, this.#words);
  }

  show(child: Child, place: number, total: number, now: number, locale: string): void {
    const { name, sentence, error, reference } = describeChild(child, now, locale);
    if (child.state !== this.#shown) {
      this.#shown = child.state;
      this.item.dataset["state"] = child.state;
      this.#icon.replaceChildren(icon(iconOf(child.state)));
    }
    if (place !== this.#place) {
      this.#place = place;
      this.item.style.setProperty("--_place", String(place));
      this.item.setAttribute("aria-posinset", String(place + 1));
    }
    const size = String(Math.max(total, place + 1));
    if (this.item.getAttribute("aria-setsize") !== size) this.item.setAttribute("aria-setsize", size);
    this.#showName(name, safeUrl(child.links?.["self"]));
    fill(this.#sentence, sentence);
    fill(this.#error, error);
    this.#error.title = error ?? "";
    this.#reference.hidden = reference === null;
    fill(this.#code, reference);
  }

  #showName(text: string, url: string | null): void {
    const tag = url === null ? "span" : "a";
    if (this.#name.localName !== tag) {
      const name = make(tag, "child-name");
      this.#name.replaceWith(name);
      this.#name = name;
    }
    if (url !== null && this.#name.getAttribute("href") !== url) this.#name.setAttribute("href", url);
    fill(this.#name, text);
  }
}

function iconOf(state: Child["state"]): IconName {
  return state === "skipped" ? "stopped" : STATE_ICONS[state];
}

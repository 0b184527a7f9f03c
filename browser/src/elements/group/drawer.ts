/** The drawer with a group's tasks: read while it is open and visible, at most every two seconds, and never while it is closed. */

import type { ChildState } from "../../protocol/children.js";
import type { Document } from "../../protocol/events.js";
import type { TaskView } from "../../tasks/view.js";
import { countShown, type Shown } from "../../words/children.js";
import { formatNumber } from "../../words/format.js";
import { fill, make } from "../nodes.js";
import { ChildList } from "./list.js";
import { ChildPages } from "./pages.js";

/** Milliseconds between two readings of what is in sight. */
const REFRESH = 2000;
/** Children on one page. */
const PAGE = 100;

const LISTS: Readonly<Record<Shown, { readonly label: string; readonly states: readonly ChildState[]; readonly none: string }>> = {
  running: { label: "Running", states: ["running", "retrying"], none: "No task is running." },
  failed: { label: "Failed", states: ["failed", "lost"], none: "No task has failed." },
  all: { label: "All", states: [], none: "There are no tasks." },
};
const LOST = "The list did not arrive. It is asked for again.";

export class Drawer {
  readonly root: HTMLDetailsElement = make("details", "children");
  /** Present and empty from the start: screen readers announce what is put into it later. */
  readonly #note = make("p", "children-note", { role: "status" });
  readonly #buttons = new Map<Shown, HTMLButtonElement>();
  readonly #numbers = new Map<Shown, HTMLElement>();
  readonly #list = new ChildList(() => this.#drawSoon());
  #view: TaskView | null = null;
  #document: Document = {};
  #locale = "en";
  #pages: ChildPages | null = null;
  /** The list that a person has chosen; null: the one that matters now. */
  #chosen: Shown | null = null;
  #shown: Shown = "running";
  /** Whether the group has changed since the last reading began. */
  #stale = true;
  #readAt = Number.NEGATIVE_INFINITY;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #drawing = false;
  #second = 0;
  #problem: string | null = null;

  constructor() {
    const summary = make("summary", "children-summary");
    const filter = make("div", "children-filter", { role: "group", "aria-label": "Show" });
    summary.textContent = "Tasks";
    for (const [shown, { label }] of Object.entries(LISTS) as [Shown, { label: string }][]) {
      const button = make("button", "children-show", { type: "button" });
      const swatch = make("span", "swatch", { "data-kind": shown, "aria-hidden": "true" });
      const number = make("span", "children-number");
      button.append(...(shown === "all" ? [] : [swatch]), `${label} `, number);
      button.addEventListener("click", () => this.#choose(shown));
      this.#buttons.set(shown, button);
      this.#numbers.set(shown, number);
      filter.append(button);
    }
    this.#note.dir = "auto";
    this.root.append(summary, filter, this.#note, this.#list.root);
    this.root.addEventListener("toggle", () => this.#toggled());
  }

  /** Show the tasks of this view's group. */
  show(view: TaskView, locale: string): void {
    this.#locale = locale;
    if (view !== this.#view) {
      this.#view = view;
      this.#chosen = null;
      this.#begin();
    }
    if (view.document !== this.#document) {
      this.#document = view.document;
      this.#stale = true;
    }
    if (this.root.open) this.#update();
  }

  /** Read nothing until it is shown again. */
  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #choose(shown: Shown): void {
    this.#chosen = shown;
    this.#update();
  }

  #toggled(): void {
    this.close();
    if (!this.root.open) return;
    this.#stale = true;
    this.#update();
  }

  #counts(): Readonly<Record<Shown, number>> {
    const { children, total } = this.#document.progress ?? {};
    return children ? countShown(children, total ?? 0) : { running: 0, failed: 0, all: 0 };
  }

  #update(): void {
    const counts = this.#counts();
    const shown = this.#chosen ?? (!this.#view?.ended ? "running" : counts.failed > 0 ? "failed" : "all");
    if (shown !== this.#shown) {
      this.#shown = shown;
      this.#begin();
    }
    for (const [name, button] of this.#buttons) {
      const pressed = String(name === shown);
      if (button.getAttribute("aria-pressed") !== pressed) button.setAttribute("aria-pressed", pressed);
      fill(this.#numbers.get(name)!, formatNumber(counts[name], this.#locale));
    }
    // Only the second changes what is said of a running task.
    const second = Math.floor((this.#view?.moment.now ?? 0) / 1000);
    if (second !== this.#second) this.#drawSoon();
    this.#second = second;
    this.#plan();
  }

  /** Another list: forget the pages, and read at once. */
  #begin(): void {
    this.close();
    const view = this.#view;
    const { states } = LISTS[this.#shown];
    this.#pages = view && new ChildPages((cursor) => view.childPage({ cursor, limit: PAGE, ...(states.length > 0 && { state: states }) }));
    this.#stale = true;
    this.#readAt = Number.NEGATIVE_INFINITY;
    this.#problem = null;
    this.#list.toTop();
    this.#drawSoon();
  }

  /** Read what is in sight, if the group has changed, once it is time. */
  #plan(): void {
    if (!this.#stale || this.#timer !== undefined || this.#pages?.reading || !this.#isVisible()) return;
    const wait = Math.max(this.#readAt + REFRESH - performance.now(), 0);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (!this.#isVisible()) return;
      this.#stale = false;
      this.#readAt = performance.now();
      const { first, end } = this.#list.range;
      void this.#read(first, Math.max(end, 1) - 1);
    }, wait);
  }

  async #read(first: number, last: number): Promise<void> {
    const pages = this.#pages;
    if (!pages) return;
    try {
      if (!(await pages.read(first, last))) return;
      this.#problem = null;
    } catch (error) {
      // The class `Refused` of this file isn't the page's.
      this.#problem = error instanceof Error && error.name === "Refused" ? error.message : LOST;
      this.#stale = true;
    }
    if (pages === this.#pages) this.#drawSoon();
  }

  #drawSoon(): void {
    if (this.#drawing || !this.root.open) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      if (this.root.open) this.#draw();
    });
  }

  #draw(): void {
    const { children = [], known = false, complete = false, reading = false } = this.#pages ?? {};
    const total = complete ? children.length : this.#counts()[this.#shown];
    this.#list.draw(children, total, this.#view?.moment.now ?? 0, this.#locale);
    const empty = children.length === 0 ? (known ? LISTS[this.#shown].none : "Reading…") : null;
    fill(this.#note, this.#problem ?? empty);
    // The next page, before its place is in sight.
    if (known && !complete && !reading && this.#problem === null && this.#list.range.end >= children.length) {
      void this.#read(children.length, children.length);
    }
    this.#plan();
  }

  #isVisible(): boolean {
    return this.root.open && document.visibilityState !== "hidden" && this.root.checkVisibility?.() !== false;
  }
}

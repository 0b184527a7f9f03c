/** The drawer with a task's log: read when it is opened, every fact a line, the newest of them kept. */

import type { Event } from "../../protocol/events.js";
import type { TaskView } from "../../tasks/view.js";
import { describeFact, type Line } from "../../words/facts.js";
import { formatClock, formatNumber } from "../../words/format.js";
import { fill, make } from "../nodes.js";

/** The most lines that the drawer shows. */
const KEPT = 200;
/** Pixels from the end within which the log scrolls along with new lines. */
const NEAR = 24;

export class Log {
  readonly root: HTMLDetailsElement = make("details", "log");
  readonly #summary = make("summary", "log-summary");
  readonly #note = make("p", "log-note");
  /** Not a live region: a log would talk without end. It scrolls, so the keyboard must reach it. */
  readonly #scroll = make("div", "log-lines", { tabindex: "0", role: "group", "aria-label": "Log" });
  readonly #list = make("ol", "log-list");
  #view: TaskView | null = null;
  #source: TaskView | null = null;
  #waiting: (Line & { readonly at: number })[] = [];
  #drawing = false;
  /** How many facts came before the first one that could be read. */
  #missed = 0;
  #locale = "en";

  constructor() {
    this.#summary.textContent = "Log";
    this.#note.dir = "auto";
    this.#scroll.append(this.#note, this.#list);
    this.root.append(this.#summary, this.#scroll);
    this.root.addEventListener("toggle", () => this.#open());
    this.#say("Reading…");
  }

  /** Show the log of this view's task; null: of none. */
  follow(view: TaskView | null, locale: string): void {
    this.#locale = locale;
    this.root.hidden = view === null;
    if (view === this.#source) return;
    this.#view?.close();
    this.#view = null;
    this.#source = view;
    this.#missed = 0;
    this.#clear("Reading…");
    this.#open();
  }

  /** A view of its own, from the first fact on, so that a page that was opened later has the whole log too. */
  #open(): void {
    if (!this.root.open || this.#view || !this.#source) return;
    const view = this.#source.history();
    this.#view = view;
    view.on("event", (event) => this.#take(event));
    view.on("reset", (_document, missed) => {
      this.#missed = missed;
      this.#clear(this.#left(false));
    });
    view.on("read", () => this.#draw());
    view.on("refused", ({ title, detail }) => this.#say(detail ?? title));
  }

  #take(event: Event): void {
    if (event.kind === "counter") return;
    this.#waiting.push({ ...describeFact(event, this.#locale), at: event.at });
    if (this.#waiting.length > KEPT) {
      this.#waiting.shift();
      this.#say(this.#left(true));
    }
    this.#draw();
  }

  #draw(): void {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      const scroll = this.#scroll;
      const atEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR;
      if (this.#note.textContent === "Reading…") this.#say(null);
      this.#list.append(...this.#waiting.map((line) => this.#row(line)));
      this.#waiting = [];
      while (this.#list.childElementCount > KEPT) {
        this.#list.firstElementChild?.remove();
        this.#say(this.#left(true));
      }
      if (atEnd) scroll.scrollTop = scroll.scrollHeight;
    });
  }

  #row({ text, level, at }: Line & { readonly at: number }): HTMLElement {
    const row = make("li", "log-line");
    const time = make("time", "log-time", { datetime: new Date(at).toISOString() });
    const words = make("span", "log-text");
    row.dataset["level"] = level;
    time.textContent = formatClock(at, this.#locale);
    // A sign as well: colour alone would say nothing to some.
    words.textContent = level === "warning" || level === "error" ? `${PREFIX[level]}${text}` : text;
    words.dir = "auto";
    row.append(time, words);
    return row;
  }

  /** Return which lines aren't shown: those that are no longer kept, and those past the limit. */
  #left(many: boolean): string {
    const missed = this.#missed > 0 ? `${formatNumber(this.#missed, this.#locale)} earlier lines are not kept any more.` : "";
    return [missed, many ? `Only the newest ${KEPT} lines are shown.` : ""].filter(Boolean).join(" ");
  }

  #clear(note: string): void {
    this.#waiting = [];
    this.#list.replaceChildren();
    this.#say(note);
  }

  #say(note: string | null): void {
    fill(this.#note, note);
  }
}

const PREFIX = { warning: "⚠ ", error: "✕ " } as const;

/** The one button of a card: Cancel, then Force stop; Retry after the end. */

import { Refused } from "../../protocol/problem.js";
import type { Links, Snapshot } from "../../protocol/reading.js";
import { isTerminal } from "../../protocol/states.js";
import type { TaskView } from "../../tasks/view.js";
import { describe, type Words } from "../../words/task.js";
import { disable, make, UNREACHED } from "../nodes.js";

/** What the button needs of its card. */
export interface Card {
  /** The view that is shown. */
  view(): TaskView | null;
  render(): void;
  renderSoon(): void;
  /** Dispatch an event; false if the page has prevented it. */
  tell(name: string, detail: unknown, cancelable?: boolean): boolean;
  /** Show the new task in the place of the one that it repeats. */
  become(snapshot: Snapshot): void;
}

/** Milliseconds that the button has its new name before it can be pressed: a second click on Cancel starts nothing. */
const SETTLED = 600;
/** Milliseconds before the server is asked again what can be done, where it did not answer. */
const ASK_AGAIN = 5000;

export class TaskButton {
  readonly node: HTMLButtonElement = make("button", "action", { type: "button", "aria-describedby": "title" });
  /** Why the last press came to nothing. */
  problem: string | null = null;
  readonly #card: Card;
  /** What can be done with the task now, as the server has said; null before it was asked. */
  #links: Links | null = null;
  #askAt = 0;
  #retrying = false;
  /** Since when the button starts the task again; null while it stops it. */
  #retrySince: number | null = null;

  constructor(card: Card) {
    this.#card = card;
    this.node.addEventListener("click", () => this.#press());
    this.node.addEventListener("blur", () => card.renderSoon());
  }

  /** Another task is shown; `links` are what the server has said of its end already. */
  begin(links: Links | null): void {
    this.problem = this.#retrySince = null;
    this.#retrying = false;
    this.#askAt = 0;
    this.#links = links;
  }

  /**
   * Say what can be done. A button that can do nothing any more is taken away; while it has the focus it is disabled instead,
   * because focus would fall back to the top of the page. `pageRetries`: the page itself starts tasks again. Returns whether the
   * button is there.
   */
  show(words: Words, focused: boolean, pageRetries: boolean): boolean {
    const view = this.#card.view();
    if (view && words.offer !== null && view.problem === null) {
      this.#askForLinks(view);
      if (this.#links?.["retry"] !== undefined || pageRetries) {
        if (this.#retrySince === null) setTimeout(() => this.#card.render(), SETTLED);
        this.#retrySince ??= Date.now();
        return this.#fill(words.offer, this.#retrying || Date.now() - this.#retrySince < SETTLED);
      }
    }
    this.#retrySince = null;
    const over = words.state === null || isTerminal(view?.document ?? {}) || view?.closed === true;
    const force = words.forcible || (words.state === "cancelling" && view?.document.forced === true);
    const disabled = over || (words.state === "cancelling" && !words.forcible);
    return this.#fill(force ? "Force stop" : "Cancel", disabled, !over || focused);
  }

  #fill(text: string, disabled: boolean, shown = true): boolean {
    this.node.hidden = !shown;
    if (this.node.textContent !== text) this.node.textContent = text;
    disable(this.node, disabled);
    return shown;
  }

  #press(): void {
    const view = this.#card.view();
    if (!view || this.node.getAttribute("aria-disabled") === "true") return;
    this.problem = null;
    void (this.#retrySince === null ? this.#cancel(view) : this.#retry(view));
  }

  async #cancel(view: TaskView): Promise<void> {
    const force = describe(view.document, view.moment).forcible;
    try {
      await view.cancel({ force });
    } catch (error) {
      const what = force ? "Force stop" : "Cancelling";
      this.problem = error instanceof Refused ? error.message : `${what} did not reach the server. Try again.`;
    }
    this.#card.renderSoon();
  }

  async #retry(view: TaskView): Promise<void> {
    const detail = { document: view.document, links: this.#links ?? {} };
    if (!this.#card.tell("petiole-retry", detail, true) || this.#links?.["retry"] === undefined) return;
    this.#retrying = true;
    this.#card.render();
    try {
      const snapshot = await view.retry();
      if (view === this.#card.view()) this.#card.become(snapshot);
      this.#card.tell("petiole-retried", snapshot);
    } catch (error) {
      this.problem = error instanceof Refused ? error.message : UNREACHED;
    }
    this.#retrying = false;
    this.#card.renderSoon();
  }

  /** Ask, of a task that may be started again, whether the server can do it: what it said earlier was of another state. */
  #askForLinks(view: TaskView): void {
    if (this.#links !== null || Date.now() < this.#askAt) return;
    this.#askAt = Number.POSITIVE_INFINITY;
    view.links().then(
      (links) => {
        if (view !== this.#card.view()) return;
        this.#links = links;
        this.#card.renderSoon();
      },
      (error: unknown) => {
        // Without an answer there is no button.
        if (!(error instanceof Refused)) this.#askAt = Date.now() + ASK_AGAIN;
      },
    );
  }
}

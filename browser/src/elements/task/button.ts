/** The one button of a card: Cancel, then Force stop; Retry after the end. */

import { Refused } from "../../protocol/problem.js";
import type { Links, Snapshot } from "../../protocol/reading.js";
import { isTerminal } from "../../protocol/states.js";
import type { TaskView } from "../../tasks/view.js";
import { describe, type Words } from "../../words/task.js";
import { disable, make, UNREACHED } from "../nodes.js";

/** What the button needs from its card. */
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

/** Milliseconds before a new Retry can be pressed: the second click of a double click on Cancel must not start the task again. */
const SETTLED = 600;
/** Milliseconds before the server is asked again what can be done, if it did not answer. */
const ASK_AGAIN = 5000;

export class TaskButton {
  readonly node: HTMLButtonElement = make("button", "action", { type: "button", "aria-describedby": "title" });
  /** Why the last press failed. */
  problem: string | null = null;
  readonly #card: Card;
  /** What the server says can be done with the task now; null before it has answered. */
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

  /** Another task is shown. `links`: what can be done with it, if the page knows that already. */
  begin(links: Links | null): void {
    this.problem = this.#retrySince = null;
    this.#retrying = false;
    this.#askAt = 0;
    this.#links = links;
  }

  /**
   * Show what can be done; returns whether the button is visible. Once nothing can be done it is hidden. While it has the focus
   * it is disabled instead, because the focus would fall back to the top of the page. `pageRetries`: the page itself starts tasks
   * again.
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
      // The view of a group goes on.
      if (view === this.#card.view() && snapshot.id !== view.id) this.#card.become(snapshot);
      this.#card.tell("petiole-retried", snapshot);
    } catch (error) {
      this.problem = error instanceof Refused ? error.message : UNREACHED;
    }
    this.#retrying = false;
    this.#card.renderSoon();
  }

  /** Ask whether the server can start the task again: what it said earlier was about another state. */
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

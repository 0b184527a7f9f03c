/** `<petiole-task>`: one task as a person sees it. */

import { type ClientOptions, TaskClient } from "../../client/client.js";
import type { TokenSource } from "../../link/tokens.js";
import { Refused } from "../../protocol/problem.js";
import { type Links, parseSnapshot, type Snapshot } from "../../protocol/reading.js";
import { isTerminal } from "../../protocol/states.js";
import type { TaskView } from "../../tasks/view.js";
import { Announcer } from "../../words/announcer.js";
import { isExpired } from "../../words/artifact.js";
import { formatPercent } from "../../words/format.js";
import { describeLink } from "../../words/link.js";
import { describeAge } from "../../words/notices.js";
import { describeReceipt } from "../../words/receipt.js";
import { describe, type Words } from "../../words/task.js";
import { STATE_ICONS } from "../icons.js";
import { adopt, Base, clientOf, fill, localeOf, safeUrl } from "../nodes.js";
import { Panel } from "./panel.js";

/**
 * Attributes: `task` (its id), `cursor`, `label` (instead of the task's title), `prefix` and `path` (where the server's
 * calls and Socket.IO are), `url` (a server of another origin), `token`, `snapshot` (as JSON, instead of `task`),
 * `keep-notice` (showing the end doesn't acknowledge it), `retry` (the page itself starts it again, at `petiole-retry`). Or set
 * `snapshot`, or a `view` of one's own; `client` instead of the page's shared one; the property `token` to what returns a new
 * token when it is needed. `compact`: one line, for lists, with a button for the rest; `log-open`: the log, and in a compact card
 * all the rest, is open. What is inside the element is what pages without JavaScript show.
 *
 * Events: `petiole-change` (detail: the document), `petiole-end` (detail: `{document, receipt}`), `petiole-retry` (detail:
 * `{document, links}`; cancelable: prevented, the page does it), `petiole-retried` (detail: the new task's snapshot). They
 * bubble.
 */
export class PetioleTask extends Base {
  static readonly observedAttributes: readonly string[] = [
    "task",
    "cursor",
    "snapshot",
    "url",
    "prefix",
    "path",
    "token",
    "label",
    "retry",
    "log-open",
  ];

  #panel: Panel | null = null;
  #client: TaskClient | null = null;
  #token: TokenSource | null = null;
  /** The client of this element alone, where it has a token. */
  #own: TaskClient | null = null;
  #snapshot: Snapshot | null = null;
  #given: TaskView | null = null;
  #view: TaskView | null = null;
  #undo: (() => void)[] = [];
  #tick: ReturnType<typeof setInterval> | null = null;
  #announcer = new Announcer();
  #held = { run: 0, fraction: 0 };
  #linkSince = 0;
  #problem: string | null = null;
  /** What can be done with the task now, as the server has said; null before it was asked. */
  #links: Links | null = null;
  #askAt = 0;
  #retrying = false;
  /** What the button does, and since when: a second click on Cancel is not to start the task again. */
  #does: { readonly what: "cancel" | "retry"; readonly since: number } = { what: "cancel", since: 0 };
  #misuse: string | null = null;
  #acknowledged: TaskView | null = null;
  #restarting = false;
  #rendering = false;

  /** The view that is shown; set one to show it. A view that was set is not closed by this element. */
  get view(): TaskView | null {
    return this.#view;
  }

  set view(view: TaskView | null) {
    this.#given = view;
    this.#restart();
  }

  get client(): TaskClient | null {
    return this.#client;
  }

  set client(client: TaskClient | null) {
    this.#client = client;
    this.#restart();
  }

  get token(): TokenSource | null {
    return this.#token ?? this.getAttribute("token");
  }

  set token(token: TokenSource | null) {
    this.#token = token;
    this.#restart();
  }

  /** A task as the server's 202 returned it: shown at once, and watched from its cursor. */
  get snapshot(): Snapshot | null {
    return this.#snapshot;
  }

  set snapshot(snapshot: Snapshot | null) {
    this.#snapshot = snapshot;
    this.#restart();
  }

  connectedCallback(): void {
    adopt(this, ["client", "snapshot", "token", "view"]);
    if (!this.#panel) {
      this.#panel = new Panel(this.shadowRoot ?? this.attachShadow({ mode: "open" }));
      this.#panel.action.addEventListener("click", () => this.#act());
      this.#panel.action.addEventListener("blur", () => this.#renderSoon());
      this.#panel.log.root.open = this.hasAttribute("log-open");
    }
    this.#tick = setInterval(this.#render, 1000);
    document.addEventListener("visibilitychange", this.#render);
    this.#restart();
    this.#render();
  }

  disconnectedCallback(): void {
    if (this.#tick !== null) clearInterval(this.#tick);
    this.#tick = null;
    document.removeEventListener("visibilitychange", this.#render);
    // An element that is only moved within the page is connected again by then, and goes on.
    queueMicrotask(() => {
      if (!this.isConnected) this.#leave();
    });
  }

  attributeChangedCallback(name: string, before: string | null, after: string | null): void {
    if (before === after) return;
    if (name === "snapshot") this.#snapshot = after === null ? null : parseSnapshot(read(after));
    if (name === "log-open") {
      if (this.#panel) this.#panel.log.root.open = after !== null;
    } else if (name === "label" || name === "retry") this.#renderSoon();
    else this.#restart();
  }

  /** Watch what is to be watched, once all attributes and properties of this turn are set. */
  #restart(): void {
    if (this.#restarting) return;
    this.#restarting = true;
    queueMicrotask(() => {
      this.#restarting = false;
      if (!this.isConnected || this.#watches()) return;
      this.#leave();
      this.#announcer = new Announcer();
      this.#held = { run: 0, fraction: 0 };
      this.#problem = this.#misuse = null;
      this.#retrying = false;
      this.#askAt = 0;
      const { document: known, links } = this.#snapshot ?? {};
      this.#links = known && isTerminal(known) ? (links ?? null) : null;
      this.#does = { what: "cancel", since: 0 };
      this.#view = this.#open();
      if (this.#view) this.#follow(this.#view);
      this.#render();
    });
  }

  /** What the present view was opened for. */
  #source: unknown[] = [];

  /** Whether the present view is of what is wanted: being moved within the page is no reason to begin anew. */
  #watches(): boolean {
    const attributes = ["task", "cursor", "url", "prefix", "path"].map((name) => this.getAttribute(name));
    const source = [this.#given, this.#snapshot, this.#client, this.token, ...attributes];
    const same = this.#view !== null && source.every((value, index) => value === this.#source[index]);
    this.#source = source;
    return same;
  }

  #open(): TaskView | null {
    if (this.#given) return this.#given;
    const client = this.#client ?? this.#connect();
    const task = this.getAttribute("task");
    try {
      if (this.#snapshot) return client.resume(this.#snapshot);
      return task === null ? null : client.watch(task, { cursor: this.getAttribute("cursor") });
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.#misuse = error.message;
      return null;
    }
  }

  #connect(): TaskClient {
    const given = ["url", "prefix", "path"].map((name) => [name, this.getAttribute(name)] as const);
    const options: ClientOptions = Object.fromEntries(given.filter(([, value]) => value !== null));
    const { token } = this;
    if (token === null && options.url === undefined) return clientOf(this);
    this.#own = new TaskClient({ ...options, ...(token !== null && { token }) });
    return this.#own;
  }

  #follow(view: TaskView): void {
    this.#linkSince = Date.now();
    this.#undo = [
      view.on("change", (detail) => {
        this.#renderSoon();
        this.dispatchEvent(new CustomEvent("petiole-change", { detail, bubbles: true, composed: true }));
      }),
      view.on("link", () => {
        this.#linkSince = Date.now();
        this.#renderSoon();
      }),
      view.on("refused", () => this.#renderSoon()),
      view.on("end", (receipt) => {
        this.#renderSoon();
        const detail = { document: view.document, receipt };
        this.dispatchEvent(new CustomEvent("petiole-end", { detail, bubbles: true, composed: true }));
      }),
    ];
  }

  #leave(): void {
    for (const undo of this.#undo) undo();
    this.#undo = [];
    this.#panel?.log.follow(null, "en");
    if (this.#view !== this.#given) this.#view?.close();
    this.#view = null;
    this.#own?.close();
    this.#own = null;
  }

  #act(): void {
    const view = this.#view;
    if (!view || this.#panel?.action.getAttribute("aria-disabled") === "true") return;
    this.#problem = null;
    if (this.#does.what === "cancel") void this.#cancel(view);
    else void this.#retry(view);
  }

  async #cancel(view: TaskView): Promise<void> {
    const force = describe(view.document, view.moment).forcible;
    try {
      await view.cancel({ force });
    } catch (error) {
      const what = force ? "Force stop" : "Cancelling";
      this.#problem = error instanceof Refused ? error.message : `${what} did not reach the server. Try again.`;
    }
    this.#renderSoon();
  }

  async #retry(view: TaskView): Promise<void> {
    const detail = { document: view.document, links: this.#links ?? {} };
    const wanted = new CustomEvent("petiole-retry", { detail, bubbles: true, composed: true, cancelable: true });
    if (!this.dispatchEvent(wanted) || this.#links?.["retry"] === undefined) return;
    this.#retrying = true;
    this.#render();
    try {
      const snapshot = await view.retry();
      if (view === this.#view) this.#become(snapshot);
      this.dispatchEvent(new CustomEvent("petiole-retried", { detail: snapshot, bubbles: true, composed: true }));
    } catch (error) {
      this.#problem = error instanceof Refused ? error.message : "That did not reach the server. Try again.";
    }
    this.#retrying = false;
    this.#renderSoon();
  }

  /** Show the new task in the place of the one that it repeats. */
  #become(snapshot: Snapshot): void {
    this.#given = null;
    this.#snapshot = snapshot;
    this.#restart();
  }

  /** Ask, of a task that may be started again, whether the server can do it: what it said earlier was of another state. */
  #askForLinks(view: TaskView): void {
    if (this.#links !== null || Date.now() < this.#askAt) return;
    this.#askAt = Number.POSITIVE_INFINITY;
    view.links().then(
      (links) => {
        if (view !== this.#view) return;
        this.#links = links;
        this.#renderSoon();
      },
      (error: unknown) => {
        // Without an answer there is no button.
        if (!(error instanceof Refused)) this.#askAt = Date.now() + ASK_AGAIN;
      },
    );
  }

  /** Render once for all that changes until the next frame. */
  #renderSoon(): void {
    if (this.#rendering) return;
    this.#rendering = true;
    requestAnimationFrame(() => {
      this.#rendering = false;
      this.#render();
    });
  }

  readonly #render = (): void => {
    const panel = this.#panel;
    if (!panel) return;
    const view = this.#view;
    const moment = view?.moment ?? { now: Date.now() };
    const locale = localeOf(this);
    const words = describe(view?.document ?? {}, moment, locale);
    const refusal = this.#misuse ?? (view?.problem ? (view.problem.detail ?? view.problem.title) : null);
    // What is over its total is no place to go back from, once the total is corrected.
    const fraction = words.bar === "over" ? words.fraction : this.#hold(view?.document.run ?? 0, words.fraction);
    const percent = words.percent === null || fraction === null ? null : formatPercent(fraction, locale);
    const failed = refusal !== null || words.state === "failed" || words.state === "lost";

    const shape = words.expired ? "expired" : words.state === null ? "waiting" : STATE_ICONS[words.state];
    panel.showIcon(refusal !== null ? "lost" : shape);
    fill(panel.title, this.getAttribute("label") ?? words.title);
    fill(panel.percent, words.state === "succeeded" || refusal !== null ? null : percent);
    const told = [percent, words.sentence, words.left].filter(Boolean).join(", ");
    panel.showBar(refusal !== null ? "broken" : words.bar, fraction, percent !== null, refusal ?? told);
    this.#renderOutcome(panel, words, failed ? (refusal ?? words.sentence) : null);
    this.#renderAction(panel, words);
    this.#renderFoot(panel, words, locale);
    panel.log.follow(refusal === null ? view : null, locale);
    panel.more.hidden = panel.log.root.hidden;
    const ended = view?.document.finished_at ?? moment.now;
    const over = refusal !== null || isTerminal(view?.document ?? {});
    panel.showAge(over ? (refusal === null ? describeAge(ended, moment.now, locale) : "") : null, ended, locale);
    const said = this.#announcer.take({ ...words, title: panel.title.textContent ?? "" }, Date.now());
    if (said !== null) panel.said.textContent = said;
    this.#acknowledge();
  };

  /** What somebody sees here needs no notice any more. */
  #acknowledge(): void {
    const view = this.#view;
    if (!view?.ended || this.#acknowledged === view || this.hasAttribute("keep-notice")) return;
    if (document.visibilityState !== "visible" || this.checkVisibility?.() === false) return;
    this.#acknowledged = view;
    // Refused, it stays in the inbox, where it can be dismissed by hand.
    view.acknowledge().catch(() => undefined);
  }

  #renderOutcome(panel: Panel, words: Words, failure: string | null): void {
    const view = this.#view;
    fill(panel.sentence, words.sentence);
    fill(panel.separator, words.left && " · ");
    fill(panel.left, words.left);
    panel.line.hidden = failure !== null;
    // An alert that comes out of hiding is not said everywhere: it stays in the tree, without a height.
    fill(panel.failureText, failure);
    fill(panel.reference, failure !== null && words.reference !== null ? ` Reference ${words.reference}` : null);
    panel.failure.classList.toggle("none", failure === null);

    const [artifact] = words.state === "succeeded" ? (view?.document.artifacts ?? []) : [];
    const url = artifact && !isExpired(artifact, view?.moment.now ?? 0) ? safeUrl(artifact.url) : null;
    panel.showDownload(url, artifact?.name ?? null, words.expired);
  }

  #renderAction(panel: Panel, words: Words): void {
    const view = this.#view;
    const focused = this.shadowRoot?.activeElement === panel.action;
    if (view && words.offer !== null && view.problem === null) {
      this.#askForLinks(view);
      if (this.#links?.["retry"] !== undefined || this.hasAttribute("retry")) {
        if (this.#does.what === "cancel") {
          this.#does = { what: "retry", since: Date.now() };
          setTimeout(this.#render, SETTLED);
        }
        const ready = !this.#retrying && Date.now() - this.#does.since >= SETTLED;
        panel.showAction(words.offer, ready ? "shown" : "disabled", focused);
        return;
      }
    }
    this.#does = { what: "cancel", since: 0 };
    const over = words.state === null || isTerminal(view?.document ?? {}) || view?.closed === true;
    const wanted = over ? "gone" : words.state === "cancelling" && !words.forcible ? "disabled" : "shown";
    const force = words.forcible || (words.state === "cancelling" && view?.document.forced === true);
    panel.showAction(force ? "Force stop" : "Cancel", wanted, focused);
  }

  #renderFoot(panel: Panel, words: Words, locale: string): void {
    const view = this.#view;
    const watching = view !== null && !view.ended && !view.closed;
    fill(panel.detail, this.#problem ?? words.detail);
    panel.root.toggleAttribute("data-problem", this.#problem !== null);
    panel.showLink(watching ? describeLink(view.link, (Date.now() - this.#linkSince) / 1000) : null);
    const { receipt } = view ?? {};
    panel.showReceipt(view?.ended && receipt ? describeReceipt(receipt, locale) : null, receipt?.complete === true);
  }

  /** Within a run the bar never goes back: where the total grows, it waits. */
  #hold(run: number, fraction: number | null): number | null {
    if (fraction === null) return null;
    this.#held = { run, fraction: this.#held.run === run ? Math.max(this.#held.fraction, fraction) : fraction };
    return this.#held.fraction;
  }
}

/** Milliseconds that the button has its new name before it can be pressed. */
const SETTLED = 600;

/** Milliseconds before the server is asked again what can be done, where it did not answer. */
const ASK_AGAIN = 5000;

function read(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return null;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "petiole-task": PetioleTask;
  }
}

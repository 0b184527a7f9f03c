/** `<petiole-task>`: one task as a person sees it. */

import { type ClientOptions, TaskClient } from "../../client/client.js";
import type { TokenSource } from "../../link/tokens.js";
import { reasonOf } from "../../protocol/problem.js";
import { parseSnapshot, type Snapshot } from "../../protocol/reading.js";
import { isTerminal } from "../../protocol/states.js";
import type { TaskView } from "../../tasks/view.js";
import { Announcer } from "../../words/announcer.js";
import { isExpired } from "../../words/artifact.js";
import { formatPercent } from "../../words/format.js";
import { describeAge } from "../../words/notices.js";
import { describeReceipt } from "../../words/receipt.js";
import { describe } from "../../words/task.js";
import { PetioleElement } from "../element.js";
import { STATE_ICONS } from "../icons.js";
import { fill, safeUrl } from "../nodes.js";
import { TaskButton } from "./button.js";
import { Panel } from "./panel.js";

/**
 * Attributes: `task` (its id), `cursor`, `label` (instead of the task's title), `prefix` and `path` (where the server's
 * calls and Socket.IO are), `url` (a server of another origin), `token`, `snapshot` (as JSON, instead of `task`),
 * `keep-notice` (showing the end doesn't acknowledge it), `retry` (the page itself starts it again, on `petiole-retry`),
 * `compact` (one line, for lists, with a button for the rest), `log-open` (the log is open, and in a compact card all the rest).
 * Or set the properties `snapshot`, `view` (one of the page's own), `client` (instead of the page's shared one), or `token` (may
 * be a function that returns a new one). Pages without JavaScript show the element's content.
 *
 * Events: `petiole-change` (detail: the document), `petiole-end` (detail: `{document, receipt}`), `petiole-retry` (detail:
 * `{document, links}`; a page that starts the task itself prevents it), `petiole-retried` (detail: the new task's snapshot). They
 * bubble.
 */
export class PetioleTask extends PetioleElement<TaskView, Panel> {
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

  readonly #button: TaskButton = new TaskButton({
    view: () => this.shown,
    render: () => this.render(),
    renderSoon: this.renderSoon,
    tell: (name, detail, cancelable) => this.tell(name, detail, cancelable),
    become: (snapshot) => {
      this.#given = null;
      this.snapshot = snapshot;
    },
  });
  #token: TokenSource | null = null;
  /** The client of this element alone, if it has a token or another server. */
  #own: TaskClient | null = null;
  #snapshot: Snapshot | null = null;
  /** The view that the page has set, and the one that this element has opened. */
  #given: TaskView | null = null;
  #opened: TaskView | null = null;
  #announcer = new Announcer();
  #held = { run: 0, fraction: 0 };
  #misuse: string | null = null;
  #acknowledged: TaskView | null = null;

  /** The view that is shown; set one to show it. This element never closes a view that was set. */
  get view(): TaskView | null {
    return this.shown;
  }

  set view(view: TaskView | null) {
    this.#given = view;
    this.reopen();
  }

  get token(): TokenSource | null {
    return this.#token ?? this.getAttribute("token");
  }

  set token(token: TokenSource | null) {
    this.#token = token;
    this.reopen();
  }

  /** A task as the server's 202 returned it: shown at once, and watched from its cursor. */
  get snapshot(): Snapshot | null {
    return this.#snapshot;
  }

  set snapshot(snapshot: Snapshot | null) {
    this.#snapshot = snapshot;
    this.reopen();
  }

  protected override settable(): readonly string[] {
    return ["client", "snapshot", "token", "view"];
  }

  protected override build(shadow: ShadowRoot): Panel {
    const panel = new Panel(shadow, this.#button.node);
    panel.log.root.open = this.hasAttribute("log-open");
    return panel;
  }

  override attributeChangedCallback(name: string, before: string | null, after: string | null): void {
    if (before !== after && name === "snapshot") this.#snapshot = after === null ? null : parseSnapshot(read(after));
    if (before !== after && name === "log-open" && this.nodes) this.nodes.log.root.open = after !== null;
    super.attributeChangedCallback(name, before, after);
  }

  protected override source(): readonly unknown[] {
    const { token } = this;
    return [this.#given, this.#snapshot, token, ...this.attributesOf("task", "cursor", "url", "prefix", "path")];
  }

  protected override open(): TaskView | null {
    this.#announcer = new Announcer();
    this.#held = { run: 0, fraction: 0 };
    this.#misuse = null;
    const { document: known, links } = this.#snapshot ?? {};
    this.#button.begin(known && isTerminal(known) ? (links ?? null) : null);
    if (this.#given) return this.#given;
    const client = this.#connect();
    const task = this.getAttribute("task");
    try {
      if (this.#snapshot) this.#opened = client.resume(this.#snapshot);
      else if (task !== null) this.#opened = client.watch(task, { cursor: this.getAttribute("cursor") });
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.#misuse = error.message;
    }
    return this.#opened;
  }

  #connect(): TaskClient {
    const { token } = this;
    const [url, prefix, path] = this.attributesOf("url", "prefix", "path");
    if (this.client || (token === null && url === null)) return this.clientOrShared();
    const named = Object.entries({ url, prefix, path, token }).filter(([, value]) => value !== null);
    this.#own = new TaskClient(Object.fromEntries(named) as ClientOptions);
    return this.#own;
  }

  protected override follow(view: TaskView): readonly (() => void)[] {
    return [
      view.on("change", (document) => {
        this.renderSoon();
        this.tell("petiole-change", document);
      }),
      view.on("link", this.linkChanged),
      view.on("refused", this.renderSoon),
      view.on("end", (receipt) => {
        this.renderSoon();
        this.tell("petiole-end", { document: view.document, receipt });
      }),
    ];
  }

  protected override leave(): void {
    this.nodes?.log.follow(null, "en");
    this.#opened?.close();
    this.#own?.close();
    this.#opened = this.#own = null;
  }

  protected override draw(panel: Panel): void {
    const { shown: view, locale } = this;
    const moment = view?.moment ?? { now: Date.now() };
    const words = describe(view?.document ?? {}, moment, locale);
    const refusal = this.#misuse ?? reasonOf(view?.problem);
    // A full bar whose total was exceeded may go back once the total is corrected.
    const fraction = words.bar === "over" ? words.fraction : this.#hold(view?.document.run ?? 0, words.fraction);
    const percent = words.percent === null || fraction === null ? null : formatPercent(fraction, locale);
    const failed = refusal !== null || words.state === "failed" || words.state === "lost";

    const shape = words.expired ? "expired" : words.state === null ? "waiting" : STATE_ICONS[words.state];
    panel.showIcon(refusal !== null ? "lost" : shape);
    fill(panel.title, this.getAttribute("label") ?? words.title);
    fill(panel.percent, words.state === "succeeded" || refusal !== null ? null : percent);
    const told = [percent, words.sentence, words.left].filter(Boolean).join(", ");
    panel.showBar(refusal !== null ? "broken" : words.bar, fraction, percent !== null, refusal ?? told);
    panel.showOutcome(words, failed ? (refusal ?? words.sentence) : null);
    const [artifact] = words.state === "succeeded" ? (view?.document.artifacts ?? []) : [];
    const url = artifact && !isExpired(artifact, moment.now) ? safeUrl(artifact.url) : null;
    panel.showDownload(url, artifact?.name ?? null, words.expired);
    const focused = this.shadowRoot?.activeElement === this.#button.node;
    panel.root.toggleAttribute("data-idle", !this.#button.show(words, focused, this.hasAttribute("retry")));
    panel.showDetail(this.#button.problem ?? words.detail, this.#button.problem !== null);
    panel.showLink(view && !view.ended && !view.closed ? this.describeLink(view.link) : null);
    panel.showReceipt(view?.ended ? describeReceipt(view.receipt, locale) : null, view?.receipt.complete === true);
    panel.log.follow(refusal === null ? view : null, locale);
    panel.more.hidden = panel.log.root.hidden;
    const ended = view?.document.finished_at ?? moment.now;
    const over = refusal !== null || isTerminal(view?.document ?? {});
    panel.showAge(over ? (refusal === null ? describeAge(ended, moment.now, locale) : "") : null, ended, locale);
    const said = this.#announcer.take({ ...words, title: panel.title.textContent ?? "" }, Date.now());
    if (said !== null) panel.said.textContent = said;
    this.#acknowledge();
  }

  /** A task whose end somebody sees here needs no notice. */
  #acknowledge(): void {
    const view = this.shown;
    if (!view?.ended || this.#acknowledged === view || this.hasAttribute("keep-notice")) return;
    if (document.visibilityState !== "visible" || this.checkVisibility?.() === false) return;
    this.#acknowledged = view;
    // If that is refused, the notice stays in the inbox and can be dismissed there.
    view.acknowledge().catch(() => undefined);
  }

  /** Within a run the bar never goes back: if the total grows, it waits. */
  #hold(run: number, fraction: number | null): number | null {
    if (fraction === null) return null;
    this.#held = { run, fraction: this.#held.run === run ? Math.max(this.#held.fraction, fraction) : fraction };
    return this.#held.fraction;
  }
}

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

/** `<petiole-task>`: one task as a person sees it. */

import { reasonOf } from "../../protocol/problem.js";
import type { Links } from "../../protocol/reading.js";
import { isTerminal } from "../../protocol/states.js";
import type { TaskView } from "../../tasks/view.js";
import { Announcer } from "../../words/announcer.js";
import { isExpired } from "../../words/artifact.js";
import { formatPercent } from "../../words/format.js";
import { describeAge } from "../../words/notices.js";
import { describeReceipt } from "../../words/receipt.js";
import { describe, type Words } from "../../words/task.js";
import { STATE_ICONS } from "../icons.js";
import { fill, safeUrl } from "../nodes.js";
import { TASK_ATTRIBUTES, TaskElement } from "../task-element.js";
import { TaskButton } from "./button.js";
import { Panel } from "./panel.js";

/**
 * Attributes: `task` (its id), `cursor`, `label` (instead of the task's title), `prefix` and `path` (where the server's
 * calls and Socket.IO are), `url` (a server of another origin), `token`, `snapshot` (as JSON, instead of `task`),
 * `keep-notice` (showing the end doesn't acknowledge it), `retry` (the page itself starts it again, on `petiole-retry`),
 * `compact` (one line, for lists, with a button for the rest), `log-open` (the log is open, and in a compact card all the rest),
 * `no-texts` (the page itself shows what the task writes).
 * Or set the properties `snapshot`, `view` (one of the page's own), `client` (instead of the page's shared one), or `token` (may
 * be a function that returns a new one). Pages without JavaScript show the element's content.
 *
 * Events: `petiole-change` (detail: the document), `petiole-end` (detail: `{document, receipt}`), `petiole-retry` (detail:
 * `{document, links}`; a page that starts the task itself prevents it), `petiole-retried` (detail: the new task's snapshot). They
 * bubble.
 */
export class PetioleTask extends TaskElement<Panel> {
  static readonly observedAttributes: readonly string[] = [...TASK_ATTRIBUTES, "label", "retry", "log-open"];

  readonly #button: TaskButton = new TaskButton({
    view: () => this.shown,
    render: () => this.render(),
    renderSoon: this.renderSoon,
    tell: (name, detail, cancelable) => this.tell(name, detail, cancelable),
    become: (snapshot) => this.become(snapshot),
  });
  #announcer = new Announcer();
  #held = { run: 0, fraction: 0 };
  #acknowledged: TaskView | null = null;

  protected override build(shadow: ShadowRoot): Panel {
    const panel = new Panel(shadow, this.#button.node);
    panel.log.root.open = this.hasAttribute("log-open");
    return panel;
  }

  override attributeChangedCallback(name: string, before: string | null, after: string | null): void {
    if (before !== after && name === "log-open" && this.nodes) this.nodes.log.root.open = after !== null;
    super.attributeChangedCallback(name, before, after);
  }

  protected override get texts(): boolean {
    return !this.hasAttribute("compact") && !this.hasAttribute("no-texts");
  }

  protected override source(): readonly unknown[] {
    return [...super.source(), this.texts];
  }

  protected override open(): TaskView | null {
    const { document: known, links } = this.snapshot ?? {};
    this.#begin(known && isTerminal(known) ? (links ?? null) : null);
    return super.open();
  }

  #begin(links: Links | null): void {
    this.#announcer = new Announcer();
    this.#held = { run: 0, fraction: 0 };
    this.#acknowledged = null;
    this.#button.begin(links);
  }

  protected override follow(view: TaskView): readonly (() => void)[] {
    return [
      view.on("change", (document) => {
        this.renderSoon();
        this.tell("petiole-change", document);
      }),
      view.on("text", this.textChanged),
      view.on("link", this.linkChanged),
      view.on("refused", this.renderSoon),
      view.on("again", () => {
        this.#begin(null);
        this.renderSoon();
      }),
      view.on("end", (receipt) => {
        this.renderSoon();
        this.tell("petiole-end", { document: view.document, receipt });
      }),
    ];
  }

  protected override leave(): void {
    this.nodes?.log.follow(null, "en");
    this.nodes?.texts.follow(null);
    super.leave();
  }

  protected override draw(panel: Panel): void {
    const { shown: view, locale } = this;
    const moment = view?.moment ?? { now: Date.now() };
    const words = describe(view?.document ?? {}, moment, locale);
    const refusal = this.misuse ?? reasonOf(view?.problem);
    const group = refusal === null && view?.document.progress?.children ? view : null;
    // A full bar whose total was exceeded may go back once the total is corrected.
    const fraction = words.bar === "over" ? words.fraction : this.#hold(view?.document.run ?? 0, words.fraction);
    const percent = words.percent === null || fraction === null ? null : formatPercent(fraction, locale);
    const failed = refusal !== null || words.state === "failed" || words.state === "lost";

    const shape = words.expired ? "expired" : words.state === null ? "waiting" : STATE_ICONS[words.state];
    panel.showIcon(refusal !== null ? "lost" : shape);
    fill(panel.title, this.getAttribute("label") ?? words.title);
    fill(panel.percent, words.state === "succeeded" || refusal !== null ? null : percent);
    const told = [percent, words.sentence, words.left].filter(Boolean).join(" · ").split(" · ").join(", ");
    panel.showBar(refusal !== null ? "broken" : words.bar, fraction, percent !== null, refusal ?? told);
    panel.group.show(group, locale, this.renderSoon);
    panel.showOutcome(words, failed ? (refusal ?? words.sentence) : null);
    const [artifact] = words.state === "succeeded" ? (view?.document.artifacts ?? []) : [];
    const url = artifact && !isExpired(artifact, moment.now) ? safeUrl(artifact.url) : null;
    panel.showDownload(url, artifact?.name ?? null, words.expired);
    const focused = this.shadowRoot?.activeElement === this.#button.node;
    const offered = group && this.hasAttribute("compact") ? short(words) : words;
    panel.root.toggleAttribute("data-idle", !this.#button.show(offered, focused, this.hasAttribute("retry")));
    panel.showDetail(this.#button.problem ?? words.detail, this.#button.problem !== null);
    panel.showLink(view && !view.ended && !view.closed ? this.describeLink(view.link) : null);
    panel.showReceipt(view?.ended ? describeReceipt(view.receipt, locale) : null, view?.receipt.complete === true);
    const hidden = refusal !== null || this.hasAttribute("compact") || this.hasAttribute("no-texts");
    panel.texts.follow(hidden ? null : view);
    panel.texts.show(locale);
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

/** One line has no room for "Start the 14 that failed again". */
function short(words: Words): Words {
  return { ...words, offer: words.offer && "Retry" };
}

declare global {
  interface HTMLElementTagNameMap {
    "petiole-task": PetioleTask;
  }
}

/** `<petiole-inbox>`: what has finished, until somebody has seen it. */

import type { InboxView } from "../../inbox/inbox.js";
import type { Notice } from "../../inbox/notices.js";
import { reasonOf } from "../../protocol/problem.js";
import { formatNumber } from "../../words/format.js";
import { describeAway, describeNew } from "../../words/notices.js";
import { PetioleElement } from "../element.js";
import { Alert, fill, make } from "../nodes.js";
import { styleSheets } from "../style.js";
import { List } from "./list.js";
import { INBOX_STYLE } from "./style.js";

/** Seconds between two renderings: ages are shown in minutes. */
const EVERY = 15;
/** How many announced notices are remembered: one that was dismissed may come back, and is no news. */
const REMEMBERED = 500;

/**
 * Attributes: `label` (the heading), `href-template` (the URL of a task's page, with `{id}` in it), `prefix` and `path` (where
 * the server's calls and Socket.IO are). Or set `client` instead of the page's shared one.
 *
 * Event: `petiole-inbox-change` (detail: the inbox's document, without what was dismissed here). It bubbles.
 */
export class PetioleInbox extends PetioleElement<InboxView, Nodes> {
  static readonly observedAttributes: readonly string[] = ["prefix", "path", "label", "href-template"];

  #problem: string | null = null;
  /** The notices that were announced while somebody looked, and how many were unread then. */
  #told = new Set<string>();
  #unread = 0;
  /** Nobody is looking, or what arrived meanwhile hasn't been read yet. */
  #away = true;
  #summary: { readonly text: string; readonly tasks: readonly string[] } | null = null;

  /** The inbox that is shown. */
  get inbox(): InboxView | null {
    return this.shown;
  }

  protected override build(shadow: ShadowRoot): Nodes {
    const nodes = new Nodes(shadow, new List((task) => this.#dismiss([task])));
    nodes.all.addEventListener("click", () => this.#dismiss("all"));
    return nodes;
  }

  protected override every(): number {
    return EVERY;
  }

  protected override source(): readonly unknown[] {
    return this.attributesOf("prefix", "path");
  }

  protected override open(): InboxView {
    this.#told.clear();
    this.#unread = 0;
    this.#away = true;
    this.#summary = this.#problem = null;
    return this.clientOrShared().inbox();
  }

  protected override follow(inbox: InboxView): readonly (() => void)[] {
    return [
      inbox.on("change", (document) => {
        this.renderSoon();
        this.tell("petiole-inbox-change", document);
      }),
      inbox.on("read", this.renderSoon),
      inbox.on("link", this.linkChanged),
      inbox.on("undone", (problem) => {
        this.#problem = `That could not be dismissed. ${reasonOf(problem)}`;
        this.renderSoon();
      }),
      inbox.on("refused", this.renderSoon),
    ];
  }

  protected override seen(visible: boolean): void {
    if (visible) this.renderSoon();
    else this.#away = true;
  }

  #dismiss(tasksOrAll: readonly string[] | "all"): void {
    this.#problem = null;
    // `undone` reports a refusal, and what doesn't arrive is sent again.
    this.shown?.acknowledge(tasksOrAll).catch(() => undefined);
    this.render();
  }

  protected override draw(nodes: Nodes): void {
    const { shown: inbox, locale } = this;
    const notices = inbox?.notices ?? [];
    this.#notice(notices, locale);
    const refusal = reasonOf(inbox?.problem);
    const { unread, earlier } = { unread: inbox?.unread ?? 0, earlier: inbox?.earlier ?? 0 };
    const known = inbox?.feed != null;

    fill(nodes.label, this.getAttribute("label") ?? "Inbox");
    fill(nodes.count, unread > 0 ? `${formatNumber(unread, locale)} unread` : null);
    fill(nodes.summary, this.#summary?.text ?? null);
    const focused = this.shadowRoot?.activeElement ?? null;
    const setting = { now: inbox?.now ?? Date.now(), locale, template: this.getAttribute("href-template") };
    const kept = nodes.list.show(notices, setting, focused);
    const more = `${notices.length > 0 ? "and " : ""}${formatNumber(earlier, locale)} earlier`;
    fill(nodes.earlier, earlier > 0 ? more : null);
    fill(nodes.empty, unread > 0 || refusal !== null ? null : known ? EMPTY : "Looking…");
    nodes.problem.show(refusal ?? this.#problem);
    fill(nodes.link, known && refusal === null ? this.describeLink(inbox.link) : null);
    nodes.all.hidden = unread === 0 || refusal !== null;
    if (!kept || (focused === nodes.all && nodes.all.hidden)) nodes.heading.focus();
  }

  /** Announce what has arrived: at once while somebody looks, else in one line when somebody looks again. */
  #notice(notices: readonly Notice[], locale: string): void {
    const inbox = this.shown;
    if (!inbox) return;
    const { unread } = inbox;
    const left = new Set(notices.map((notice) => notice.id));
    const { tasks } = this.#summary ?? { tasks: [] };
    if (unread === 0 || (tasks.length > 0 && !tasks.some((task) => left.has(task)))) this.#summary = null;
    const present = inbox.link === "polling" || (inbox.link === "live" && !inbox.reading);
    if (document.visibilityState !== "visible" || (this.#away && !present)) return;
    const fresh = notices.filter((notice) => !this.#told.has(notice.id));
    // More may have arrived than are listed, and still more than this if some were dismissed elsewhere.
    const others = Math.max(unread - this.#unread - fresh.length, 0);
    this.#unread = unread;
    this.#told = new Set([...[...this.#told].slice(-REMEMBERED), ...left]);
    let said: string | null;
    if (this.#away) {
      this.#away = false;
      said = describeAway(fresh, others, locale);
      if (said !== null) this.#summary = { text: said, tasks: fresh.map((notice) => notice.id) };
    } else said = describeNew(fresh, others, locale);
    if (said !== null && this.nodes) this.nodes.said.textContent = said;
  }
}

const EMPTY = "Nothing new. What finishes while you are away is kept here for you.";

class Nodes {
  readonly root: HTMLElement = make("section", "inbox", { "aria-labelledby": "heading" });
  readonly heading: HTMLElement = make("h2", "heading", { id: "heading", tabindex: "-1" });
  readonly label: HTMLElement = make("span", "label");
  readonly count: HTMLElement = make("span", "count");
  readonly all: HTMLButtonElement = make("button", "all", { type: "button" });
  readonly summary: HTMLElement = make("p", "summary");
  readonly earlier: HTMLElement = make("p", "earlier");
  readonly empty: HTMLElement = make("p", "empty");
  readonly problem: Alert = new Alert("problem");
  readonly link: HTMLElement = make("p", "link");
  /** Present and empty from the start: screen readers announce what is put into it later. */
  readonly said: HTMLElement = make("div", "said", { role: "status" });
  readonly list: List;

  constructor(shadow: ShadowRoot, list: List) {
    shadow.adoptedStyleSheets = styleSheets(INBOX_STYLE);
    this.list = list;
    const head = make("div", "head");
    for (const text of [this.label, this.summary, this.link]) text.dir = "auto";
    this.all.textContent = "Dismiss all";
    this.heading.append(this.label, " ", this.count);
    head.append(this.heading, this.all);
    this.root.append(head, this.problem.root, this.summary, list.root, this.earlier, this.empty, this.link, this.said);
    shadow.append(this.root);
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "petiole-inbox": PetioleInbox;
  }
}

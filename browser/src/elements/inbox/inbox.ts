/** `<petiole-inbox>`: what has finished, until somebody has seen it. */

import type { TaskClient } from "../../client/client.js";
import type { InboxView } from "../../inbox/inbox.js";
import type { Notice } from "../../inbox/notices.js";
import { formatNumber } from "../../words/format.js";
import { describeLink } from "../../words/link.js";
import { describeAway, describeNew } from "../../words/notices.js";
import { adopt, Base, clientOf, fill, localeOf, make } from "../nodes.js";
import { styleSheets } from "../style.js";
import { List } from "./list.js";
import { INBOX_STYLE } from "./style.js";

/** Milliseconds between two renderings, for what only time changes. */
const EVERY = 15_000;
/** Notices whose having been told is remembered: one that was dismissed may come back, and is no news. */
const REMEMBERED = 500;

/**
 * Attributes: `label` (the heading), `href-template` (where a task's page is, with `{id}` in it), `prefix` and `path` (where the
 * server's calls and Socket.IO are). Or set `client` instead of the page's shared one.
 *
 * Event: `petiole-inbox-change` (detail: the inbox's document, without what has been dismissed here). It bubbles.
 */
export class PetioleInbox extends Base {
  static readonly observedAttributes: readonly string[] = ["prefix", "path", "label", "href-template"];

  #nodes: Nodes | null = null;
  #client: TaskClient | null = null;
  #inbox: InboxView | null = null;
  #undo: (() => void)[] = [];
  #tick: ReturnType<typeof setInterval> | null = null;
  #linkSince = 0;
  #problem: string | null = null;
  #restarting = false;
  #rendering = false;
  /** The notices that somebody who looked has been told of, and how many there were then. */
  #told = new Set<string>();
  #unread = 0;
  /** Nobody looks, or what has come meanwhile isn't here yet. */
  #away = true;
  #summary: { readonly text: string; readonly tasks: readonly string[] } | null = null;

  /** The inbox that is shown. */
  get inbox(): InboxView | null {
    return this.#inbox;
  }

  get client(): TaskClient | null {
    return this.#client;
  }

  set client(client: TaskClient | null) {
    this.#client = client;
    this.#restart();
  }

  connectedCallback(): void {
    adopt(this, ["client"]);
    this.#nodes ??= this.#build();
    this.#tick = setInterval(this.#render, EVERY);
    document.addEventListener("visibilitychange", this.#visibility);
    this.#restart();
    this.#render();
  }

  disconnectedCallback(): void {
    if (this.#tick !== null) clearInterval(this.#tick);
    this.#tick = null;
    document.removeEventListener("visibilitychange", this.#visibility);
    // An element that is only moved within the page is connected again by then, and goes on.
    queueMicrotask(() => {
      if (!this.isConnected) this.#leave();
    });
  }

  attributeChangedCallback(name: string, before: string | null, after: string | null): void {
    if (before === after) return;
    if (name === "prefix" || name === "path") this.#restart();
    else this.#renderSoon();
  }

  #build(): Nodes {
    const nodes = new Nodes(
      this.shadowRoot ?? this.attachShadow({ mode: "open" }),
      new List((task) => this.#dismiss([task])),
    );
    nodes.all.addEventListener("click", () => this.#dismiss("all"));
    return nodes;
  }

  /** What the present view was opened for. */
  #source: unknown[] = [];

  #restart(): void {
    if (this.#restarting) return;
    this.#restarting = true;
    queueMicrotask(() => {
      this.#restarting = false;
      const source = [this.#client, this.getAttribute("prefix"), this.getAttribute("path")];
      const same = this.#inbox !== null && source.every((value, index) => value === this.#source[index]);
      if (!this.isConnected || same) return;
      this.#leave();
      this.#source = source;
      this.#told.clear();
      this.#unread = 0;
      this.#away = true;
      this.#summary = this.#problem = null;
      this.#follow((this.#client ?? clientOf(this)).inbox());
      this.#render();
    });
  }

  #follow(inbox: InboxView): void {
    this.#inbox = inbox;
    this.#linkSince = Date.now();
    this.#undo = [
      inbox.on("change", (detail) => {
        this.#renderSoon();
        this.dispatchEvent(new CustomEvent("petiole-inbox-change", { detail, bubbles: true, composed: true }));
      }),
      inbox.on("read", () => this.#renderSoon()),
      inbox.on("link", () => {
        this.#linkSince = Date.now();
        this.#renderSoon();
      }),
      inbox.on("undone", (problem) => {
        this.#problem = `That could not be dismissed. ${problem.detail ?? problem.title}`;
        this.#renderSoon();
      }),
      inbox.on("refused", () => this.#renderSoon()),
    ];
  }

  #leave(): void {
    for (const undo of this.#undo) undo();
    this.#undo = [];
    this.#inbox?.close();
    this.#inbox = null;
  }

  #dismiss(tasksOrAll: readonly string[] | "all"): void {
    this.#problem = null;
    // A refusal is said by `undone`, and what doesn't arrive is sent again.
    this.#inbox?.acknowledge(tasksOrAll).catch(() => undefined);
    this.#render();
  }

  readonly #visibility = (): void => {
    if (document.visibilityState === "hidden") this.#away = true;
    else this.#renderSoon();
  };

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
    const nodes = this.#nodes;
    if (!nodes) return;
    const inbox = this.#inbox;
    const locale = localeOf(this);
    const notices = inbox?.notices ?? [];
    this.#notice(notices, locale);
    const refusal = inbox?.problem ? (inbox.problem.detail ?? inbox.problem.title) : null;
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
    const problem = refusal ?? this.#problem;
    // An alert that comes out of hiding is not said everywhere: it stays in the tree, without a height.
    fill(nodes.problemText, problem);
    nodes.problem.classList.toggle("none", problem === null);
    const watching = known && refusal === null && inbox !== null;
    fill(nodes.link, watching ? describeLink(inbox.link, (Date.now() - this.#linkSince) / 1000) : null);
    nodes.all.hidden = unread === 0 || refusal !== null;
    if (!kept || (focused === nodes.all && nodes.all.hidden)) nodes.heading.focus();
  };

  /** Tell what has come: one by one while somebody looks, in one line when somebody looks again. */
  #notice(notices: readonly Notice[], locale: string): void {
    const inbox = this.#inbox;
    if (!inbox) return;
    const { unread } = inbox;
    const left = new Set(notices.map((notice) => notice.id));
    const { tasks } = this.#summary ?? { tasks: [] };
    if (unread === 0 || (tasks.length > 0 && !tasks.some((task) => left.has(task)))) this.#summary = null;
    const present = inbox.link === "polling" || (inbox.link === "live" && !inbox.reading);
    if (document.visibilityState !== "visible" || (this.#away && !present)) return;
    const fresh = notices.filter((notice) => !this.#told.has(notice.id));
    // More may have come than are listed. If some were dismissed elsewhere, it was even more than this.
    const others = Math.max(unread - this.#unread - fresh.length, 0);
    this.#unread = unread;
    this.#told = new Set([...[...this.#told].slice(-REMEMBERED), ...left]);
    let said: string | null;
    if (this.#away) {
      this.#away = false;
      said = describeAway(fresh, others, locale);
      if (said !== null) this.#summary = { text: said, tasks: fresh.map((notice) => notice.id) };
    } else said = describeNew(fresh, others, locale);
    if (said !== null && this.#nodes) this.#nodes.said.textContent = said;
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
  readonly problem: HTMLElement = make("p", "problem", { role: "alert" });
  readonly problemText: HTMLElement = document.createElement("span");
  readonly link: HTMLElement = make("p", "link");
  /** Present and empty from the beginning: only then is what comes into it said. */
  readonly said: HTMLElement = make("div", "said", { role: "status" });
  readonly list: List;

  constructor(shadow: ShadowRoot, list: List) {
    shadow.adoptedStyleSheets = styleSheets(INBOX_STYLE);
    this.list = list;
    const head = make("div", "head");
    for (const text of [this.label, this.summary, this.problemText, this.link]) text.dir = "auto";
    this.all.textContent = "Dismiss all";
    this.heading.append(this.label, " ", this.count);
    head.append(this.heading, this.all);
    this.problem.append(this.problemText);
    this.root.append(head, this.problem, this.summary, list.root, this.earlier, this.empty, this.link, this.said);
    shadow.append(this.root);
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "petiole-inbox": PetioleInbox;
  }
}

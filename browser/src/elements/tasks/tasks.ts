/** `<petiole-tasks>`: the tasks of whoever is logged in, a line for each, the newest first. */

import type { TaskClient } from "../../client/client.js";
import type { Document } from "../../protocol/events.js";
import { Refused } from "../../protocol/problem.js";
import type { Snapshot } from "../../protocol/reading.js";
import type { TaskFilter } from "../../protocol/requests.js";
import { isTerminal, type TaskState } from "../../protocol/states.js";
import type { TaskListView } from "../../tasks/list.js";
import { formatNumber } from "../../words/format.js";
import { describeLink } from "../../words/link.js";
import { STATES } from "../../words/task.js";
import { adopt, Base, clientOf, fill, localeOf, make } from "../nodes.js";
import { styleSheets } from "../style.js";
import type { PetioleTask } from "../task/task.js";
import { TASKS_STYLE } from "./style.js";

const PAGE = 20;

/**
 * Attributes: `state` and `name` (only tasks in this state, of this name), `filter` (a control for the state is shown), `limit`
 * (tasks of one page; default 20), `label` (the heading), `prefix` and `path` (where the server's calls and Socket.IO are). Or
 * set `client` instead of the page's shared one. What that client starts is in the list at once; `add` and `refresh` are for
 * what a page starts by itself.
 *
 * Event: `petiole-tasks-change` (detail: the tasks' snapshots), when others are listed than before. It bubbles, and so do the
 * events of each `<petiole-task>` in it.
 */
export class PetioleTasks extends Base {
  static readonly observedAttributes: readonly string[] = ["state", "name", "limit", "prefix", "path", "label", "filter"];

  #nodes: Nodes | null = null;
  #client: TaskClient | null = null;
  #list: TaskListView | null = null;
  #shared: TaskClient | null = null;
  #rows = new Map<string, PetioleTask>();
  #undo: (() => void)[] = [];
  #tick: ReturnType<typeof setInterval> | null = null;
  #linkSince = 0;
  #problem: string | null = null;
  #loading = false;
  /** Somebody has chosen another state, and is told how many tasks there are. */
  #chosen = false;
  #restarting = false;
  #rendering = false;

  /** The list that is shown. */
  get list(): TaskListView | null {
    return this.#list;
  }

  get client(): TaskClient | null {
    return this.#client;
  }

  set client(client: TaskClient | null) {
    this.#client = client;
    this.#restart();
  }

  /** Show a task that the page has started, as the 202 returned it. */
  add(snapshot: Snapshot): void {
    this.#list?.add(snapshot);
  }

  /** Read the newest tasks now. */
  refresh(): void {
    this.#list?.refresh();
  }

  connectedCallback(): void {
    adopt(this, ["client"]);
    this.#nodes ??= this.#build();
    this.#tick = setInterval(this.#render, 1000);
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
    if (name === "label" || name === "filter") this.#renderSoon();
    else this.#restart();
  }

  #build(): Nodes {
    const nodes = new Nodes(this.shadowRoot ?? this.attachShadow({ mode: "open" }));
    nodes.load.addEventListener("click", () => void this.#more());
    nodes.load.addEventListener("blur", () => this.#renderSoon());
    nodes.filter.addEventListener("change", () => {
      this.#chosen = true;
      if (nodes.filter.value === "") this.removeAttribute("state");
      else this.setAttribute("state", nodes.filter.value);
    });
    nodes.rows.addEventListener("petiole-change", (event) => {
      this.#list?.changed(idOf(event), (event as CustomEvent<Document>).detail);
    });
    nodes.rows.addEventListener("petiole-retried", (event) => this.#replace(event as CustomEvent<Snapshot>));
    return nodes;
  }

  /** What the present list was opened for. */
  #source: unknown[] = [];

  #restart(): void {
    if (this.#restarting) return;
    this.#restarting = true;
    queueMicrotask(() => {
      this.#restarting = false;
      const given = ["state", "name", "limit", "prefix", "path"].map((name) => this.getAttribute(name));
      const source = [this.#client, ...given];
      const same = this.#list !== null && source.every((value, index) => value === this.#source[index]);
      if (!this.isConnected || same) return;
      this.#leave();
      this.#source = source;
      this.#problem = null;
      const client = this.#client ?? clientOf(this);
      if (client !== this.#shared && this.#nodes) this.#renderRows(this.#nodes, [], "en");
      this.#shared = client;
      this.#follow(this.#shared, this.#shared.tasks(this.#filter()));
      this.#render();
    });
  }

  #filter(): TaskFilter {
    const [state, name, limit] = ["state", "name", "limit"].map((attribute) => this.getAttribute(attribute));
    return { ...(state && { state: state as TaskState }), ...(name && { name }), limit: Number(limit ?? PAGE) };
  }

  #follow(client: TaskClient, list: TaskListView): void {
    this.#list = list;
    this.#linkSince = Date.now();
    this.#undo = [
      list.on("change", (detail) => {
        this.#renderSoon();
        this.dispatchEvent(new CustomEvent("petiole-tasks-change", { detail, bubbles: true, composed: true }));
      }),
      list.on("read", () => this.#renderSoon()),
      list.on("refused", () => this.#renderSoon()),
      client.on("link", () => {
        this.#linkSince = Date.now();
        this.#renderSoon();
      }),
    ];
  }

  #leave(): void {
    for (const undo of this.#undo) undo();
    this.#undo = [];
    this.#list?.close();
    this.#list = null;
    this.#loading = false;
  }

  async #more(): Promise<void> {
    const list = this.#list;
    if (!list?.hasMore || this.#loading) return;
    this.#loading = true;
    this.#problem = null;
    this.#render();
    try {
      const came = await list.more();
      this.#say(`${formatNumber(came, localeOf(this))} more`);
    } catch (error) {
      this.#problem = error instanceof Refused ? error.message : "That did not reach the server. Try again.";
    }
    if (list === this.#list) this.#loading = false;
    this.#renderSoon();
  }

  /** A task was started again: the new one stands where the old one stood. */
  #replace(event: CustomEvent<Snapshot>): void {
    const [before, row] = [idOf(event), event.target as PetioleTask];
    this.#rows.delete(before);
    this.#rows.set(event.detail.id, row);
    row.dataset["id"] = event.detail.id;
    row.removeAttribute("keep-notice");
    this.#list?.replace(before, event.detail);
  }

  readonly #visibility = (): void => {
    if (document.visibilityState !== "hidden") this.refresh();
  };

  #say(text: string): void {
    if (this.#nodes) this.#nodes.said.textContent = text;
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
    const nodes = this.#nodes;
    if (!nodes) return;
    const list = this.#list;
    const locale = localeOf(this);
    const tasks = list?.tasks ?? [];
    const refusal = list?.problem ? (list.problem.detail ?? list.problem.title) : null;
    fill(nodes.heading, this.getAttribute("label") ?? "Tasks");
    nodes.filter.hidden = !this.hasAttribute("filter");
    nodes.filter.value = this.getAttribute("state") ?? "";
    const focused = this.shadowRoot?.activeElement ?? null;
    // Until the list of another state is there, the one before it stays.
    if (list?.known || refusal !== null || tasks.length > 0) this.#renderRows(nodes, tasks, locale);
    if (focused && !focused.isConnected) nodes.heading.focus();
    const none = this.hasAttribute("state") || this.hasAttribute("name") ? NONE : EMPTY;
    fill(nodes.empty, this.#rows.size > 0 || refusal !== null ? null : list?.known ? none : "Looking…");
    const problem = refusal ?? this.#problem;
    // An alert that comes out of hiding is not said everywhere: it stays in the tree, without a height.
    fill(nodes.problemText, problem);
    nodes.problem.classList.toggle("none", problem === null);
    fill(nodes.link, this.#describeLink());
    const held = focused === nodes.load;
    nodes.foot.hidden = !list?.hasMore && !held;
    if (list?.hasMore && !this.#loading) nodes.load.removeAttribute("aria-disabled");
    else nodes.load.setAttribute("aria-disabled", "true");
    if (this.#chosen && list?.known) {
      this.#chosen = false;
      this.#say(tasks.length === 0 ? none : `${formatNumber(tasks.length, locale)} listed`);
    }
  };

  /** One line for all rows: what a task's own card says of the link is left out in each. */
  #describeLink(): string | null {
    if (this.#list?.failing) return "The list can't be read just now; trying again";
    const watched = [...this.#rows.values()].some(({ view }) => view && !view.ended && !view.closed);
    return watched && this.#shared ? describeLink(this.#shared.link, (Date.now() - this.#linkSince) / 1000) : null;
  }

  #renderRows(nodes: Nodes, tasks: readonly Snapshot[], locale: string): void {
    const before = this.#rows;
    this.#rows = new Map(tasks.map((task) => [task.id, before.get(task.id) ?? this.#row(task)]));
    for (const [id, row] of before) if (!this.#rows.has(id)) row.parentElement?.remove();
    let next = nodes.rows.firstElementChild;
    for (const row of this.#rows.values()) {
      if (row.lang !== locale) row.lang = locale;
      // A row that is in its place is left there: moving a node takes the focus away from it.
      if (row.parentElement === next) next = next?.nextElementSibling ?? null;
      else nodes.rows.insertBefore(row.parentElement!, next);
    }
    nodes.rows.hidden = tasks.length === 0;
  }

  #row(snapshot: Snapshot): PetioleTask {
    const row = document.createElement("petiole-task");
    row.dataset["id"] = snapshot.id;
    row.setAttribute("compact", "");
    // What was over before this page knew of it stays in the inbox until somebody dismisses it there.
    row.toggleAttribute("keep-notice", isTerminal(snapshot.document));
    row.client = this.#shared;
    row.snapshot = snapshot;
    make("li", "item").append(row);
    return row;
  }
}

const EMPTY = "No tasks yet. What you start is listed here.";
const NONE = "There is no such task.";

function idOf(event: Event): string {
  return (event.target as HTMLElement).dataset["id"] ?? "";
}

class Nodes {
  readonly heading: HTMLElement = make("h2", "heading", { id: "heading", tabindex: "-1" });
  readonly filter: HTMLSelectElement = make("select", "filter", { "aria-label": "Show" });
  readonly rows: HTMLUListElement = make("ul", "list", { role: "list" });
  readonly empty: HTMLElement = make("p", "empty");
  readonly problem: HTMLElement = make("p", "problem", { role: "alert" });
  readonly problemText: HTMLElement = document.createElement("span");
  readonly link: HTMLElement = make("p", "link");
  readonly foot: HTMLElement = make("div", "foot");
  readonly load: HTMLButtonElement = make("button", "load", { type: "button" });
  /** Present and empty from the beginning: only then is what comes into it said. */
  readonly said: HTMLElement = make("div", "said", { role: "status" });

  constructor(shadow: ShadowRoot) {
    shadow.adoptedStyleSheets = styleSheets(TASKS_STYLE);
    const root = make("section", "tasks", { "aria-labelledby": "heading" });
    const head = make("div", "head");
    for (const text of [this.heading, this.problemText]) text.dir = "auto";
    this.filter.append(option("", "All"), ...Object.entries(STATES).map(([state, word]) => option(state, word)));
    this.load.textContent = "Load more";
    head.append(this.heading, this.filter);
    this.problem.append(this.problemText);
    this.foot.append(this.load);
    root.append(head, this.problem, this.rows, this.empty, this.link, this.foot, this.said);
    shadow.append(root);
  }
}

function option(value: string, text: string): HTMLOptionElement {
  return Object.assign(document.createElement("option"), { value, textContent: text });
}

declare global {
  interface HTMLElementTagNameMap {
    "petiole-tasks": PetioleTasks;
  }
}

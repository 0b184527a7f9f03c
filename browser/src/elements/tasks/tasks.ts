/** `<petiole-tasks>`: the tasks of the person who is logged in, a line for each, newest first. */

import type { TaskClient } from "../../client/client.js";
import type { Document } from "../../protocol/events.js";
import { reasonOf, Refused } from "../../protocol/problem.js";
import type { Snapshot } from "../../protocol/reading.js";
import { isTerminal, type TaskState } from "../../protocol/states.js";
import type { TaskListView } from "../../tasks/list.js";
import { formatNumber } from "../../words/format.js";
import { STATES } from "../../words/task.js";
import { PetioleElement } from "../element.js";
import { Alert, disable, fill, make, UNREACHED } from "../nodes.js";
import { styleSheets } from "../style.js";
import type { PetioleTask } from "../task/task.js";
import { TASKS_STYLE } from "./style.js";

const PAGE = 20;

/**
 * Attributes: `state` and `name` (only tasks in this state, of this name), `filter` (show a control for the state), `limit`
 * (tasks on one page; default 20), `label` (the heading), `prefix` and `path` (where the server's calls and Socket.IO are). Or
 * set `client` instead of the page's shared one. Tasks that this client starts appear at once; `add` and `refresh` are for
 * tasks that the page starts in another way.
 *
 * Event: `petiole-tasks-change` (detail: the tasks' snapshots), when tasks were added, removed or moved. It bubbles, and so do
 * the events of each `<petiole-task>` in it.
 */
export class PetioleTasks extends PetioleElement<TaskListView, Nodes> {
  static readonly observedAttributes: readonly string[] = ["state", "name", "limit", "prefix", "path", "label", "filter"];

  /** The client of the rows. */
  #shared: TaskClient | null = null;
  #rows = new Map<string, PetioleTask>();
  #problem: string | null = null;
  #loading = false;
  /** A person has chosen another state, and is to hear how many tasks are listed. */
  #chosen = false;

  /** The list that is shown. */
  get list(): TaskListView | null {
    return this.shown;
  }

  /** Show a task that the page has started, as the 202 returned it. */
  add(snapshot: Snapshot): void {
    this.shown?.add(snapshot);
  }

  /** Read the newest tasks now. */
  refresh(): void {
    this.shown?.refresh();
  }

  protected override build(shadow: ShadowRoot): Nodes {
    const nodes = new Nodes(shadow);
    nodes.load.addEventListener("click", () => void this.#more());
    nodes.load.addEventListener("blur", this.renderSoon);
    nodes.filter.addEventListener("change", () => {
      this.#chosen = true;
      if (nodes.filter.value === "") this.removeAttribute("state");
      else this.setAttribute("state", nodes.filter.value);
    });
    nodes.rows.addEventListener("petiole-change", (event) => {
      this.shown?.changed(idOf(event), (event as CustomEvent<Document>).detail);
    });
    nodes.rows.addEventListener("petiole-retried", (event) => this.#replace(event as CustomEvent<Snapshot>));
    return nodes;
  }

  protected override source(): readonly unknown[] {
    return this.attributesOf("state", "name", "limit", "prefix", "path");
  }

  protected override open(): TaskListView {
    this.#problem = null;
    const client = this.clientOrShared();
    if (client !== this.#shared && this.nodes) this.#renderRows(this.nodes, [], "en");
    this.#shared = client;
    const [state, name, limit] = this.attributesOf("state", "name", "limit");
    return client.tasks({ ...(state && { state: state as TaskState }), ...(name && { name }), limit: Number(limit ?? PAGE) });
  }

  protected override follow(list: TaskListView): readonly (() => void)[] {
    return [
      list.on("change", (tasks) => {
        this.renderSoon();
        this.tell("petiole-tasks-change", tasks);
      }),
      list.on("read", this.renderSoon),
      list.on("refused", this.renderSoon),
      ...(this.#shared ? [this.#shared.on("link", this.linkChanged)] : []),
    ];
  }

  protected override leave(list: TaskListView | null): void {
    super.leave(list);
    this.#loading = false;
  }

  protected override seen(visible: boolean): void {
    if (visible) this.refresh();
  }

  async #more(): Promise<void> {
    const list = this.shown;
    if (!list?.hasMore || this.#loading) return;
    this.#loading = true;
    this.#problem = null;
    this.render();
    try {
      const came = await list.more();
      this.#say(`${formatNumber(came, this.locale)} more`);
    } catch (error) {
      this.#problem = error instanceof Refused ? error.message : UNREACHED;
    }
    if (list === this.shown) this.#loading = false;
    this.renderSoon();
  }

  /** A task was started again: the new one takes its row. */
  #replace(event: CustomEvent<Snapshot>): void {
    const [before, row] = [idOf(event), event.target as PetioleTask];
    this.#rows.delete(before);
    this.#rows.set(event.detail.id, row);
    row.dataset["id"] = event.detail.id;
    row.removeAttribute("keep-notice");
    this.shown?.replace(before, event.detail);
  }

  #say(text: string): void {
    if (this.nodes) this.nodes.said.textContent = text;
  }

  protected override draw(nodes: Nodes): void {
    const { shown: list, locale } = this;
    const tasks = list?.tasks ?? [];
    const refusal = reasonOf(list?.problem);
    fill(nodes.heading, this.getAttribute("label") ?? "Tasks");
    nodes.filter.hidden = !this.hasAttribute("filter");
    nodes.filter.value = this.getAttribute("state") ?? "";
    const focused = this.shadowRoot?.activeElement ?? null;
    // The list of the previous state stays until the new one is known.
    if (list?.known || refusal !== null || tasks.length > 0) this.#renderRows(nodes, tasks, locale);
    if (focused && !focused.isConnected) nodes.heading.focus();
    const none = this.hasAttribute("state") || this.hasAttribute("name") ? NONE : EMPTY;
    fill(nodes.empty, this.#rows.size > 0 || refusal !== null ? null : list?.known ? none : "Looking…");
    nodes.problem.show(refusal ?? this.#problem);
    fill(nodes.link, this.#describeList());
    nodes.foot.hidden = !list?.hasMore && focused !== nodes.load;
    disable(nodes.load, !list?.hasMore || this.#loading);
    if (this.#chosen && list?.known) {
      this.#chosen = false;
      this.#say(tasks.length === 0 ? none : `${formatNumber(tasks.length, locale)} listed`);
    }
  }

  /** One line for all rows: their own lines about the link are hidden. */
  #describeList(): string | null {
    if (this.shown?.failing) return "The list can't be read just now; trying again";
    const watched = [...this.#rows.values()].some(({ view }) => view && !view.ended && !view.closed);
    return watched && this.#shared ? this.describeLink(this.#shared.link) : null;
  }

  #renderRows(nodes: Nodes, tasks: readonly Snapshot[], locale: string): void {
    const before = this.#rows;
    this.#rows = new Map(tasks.map((task) => [task.id, before.get(task.id) ?? this.#row(task)]));
    for (const [id, row] of before) if (!this.#rows.has(id)) row.parentElement?.remove();
    let next = nodes.rows.firstElementChild;
    for (const row of this.#rows.values()) {
      if (row.lang !== locale) row.lang = locale;
      // A row that is in its place stays there: moving a node would take the focus away from it.
      if (row.parentElement === next) next = next?.nextElementSibling ?? null;
      else nodes.rows.insertBefore(row.parentElement!, next);
    }
    nodes.rows.hidden = tasks.length === 0;
  }

  #row(snapshot: Snapshot): PetioleTask {
    const row = document.createElement("petiole-task");
    row.dataset["id"] = snapshot.id;
    row.setAttribute("compact", "");
    // A task that had ended before this page knew it stays in the inbox until somebody dismisses it there.
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
  readonly problem: Alert = new Alert("problem");
  readonly link: HTMLElement = make("p", "link");
  readonly foot: HTMLElement = make("div", "foot");
  readonly load: HTMLButtonElement = make("button", "load", { type: "button" });
  /** Present and empty from the start: screen readers announce what is put into it later. */
  readonly said: HTMLElement = make("div", "said", { role: "status" });

  constructor(shadow: ShadowRoot) {
    shadow.adoptedStyleSheets = styleSheets(TASKS_STYLE);
    const root = make("section", "tasks", { "aria-labelledby": "heading" });
    const head = make("div", "head");
    this.heading.dir = "auto";
    this.filter.append(option("", "All"), ...Object.entries(STATES).map(([state, word]) => option(state, word)));
    this.load.textContent = "Load more";
    head.append(this.heading, this.filter);
    this.foot.append(this.load);
    root.append(head, this.problem.root, this.rows, this.empty, this.link, this.foot, this.said);
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

// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { TaskClient } from "../../src/client/client.js";
import { defineElements } from "../../src/elements/define.js";
import type { PetioleTask } from "../../src/elements/task/task.js";
import type { PetioleTasks } from "../../src/elements/tasks/tasks.js";
import { Emitter } from "../../src/link/emitter.js";
import type { LinkState } from "../../src/link/link.js";
import type { Document } from "../../src/protocol/events.js";
import { type Problem, Refused } from "../../src/protocol/problem.js";
import type { Snapshot } from "../../src/protocol/reading.js";
import type { TaskFilter } from "../../src/protocol/requests.js";
import { isTerminal } from "../../src/protocol/states.js";
import type { ListEvents } from "../../src/tasks/list.js";

defineElements();

/** A list that a test sets by hand: the element only reads it. */
class HandList {
  readonly #events = new Emitter<ListEvents>();
  tasks: readonly Snapshot[] = [];
  known = false;
  hasMore = false;
  failing = false;
  problem: Problem | null = null;
  close = vi.fn();
  refresh = vi.fn();
  changed = vi.fn();
  replace = vi.fn();
  add = vi.fn();
  more = vi.fn(async () => 0);

  on<Name extends keyof ListEvents>(name: Name, listener: (...values: ListEvents[Name]) => void): () => void {
    return this.#events.on(name, listener);
  }

  async show(...tasks: Snapshot[]): Promise<void> {
    this.known = true;
    this.tasks = tasks;
    this.#events.emit("change", tasks);
    this.#events.emit("read");
    await settle();
  }

  async say(name: "read" | "refused"): Promise<void> {
    if (name === "read") this.#events.emit(name);
    else this.#events.emit(name, this.problem!);
    await settle();
  }
}

const snapshot = (id: string, document: Document = {}): Snapshot => ({
  id,
  feed: `task:${id}`,
  cursor: "00000000.0.0.0000000000000000",
  document: { state: "running", title: `Task ${id}`, ...document },
});

let lists: HandList[];
let filters: TaskFilter[];
let link: LinkState;
let say: (state: LinkState) => void;
let element: PetioleTasks;

const shadow = (): ShadowRoot => element.shadowRoot!;
const part = (name: string): HTMLElement => shadow().querySelector(`[part="${name}"]`)!;
const text = (name: string): string => part(name).textContent!;
const visible = (name: string): boolean => !part(name).hidden;
const rows = (): PetioleTask[] => [...shadow().querySelectorAll("petiole-task")];
const list = (): HandList => lists.at(-1)!;

const view = ({ document }: Snapshot): object => ({
  document,
  link,
  problem: null,
  ended: isTerminal(document),
  closed: false,
  receipt: { facts: 1, shown: 1, complete: true, texts: {} },
  moment: { now: Date.now() },
  on: () => () => undefined,
  links: async () => ({}),
  acknowledge: async () => undefined,
  close: () => undefined,
});

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "setTimeout", "Date", "requestAnimationFrame"] });
  lists = [];
  filters = [];
  link = "live";
  element = document.createElement("petiole-tasks");
  element.client = {
    get link() {
      return link;
    },
    tasks: (filter: TaskFilter) => {
      filters.push(filter);
      lists.push(new HandList());
      return list();
    },
    resume: view,
    on: (_name: string, listener: (state: LinkState) => void) => {
      say = listener;
      return () => undefined;
    },
  } as unknown as TaskClient;
  document.body.append(element);
  await settle();
});

afterEach(() => {
  element.remove();
  vi.useRealTimers();
});

async function settle(seconds = 0.1): Promise<void> {
  await vi.advanceTimersByTimeAsync(seconds * 1000);
}

test("an empty list says so quietly", async () => {
  expect([text("heading"), text("empty")]).toEqual(["Tasks", "Looking…"]);
  await list().show();
  expect(text("empty")).toBe("No tasks yet. What you start is listed here.");
  expect([visible("filter"), visible("list"), visible("foot"), visible("link")]).toEqual([false, false, false, false]);
});

test("each task is a compact card, in the list's order, and stays the same card", async () => {
  await list().show(snapshot("b"), snapshot("a", { state: "succeeded" }));
  const [first, second] = rows();
  expect(rows().map((row) => [row.hasAttribute("compact"), row.hasAttribute("keep-notice"), row.dataset["id"]])).toEqual([
    [true, false, "b"],
    [true, true, "a"],
  ]);
  expect(first!.shadowRoot!.querySelector(".title")!.textContent).toBe("Task b");
  await list().show(snapshot("c"), snapshot("b"), snapshot("a", { state: "succeeded" }));
  expect(rows().slice(1)).toEqual([first, second]);
  await list().show(snapshot("c"));
  expect(rows().map((row) => row.dataset["id"])).toEqual(["c"]);
});

test("the filter's control and the attributes say what is listed", async () => {
  element.setAttribute("filter", "");
  element.setAttribute("name", "app.count");
  await settle();
  await list().show(snapshot("a"));
  const control = part("filter") as HTMLSelectElement;
  expect(control.hidden).toBe(false);
  control.value = "failed";
  control.dispatchEvent(new Event("change"));
  await settle();
  expect(filters.at(-1)).toEqual({ state: "failed", name: "app.count", limit: 20 });
  expect(element.getAttribute("state")).toBe("failed");
  // Until the new list is there, nothing jumps.
  expect(rows().length).toBe(1);
  await list().show();
  expect([rows().length, text("empty"), text("said")]).toEqual([0, "There is no such task.", "There is no such task."]);
  control.value = "";
  control.dispatchEvent(new Event("change"));
  await settle();
  await list().show(snapshot("a"), snapshot("b"));
  expect([element.hasAttribute("state"), text("said"), lists[0]!.close.mock.calls.length]).toEqual([false, "2 listed", 1]);
});

test("load more is there while there is more, and says how many came", async () => {
  list().hasMore = true;
  await list().show(snapshot("a"));
  expect(visible("foot")).toBe(true);
  list().more.mockImplementation(async () => {
    list().hasMore = false;
    list().tasks = [snapshot("a"), snapshot("b")];
    return 1;
  });
  part("load").click();
  expect(part("load").getAttribute("aria-disabled")).toBe("true");
  await settle();
  expect([rows().length, text("said"), visible("foot")]).toEqual([2, "1 more", false]);
});

test("more that can't be had is said, and can be tried again", async () => {
  list().hasMore = true;
  await list().show(snapshot("a"));
  list().more.mockRejectedValueOnce(new TypeError("Failed to fetch"));
  part("load").click();
  await settle();
  expect(text("problem")).toBe("That did not reach the server. Try again.");
  part("load").click();
  await settle();
  expect([text("problem"), list().more.mock.calls.length]).toEqual(["", 2]);
});

test("a refusal is an alert, and nothing is listed", async () => {
  await list().show(snapshot("a"));
  list().problem = new Refused({ title: "Invalid", status: 422, detail: "There is no state 'x'." }).problem;
  list().tasks = [];
  await list().say("refused");
  expect([part("problem").getAttribute("role"), text("problem"), rows().length, visible("empty")]).toEqual([
    "alert",
    "There is no state 'x'.",
    0,
    false,
  ]);
});

test("the link is said once for all, and only while a task is followed", async () => {
  await list().show(snapshot("a", { state: "failed" }));
  link = "reconnecting";
  say(link);
  await settle(3);
  expect(visible("link")).toBe(false);
  await list().show(snapshot("b"), snapshot("a", { state: "failed" }));
  await settle(1);
  expect(text("link")).toBe("Reconnecting… the task continues");
  list().failing = true;
  await list().say("read");
  expect(text("link")).toBe("The list can't be read just now; trying again");
});

test("when the row goes that has the focus, the focus goes to the heading", async () => {
  await list().show(snapshot("b"), snapshot("a"));
  (rows()[0]!.shadowRoot!.querySelector(".action") as HTMLElement).focus();
  await list().show(snapshot("a"));
  expect(shadow().activeElement).toBe(part("heading"));
});

test("a task that is started again keeps its row, and its notice is acknowledged again", async () => {
  await list().show(snapshot("a", { state: "failed" }));
  const [row] = rows();
  row!.dispatchEvent(new CustomEvent("petiole-retried", { detail: snapshot("b", { state: "queued" }), bubbles: true }));
  expect(list().replace).toHaveBeenCalledWith("a", snapshot("b", { state: "queued" }));
  await list().show(snapshot("b", { state: "queued" }));
  expect([rows()[0] === row, row!.dataset["id"], row!.hasAttribute("keep-notice")]).toEqual([true, "b", false]);
});

test("it is read again when the page is seen again, and closed with the element", async () => {
  document.dispatchEvent(new Event("visibilitychange"));
  expect(list().refresh).toHaveBeenCalledOnce();
  const { close } = list();
  element.remove();
  await settle();
  expect(close).toHaveBeenCalledOnce();
});

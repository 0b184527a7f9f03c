// @vitest-environment happy-dom
import { afterEach, beforeEach, describe as suite, expect, test, vi } from "vitest";
import { sharedClient } from "../../src/client/shared.js";
import { defineElements } from "../../src/elements/define.js";
import { defineGroup } from "../../src/elements/group/define.js";
import type { PetioleTask } from "../../src/elements/task/task.js";
import type { Child, ChildCounts } from "../../src/protocol/children.js";
import type { Document } from "../../src/protocol/events.js";
import { Refused } from "../../src/protocol/problem.js";
import type { TaskView } from "../../src/tasks/view.js";
import { child, HandView, snapshot } from "../support/hand-view.js";

defineElements();
defineGroup();

let view: HandView;
let element: PetioleTask;

const all = (part: string): HTMLElement[] => [...element.shadowRoot!.querySelectorAll<HTMLElement>(`[part="${part}"]`)];
const part = (name: string): HTMLElement => all(name)[0]!;
const text = (name: string): string => part(name).textContent!.replaceAll("\u00a0", " ");
const names = (): string[] => all("child-name").map((name) => name.textContent!);
const show = (label: string): HTMLElement => all("children-show").find((button) => button.textContent!.startsWith(label))!;

async function settle(seconds = 0.1): Promise<void> {
  await vi.advanceTimersByTimeAsync(seconds * 1000);
}

const NONE: ChildCounts = { queued: 0, running: 0, retrying: 0, succeeded: 0, failed: 0, cancelled: 0, lost: 0, skipped: 0 };

function group(state: NonNullable<Document["state"]>, children: Partial<ChildCounts>, more: Document = {}): Document {
  const counts = { ...NONE, ...children };
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const completed = total - counts.queued - counts.running - counts.retrying;
  const progress = { completed, total, fraction: completed / total, unit: "tasks", children: counts };
  return { state, title: "Thumbnails", progress, ...more };
}

async function shown(document: Document): Promise<void> {
  view.show(document);
  await settle();
}

async function open(): Promise<void> {
  (part("children") as HTMLDetailsElement).open = true;
  part("children").dispatchEvent(new Event("toggle"));
  await settle();
}

async function close(): Promise<void> {
  (part("children") as HTMLDetailsElement).open = false;
  part("children").dispatchEvent(new Event("toggle"));
  await settle();
}

function serve(...children: Child[]): void {
  view.childPage.mockResolvedValue({ children, next: null });
}

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "setTimeout", "clearTimeout", "Date", "performance", "requestAnimationFrame"] });
  view = new HandView();
  element = document.createElement("petiole-task");
  element.view = view as unknown as TaskView;
  document.body.append(element);
  await settle();
});

afterEach(() => {
  element.remove();
  vi.useRealTimers();
  vi.restoreAllMocks();
});

test("the bar has a segment for each kind, as wide as there are children; one progressbar says it in words", async () => {
  const widths = (): string[] => all("segment").filter(({ hidden }) => !hidden).map(({ dataset, style }) => `${dataset["kind"]} ${style.flexGrow}`);
  await shown(group("queued", { queued: 100 }));
  expect(part("segments").hidden).toBe(true);
  await shown(group("running", { queued: 50, running: 5, retrying: 5, succeeded: 20, failed: 8, lost: 2, cancelled: 3, skipped: 7 }));
  expect(part("segments").hidden).toBe(false);
  expect(widths()).toEqual(["done 20", "failed 10", "stopped 10", "running 5", "waiting 55"]);
  expect(all("bar")).toHaveLength(1);
  expect(part("bar").getAttribute("aria-valuetext")!.replaceAll("\u00a0", " ")).toBe("40 %, 40 of 100 tasks, 10 failed");
});

test("a card that shows a task again has nothing of a group", async () => {
  await shown(group("running", { running: 2, failed: 1 }, { error1: { message: "Full." } }));
  expect([part("task").hasAttribute("data-group"), part("error").textContent]).toEqual([true, "Full. "]);
  await shown({ state: "running", title: "Flights" });
  expect([part("task").hasAttribute("data-group"), part("segments").hidden]).toEqual([false, true]);
  expect(element.shadowRoot!.querySelector<HTMLElement>("petiole-group")!.hidden).toBe(true);
});

test("what a group says is text, whatever it looks like", async () => {
  const evil = "<img src=x onerror=alert(1)>";
  serve(child(0, "failed", { error: { message: evil, reference: evil }, links: { self: "javascript:alert(1)" } }));
  await shown(group("failed", { failed: 1 }, { steps: [evil], error1: { message: evil, reference: evil } }));
  await open();
  expect(element.shadowRoot!.querySelector("img, a[href^=javascript]")).toBeNull();
  expect([text("step"), text("child-error"), part("child-name").localName]).toEqual([evil, evil, "span"]);
});

suite("the button after a failure", () => {
  const failed = group("failed", { succeeded: 1, failed: 14 }, { reason: "14 of 15 tasks failed." });

  test("starts those that failed again, in this card, which has a receipt of its own from then on", async () => {
    view.id = "group:1";
    view.links.mockResolvedValue({ retry: "/petiole/tasks/group:1/retry" });
    view.retry.mockImplementation(async () => {
      view.again(group("queued", { queued: 14, succeeded: 1 }, { run: 1 }));
      return { ...snapshot("group:1", view.document), feed: "group:1" };
    });
    const resume = vi.spyOn(sharedClient(), "resume");
    view.receipt = { facts: 9, shown: 9, complete: true, texts: {} };
    await shown(failed);
    await settle(1);
    expect([text("action"), text("receipt")]).toEqual(["Start the 14 that failed again", "9 of 9 events, none missing"]);
    expect([view.acknowledge.mock.calls.length, view.links.mock.calls.length]).toEqual([1, 1]);
    part("action").focus();
    part("action").click();
    await settle();
    expect([text("sentence"), text("action"), part("receipt").hidden]).toEqual(["Waiting for a worker", "Cancel", true]);
    expect([element.shadowRoot!.activeElement, element.view, resume.mock.calls.length]).toEqual([part("action"), view, 0]);
    view.receipt = { facts: 4, shown: 4, complete: true, texts: {} };
    await shown(group("failed", { succeeded: 14, failed: 1 }, { run: 1 }));
    await settle(1);
    expect([text("action"), text("receipt")]).toEqual(["Start the one that failed again", "4 of 4 events, none missing"]);
    expect([view.acknowledge.mock.calls.length, view.links.mock.calls.length]).toEqual([2, 2]);
  });

  test("has a word that fits in a compact card", async () => {
    element.setAttribute("compact", "");
    view.links.mockResolvedValue({ retry: "/petiole/tasks/group:1/retry" });
    await shown(failed);
    await settle(1);
    expect(text("action")).toBe("Retry");
  });
});

suite("the drawer", () => {
  test("reads nothing while it is closed, and then at most every two seconds, if something has changed", async () => {
    serve(child(0, "running", { since: Date.now() - 40_000 }));
    for (let number = 0; number < 30; number += 1) await shown(group("running", { running: 1, queued: 40 - number, succeeded: number }));
    expect(view.childPage).not.toHaveBeenCalled();
    await open();
    expect(view.childPage.mock.calls).toEqual([[{ cursor: null, limit: 100, state: ["running", "retrying"] }]]);
    expect([names(), text("child-sentence")]).toEqual([["Task 1"], "Running for 43 s"]);
    // 6 seconds without a change.
    await settle(6);
    expect(view.childPage).toHaveBeenCalledTimes(1);
    expect(text("child-sentence")).toBe("Running for 49 s");
    // 6 seconds with ten a second.
    for (let number = 0; number < 60; number += 1) await shown(group("running", { running: 1, queued: 100 - number, succeeded: number }));
    expect(view.childPage).toHaveBeenCalledTimes(4);
    await close();
    for (let number = 0; number < 60; number += 1) await shown(group("running", { running: 1, queued: 40, succeeded: number }));
    expect(view.childPage).toHaveBeenCalledTimes(4);
  });

  test("reads nothing while the page is hidden", async () => {
    serve(child(0, "running"));
    await shown(group("running", { running: 1 }));
    await open();
    const visible = vi.spyOn(document, "visibilityState", "get").mockReturnValue("hidden");
    await shown(group("running", { running: 1, succeeded: 1 }));
    await settle(5);
    expect(view.childPage).toHaveBeenCalledTimes(1);
    visible.mockReturnValue("visible");
    await settle(1);
    expect(view.childPage).toHaveBeenCalledTimes(2);
  });

  test("shows what matters, until somebody chooses", async () => {
    const pressed = (): string => all("children-show").find((button) => button.getAttribute("aria-pressed") === "true")!.textContent!;
    await shown(group("running", { running: 1, failed: 2 }));
    await open();
    expect(pressed()).toBe("Running 1");
    await shown(group("failed", { succeeded: 1, failed: 2 }));
    expect(pressed()).toBe("Failed 2");
    await settle(1);
    expect(view.childPage).toHaveBeenLastCalledWith({ cursor: null, limit: 100, state: ["failed", "lost"] });
    show("All").click();
    await settle(1);
    expect(view.childPage).toHaveBeenLastCalledWith({ cursor: null, limit: 100 });
    expect(pressed()).toBe("All 3");
  });

  test("says that nothing is listed, that the server refuses, and that no answer comes; and asks again", async () => {
    await shown(group("running", { running: 1 }));
    await open();
    expect(text("children-note")).toBe("No task is running.");
    view.childPage.mockRejectedValueOnce(new Refused({ title: "No", status: 503, detail: "The journal is away." }));
    show("Failed").click();
    await settle();
    expect(text("children-note")).toBe("The journal is away.");
    view.childPage.mockRejectedValueOnce(new TypeError("Failed to fetch"));
    await settle(2);
    expect(text("children-note")).toBe("The list did not arrive. It is asked for again.");
    serve(child(4, "failed"));
    await settle(2);
    expect([names(), part("children-note").hidden]).toEqual([["Task 5"], true]);
  });

  test("has few rows for many tasks, each with its place", async () => {
    serve(...Array.from({ length: 100 }, (_, number) => child(number, "running")));
    await shown(group("running", { running: 10_000 }));
    await open();
    expect(all("child").length).toBeLessThanOrEqual(60);
    expect([part("child").getAttribute("aria-posinset"), part("child").getAttribute("aria-setsize")]).toEqual(["1", "100"]);
  });

  test("leaves the focus in its row; if that task leaves the list, the list has it", async () => {
    const linked = (number: number): Child => child(number, "running", { links: { self: `/petiole/tasks/${number}` } });
    serve(linked(3), linked(5));
    await shown(group("running", { running: 2 }));
    await open();
    const second = all("child-name")[1]!;
    second.focus();
    serve(linked(5), linked(6));
    await shown(group("running", { running: 2, succeeded: 1 }));
    await settle(3);
    expect([names(), element.shadowRoot!.activeElement]).toEqual([["Task 6", "Task 7"], second]);
    serve(linked(6));
    await shown(group("running", { running: 1, succeeded: 2 }));
    await settle(3);
    expect(element.shadowRoot!.activeElement).toBe(part("children-rows"));
  });

  test("forgets the tasks of another group", async () => {
    serve(child(0, "running"));
    await shown(group("running", { running: 1 }));
    await open();
    const other = new HandView();
    other.document = group("running", { running: 2 });
    other.childPage.mockResolvedValue({ children: [child(7, "running"), child(8, "running")], next: null });
    element.view = other as unknown as TaskView;
    await settle(1);
    expect(names()).toEqual(["Task 8", "Task 9"]);
    element.remove();
    const asked = other.childPage.mock.calls.length;
    other.show(group("running", { running: 1, succeeded: 1 }));
    await settle(5);
    expect(other.childPage.mock.calls.length).toBe(asked);
  });
});

test("a card draws at most ten times a second, however many events come", async () => {
  const draws = vi.spyOn(part("bar"), "setAttribute");
  const before = draws.mock.calls.length;
  for (let second = 0; second < 3; second += 1) {
    for (let ring = 0; ring < 10; ring += 1) {
      // One ring comes twice: the relay's and a reading's.
      view.show(group("running", { running: 1, succeeded: 10 * second + ring }));
      view.show(group("running", { running: 1, succeeded: 10 * second + ring }));
      await settle(0.1);
    }
  }
  const valuetexts = draws.mock.calls.slice(before).filter(([name]) => name === "aria-valuetext").length;
  expect(valuetexts).toBeGreaterThan(20);
  expect(valuetexts).toBeLessThanOrEqual(30);
});

// @vitest-environment happy-dom
import { afterEach, beforeEach, describe as suite, expect, test, vi } from "vitest";
import { sharedClient } from "../../src/client/shared.js";
import { defineElements } from "../../src/elements/define.js";
import type { PetioleTask } from "../../src/elements/task/task.js";
import type { Document } from "../../src/protocol/events.js";
import { Refused } from "../../src/protocol/problem.js";
import type { TaskView } from "../../src/tasks/view.js";
import { HandView, snapshot } from "../support/hand-view.js";

defineElements();

let view: HandView;
let element: PetioleTask;

const part = (name: string): HTMLElement => element.shadowRoot!.querySelector(`[part="${name}"]`)!;
const text = (name: string): string => part(name).textContent!.replaceAll("\u00a0", " ");
const visible = (name: string): boolean => !part(name).hidden;

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "setTimeout", "Date", "requestAnimationFrame"] });
  view = new HandView();
  element = document.createElement("petiole-task");
  element.view = view as unknown as TaskView;
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

async function show(document: Document): Promise<void> {
  view.show(document);
  await settle();
}

const running = (completed: number, total: number | null, run = 1): Document => ({
  state: "running",
  title: "Flights",
  run,
  progress: { completed, total, unit: "rows", fraction: total ? completed / total : null },
});

test("a running task has a named bar with a value in words, and a cancel button", async () => {
  await show(running(451_200, 1_000_000));
  const bar = part("bar");
  expect(text("title")).toBe("Flights");
  expect(text("sentence")).toBe("451,200 of 1,000,000 rows");
  expect(bar.getAttribute("role")).toBe("progressbar");
  expect(element.shadowRoot!.getElementById(bar.getAttribute("aria-labelledby")!)).toBe(part("title"));
  expect(bar.getAttribute("aria-valuenow")).toBe("45");
  expect(bar.getAttribute("aria-valuetext")).toContain("451,200 of 1,000,000 rows");
  part("action").click();
  expect(view.cancel.mock.calls).toEqual([[{ force: false }]]);
});

test("while the total is unknown the bar has no value", async () => {
  await show(running(10, null));
  expect(part("bar").hasAttribute("aria-valuenow")).toBe(false);
  expect(text("sentence")).toMatch(/^Counting rows…/);
});

test("within a run the bar never goes back; a new run begins anew", async () => {
  await show(running(80, 100));
  await show(running(80, 200));
  expect(part("bar").getAttribute("aria-valuenow")).toBe("80");
  await show(running(10, 200, 2));
  expect(part("bar").getAttribute("aria-valuenow")).toBe("5");
  expect(text("sentence")).toBe("Run 2 · 10 of 200 rows");
});

test("a total that was exceeded and is then corrected leaves no 100 % behind", async () => {
  await show(running(12, 10));
  expect(part("bar").hasAttribute("aria-valuenow")).toBe(false);
  expect(text("sentence")).toBe("12 rows (expected 10)");
  await show(running(12, 24));
  expect(part("bar").getAttribute("aria-valuenow")).toBe("50");
});

test("when it has succeeded the bar makes room for the link, with a receipt", async () => {
  await show(running(99, 100));
  view.receipt = { facts: 1204, shown: 1204, complete: true, texts: {} };
  const ends = vi.fn();
  document.addEventListener("petiole-end", ends, { once: true });
  await show({ state: "succeeded", title: "Flights", artifacts: [{ name: "a.csv", url: "/files/a.csv", size: 1500 }] });
  expect(visible("bar")).toBe(false);
  expect((part("download") as HTMLAnchorElement).getAttribute("href")).toMatch(/\/files\/a\.csv$/);
  expect(text("receipt")).toBe("1,204 of 1,204 events, none missing");
  expect(visible("action")).toBe(false);
  expect(ends).toHaveBeenCalledOnce();
});

test.each(["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "https://[", 7])(
  "an address like %s is no download",
  async (url) => {
    await show({ state: "succeeded", artifacts: [{ url: url as string }] });
    expect(visible("download")).toBe(false);
    expect(visible("bar")).toBe(true);
  },
);

test("data is text, whatever it looks like", async () => {
  const evil = "<img src=x onerror=alert(1)>";
  await show({ ...running(1, 2), title: evil, progress: { completed: 1, total: 2, unit: evil, description: evil } });
  expect(text("title")).toBe(evil);
  expect(element.shadowRoot!.querySelector("img")).toBeNull();
  expect(element.shadowRoot!.querySelector("style")).toBeNull();
});

test("failure is an alert with its reference", async () => {
  const alert = part("failure");
  expect(alert.getAttribute("role")).toBe("alert");
  expect(alert.textContent).toBe("");
  await show({ state: "failed", title: "Flights", error: { message: "The disk is full.", reference: "7F3A" } });
  expect(part("failure")).toBe(alert);
  expect(text("failure")).toBe("The disk is full. Reference 7F3A");
  expect(text("said")).not.toContain("disk");
});

test("the status line says the start and the end", async () => {
  await show(running(0, 100));
  expect(part("said").getAttribute("role")).toBe("status");
  expect(text("said")).toBe("Flights: 0 of 100 rows");
  await show({ ...running(100, 100), state: "succeeded" });
  expect(text("said")).toBe("Flights: Finished. 100 rows");
});

test("the link has a line of its own, after two seconds", async () => {
  await show(running(1, 100));
  expect(visible("link")).toBe(false);
  view.link = "reconnecting";
  await settle(3);
  expect(text("link")).toBe("Reconnecting… the task continues");
  expect(text("sentence")).toBe("1 of 100 rows");
});

test("a cancel that fails is said", async () => {
  await show(running(1, 100));
  view.cancel.mockRejectedValueOnce(new TypeError("Failed to fetch"));
  part("action").click();
  await settle();
  expect(text("detail")).toBe("Cancelling did not reach the server. Try again.");
});

test("while the cancel button has the focus it is not taken away", async () => {
  await show(running(1, 100));
  part("action").focus();
  await show({ ...running(1, 100), state: "cancelled" });
  expect(visible("action")).toBe(true);
  expect(part("action").getAttribute("aria-disabled")).toBe("true");
  part("action").blur();
  await settle();
  expect(visible("action")).toBe(false);
});

test("a view of one's own is not closed when another one is set", async () => {
  element.view = new HandView() as unknown as TaskView;
  await settle();
  expect(view.close).not.toHaveBeenCalled();
});

test("a view of one's own is not closed by the element, and label is the title", async () => {
  element.setAttribute("label", "My export");
  await show(running(1, 100));
  expect(text("title")).toBe("My export");
  element.remove();
  await settle();
  expect(view.close).not.toHaveBeenCalled();
});

suite("the notice", () => {
  let state: DocumentVisibilityState;
  const look = async (next: DocumentVisibilityState): Promise<void> => {
    state = next;
    document.dispatchEvent(new Event("visibilitychange"));
    await settle();
  };

  beforeEach(() => {
    state = "visible";
    vi.spyOn(document, "visibilityState", "get").mockImplementation(() => state);
  });

  afterEach(() => vi.restoreAllMocks());

  test("a visible page that shows the end acknowledges it, once", async () => {
    await show(running(1, 2));
    expect(view.acknowledge).not.toHaveBeenCalled();
    await show({ state: "failed", title: "Flights" });
    await settle(3);
    expect(view.acknowledge).toHaveBeenCalledOnce();
  });

  test("a hidden page does so when it is seen", async () => {
    await look("hidden");
    await show({ state: "succeeded" });
    await settle(3);
    expect(view.acknowledge).not.toHaveBeenCalled();
    await look("visible");
    await look("hidden");
    await look("visible");
    expect(view.acknowledge).toHaveBeenCalledOnce();
  });

  test("an element that isn't rendered does so when it is", async () => {
    const rendered = vi.fn(() => false);
    element.checkVisibility = rendered;
    await show({ state: "succeeded" });
    await settle(3);
    expect(view.acknowledge).not.toHaveBeenCalled();
    rendered.mockReturnValue(true);
    await settle(1);
    expect(view.acknowledge).toHaveBeenCalledOnce();
  });

  test("keep-notice leaves it in the inbox", async () => {
    element.setAttribute("keep-notice", "");
    await show({ state: "succeeded" });
    await settle(3);
    expect(view.acknowledge).not.toHaveBeenCalled();
  });

  test("that it can't be acknowledged is no error of the page", async () => {
    view.acknowledge.mockRejectedValueOnce(new Error("of the server"));
    await show({ state: "succeeded" });
    expect(text("sentence")).toBe("Finished");
  });
});

test("a task that doesn't stop can be stopped by force, by the same button", async () => {
  const stopping: Document = { ...running(1, 2), state: "cancelling", forcible: true };
  await show(stopping);
  expect([text("action"), part("action").getAttribute("aria-disabled")]).toEqual(["Cancel", "true"]);
  part("action").focus();
  await show({ ...stopping, force_after: Date.now() + 2000 });
  part("action").click();
  expect(view.cancel).not.toHaveBeenCalled();
  expect(text("sentence")).toBe("Stopping…");
  await settle(3);
  expect([text("action"), part("action").getAttribute("aria-disabled")]).toEqual(["Force stop", null]);
  expect(element.shadowRoot!.activeElement).toBe(part("action"));
  expect(text("said")).toMatch(/Force stop is possible/);
  view.cancel.mockRejectedValueOnce(new TypeError("Failed to fetch"));
  part("action").click();
  await settle();
  expect(text("detail")).toBe("Force stop did not reach the server. Try again.");
  part("action").click();
  await settle();
  expect(view.cancel.mock.calls).toEqual([[{ force: true }], [{ force: true }]]);
  await show({ ...stopping, force_after: Date.now(), forced: true });
  expect([text("action"), part("action").getAttribute("aria-disabled")]).toEqual(["Force stop", "true"]);
  expect(text("sentence")).toBe("Stopping by force…");
});

test("a later run says why it began", async () => {
  await show({ ...running(0, 100, 2), reason: "database unavailable" });
  expect(text("detail")).toBe("Run 2, started again: database unavailable");
  expect(text("said")).toBe("Flights: Run 2, started again: database unavailable");
});

test("a task that can't be is said, not thrown", async () => {
  const other = document.createElement("petiole-task");
  other.setAttribute("task", "not a task");
  document.body.append(other);
  await settle();
  expect(other.shadowRoot!.querySelector('[role="alert"]')!.textContent).toContain("not a task's id");
  other.remove();
});

suite("starting again", () => {
  const offered = { retry: "/petiole/tasks/1/retry" };
  const failed: Document = { state: "failed", title: "Flights", error: { message: "The disk is full." } };

  test.each([
    [failed, "Retry"],
    [{ state: "lost" } as Document, "Retry"],
    [{ state: "cancelled" } as Document, "Start again"],
    [{ state: "succeeded", artifacts: [{ name: "a.csv", url: "/a.csv", expires_at: 1 }] } as Document, "Export again"],
  ])("is offered where the server can do it: %j", async (ended, words) => {
    view.links.mockResolvedValue(offered);
    await show(ended);
    expect([visible("action"), text("action"), part("action").getAttribute("aria-disabled")]).toEqual([true, words, "true"]);
    await settle(3);
    expect(part("action").getAttribute("aria-disabled")).toBeNull();
    expect(view.links).toHaveBeenCalledOnce();
  });

  test("is not offered where the server can't, and asked about again where it did not answer", async () => {
    view.links.mockRejectedValueOnce(new TypeError("Failed to fetch"));
    await show(failed);
    await settle(3);
    expect([visible("action"), view.links.mock.calls.length]).toEqual([false, 1]);
    await settle(5);
    expect([visible("action"), view.links.mock.calls.length]).toEqual([false, 2]);
  });

  test("puts the new task in the place of the old one, and says so", async () => {
    view.links.mockResolvedValue(offered);
    const resumed = new HandView();
    vi.spyOn(sharedClient(), "resume").mockReturnValue(resumed as unknown as TaskView);
    const retried = vi.fn();
    document.addEventListener("petiole-retried", retried, { once: true });
    await show(failed);
    await settle(1);
    part("action").focus();
    part("action").click();
    await settle();
    resumed.show({ state: "queued", title: "Flights" });
    await settle();
    expect(retried.mock.calls[0]![0].detail).toMatchObject({ id: "2" });
    expect([text("sentence"), text("action"), text("failure")]).toEqual(["Waiting for a worker", "Cancel", ""]);
    expect(element.shadowRoot!.activeElement).toBe(part("action"));
    vi.restoreAllMocks();
  });

  test("is left to a page that prevents it, which may offer it by itself", async () => {
    element.setAttribute("retry", "");
    await show(failed);
    await settle(1);
    const wanted = vi.fn((event: Event) => event.preventDefault());
    document.addEventListener("petiole-retry", wanted, { once: true });
    part("action").click();
    await settle();
    expect(wanted).toHaveBeenCalledOnce();
    expect(view.retry).not.toHaveBeenCalled();
  });

  test("that is refused is said", async () => {
    view.links.mockResolvedValue(offered);
    view.retry.mockRejectedValueOnce(new Refused({ title: "No", status: 409, detail: "It can't be repeated." }));
    await show(failed);
    await settle(1);
    part("action").click();
    await settle();
    expect(text("detail")).toBe("It can't be repeated.");
    expect(part("action").getAttribute("aria-disabled")).toBeNull();
  });

  test("needs a click of its own: the second one of a double click on Cancel is none", async () => {
    view.links.mockResolvedValue(offered);
    await show(running(1, 100));
    part("action").click();
    await show({ ...running(1, 100), state: "cancelled" });
    part("action").click();
    await settle(1);
    expect(view.retry).not.toHaveBeenCalled();
    part("action").click();
    expect(view.retry).toHaveBeenCalledOnce();
  });
});

suite("the log", () => {
  let history: HandView;
  const lines = (): string[] =>
    [...element.shadowRoot!.querySelectorAll(".log-text")].map((line) => line.textContent!.replaceAll("\u00a0", " "));
  const open = async (): Promise<void> => {
    history = new HandView();
    view.history.mockReturnValue(history);
    (part("log") as HTMLDetailsElement).open = true;
    part("log").dispatchEvent(new Event("toggle"));
    await settle();
  };

  test("is read when it is opened, from the first fact on, and is no live region", async () => {
    await show(running(1, 100));
    expect(view.history).not.toHaveBeenCalled();
    await open();
    history.say({ kind: "state", patch: { state: "queued" } });
    history.say({ kind: "stage", progress: { stage: "Writing rows" } });
    history.say({ kind: "counter" });
    history.say({ kind: "log", data: { level: "warning", message: "<b>slow</b>" } });
    await settle();
    expect(lines()).toEqual(["Queued", "Writing rows", "⚠ <b>slow</b>"]);
    expect(visible("log-note")).toBe(false);
    expect(part("log").querySelector("b")).toBeNull();
    expect(part("log").closest("[aria-live], [role=log], [role=status]")).toBeNull();
  });

  test("keeps the newest lines, and says that it does", async () => {
    await show(running(1, 100));
    await open();
    for (let number = 1; number <= 450; number += 1) history.say({ kind: "log", data: { message: `line ${number}` } });
    await settle();
    history.say({ kind: "log", data: { message: "the last" } });
    await settle();
    expect([lines().length, lines().at(0), lines().at(-1)]).toEqual([200, "line 252", "the last"]);
    expect(text("log-note")).toContain("newest 200 lines");
  });

  test("begins anew where earlier facts are not kept, and is closed with the element", async () => {
    await show(running(1, 100));
    await open();
    history.say({ kind: "log", data: { message: "before" } });
    history.lose();
    history.say({ kind: "log", data: { message: "after" } });
    await settle();
    expect(lines()).toEqual(["after"]);
    expect(text("log-note")).toBe("2,400 earlier lines are not kept any more.");
    for (let number = 1; number <= 250; number += 1) history.say({ kind: "log", data: { message: `line ${number}` } });
    await settle();
    expect(text("log-note")).toBe("2,400 earlier lines are not kept any more. Only the newest 200 lines are shown.");
    element.remove();
    await settle();
    expect(history.close).toHaveBeenCalledOnce();
  });
});

suite("a receipt", () => {
  test("of which nothing is missing stands in the log", async () => {
    view.receipt = { facts: 7, shown: 7, complete: true, texts: {} };
    await show({ state: "succeeded", title: "Flights" });
    expect(text("receipt")).toBe("7 of 7 events, none missing");
    expect(part("receipt").closest("details")).toBe(part("log"));
  });

  test("that is incomplete stands in sight", async () => {
    view.receipt = { facts: 7, shown: 5, complete: false, texts: {} };
    await show({ state: "succeeded", title: "Flights" });
    expect(text("receipt")).toBe("5 of 7 events; earlier ones were read as a summary");
    expect(part("receipt").closest("details")).toBeNull();
  });
});

suite("a compact card", () => {
  const toggled = (): boolean => part("log").dispatchEvent(new Event("toggle"));

  test("has a button for the rest, which says whether it is open", async () => {
    await show(running(1, 2));
    const more = part("more");
    expect([more.getAttribute("aria-label"), more.getAttribute("aria-expanded")]).toEqual(["Details", "false"]);
    more.click();
    toggled();
    await settle();
    expect([more.getAttribute("aria-expanded"), view.history.mock.calls.length]).toEqual(["true", 1]);
    more.click();
    toggled();
    expect(more.getAttribute("aria-expanded")).toBe("false");
  });

  test("says when it ended", async () => {
    await show(running(1, 2));
    expect(visible("age")).toBe(false);
    await show({ state: "cancelled", title: "Flights", finished_at: Date.now() - 300_000 });
    expect(text("age")).toBe("5 min ago");
  });
});

test("log-open opens the log, and its end closes it", async () => {
  element.setAttribute("log-open", "");
  expect((part("log") as HTMLDetailsElement).open).toBe(true);
  element.removeAttribute("log-open");
  expect((part("log") as HTMLDetailsElement).open).toBe(false);
  const other = document.createElement("petiole-task");
  other.setAttribute("log-open", "");
  document.body.append(other);
  expect(other.shadowRoot!.querySelector("details")!.open).toBe(true);
  other.remove();
});

test("a file that is gone is said, without a bar", async () => {
  await show({ state: "succeeded", title: "Flights", artifacts: [{ name: "a.csv", url: "/a.csv", expires_at: Date.UTC(2026, 0, 2) }] });
  expect([visible("bar"), visible("download"), text("sentence")]).toEqual([false, false, "File removed on 2 Jan"]);
});

test("a snapshot can be given as an attribute, by a server that renders the page", async () => {
  const resume = vi.spyOn(sharedClient(), "resume").mockReturnValue(view as unknown as TaskView);
  const other = document.createElement("petiole-task");
  other.setAttribute("snapshot", JSON.stringify(snapshot("7", { state: "queued" })));
  document.body.append(other);
  await settle();
  expect(resume).toHaveBeenCalledWith(expect.objectContaining({ id: "7" }), { texts: true });
  other.remove();
  vi.restoreAllMocks();
});

test("what only a group's card has is loaded with the first group", async () => {
  await show(running(1, 2));
  expect(customElements.get("petiole-group")).toBeUndefined();
  const children = { queued: 1, running: 1, retrying: 0, succeeded: 2, failed: 0, cancelled: 0, lost: 0, skipped: 0 };
  await show({ state: "running", title: "Thumbnails", progress: { completed: 2, total: 4, children } });
  await vi.waitFor(() => expect(part("segments").children.length).toBeGreaterThan(0));
});

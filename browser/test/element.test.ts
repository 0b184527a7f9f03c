// @vitest-environment happy-dom
import { afterEach, beforeEach, describe as suite, expect, test, vi } from "vitest";
import type { Document, Problem } from "../src/events.js";
import { defineElements } from "../src/elements/define.js";
import type { PetioleTask } from "../src/elements/task.js";
import { Emitter } from "../src/emitter.js";
import type { LinkState } from "../src/link.js";
import type { TaskView, ViewEvents } from "../src/view.js";

defineElements();

/** A view that a test sets by hand: the element only reads it. */
class HandView {
  readonly #events = new Emitter<ViewEvents>();
  document: Document = {};
  link: LinkState = "live";
  receipt = { facts: 0, shown: 0, complete: true };
  ended = false;
  closed = false;
  problem: Problem | null = null;
  cancel = vi.fn(async (_options?: { force?: boolean }) => this.document);
  acknowledge = vi.fn(async () => undefined);
  close = vi.fn();

  get moment(): { now: number } {
    return { now: Date.now() };
  }

  on<Name extends keyof ViewEvents>(name: Name, listener: (...values: ViewEvents[Name]) => void): () => void {
    return this.#events.on(name, listener);
  }

  show(document: Document): void {
    this.document = document;
    this.#events.emit("change", document);
    if (["succeeded", "failed", "cancelled", "lost"].includes(document.state ?? "")) {
      this.ended = true;
      this.#events.emit("end", this.receipt);
    }
  }
}

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
  part("cancel").click();
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

test("when it has succeeded the bar makes room for the link, with a receipt", async () => {
  await show(running(99, 100));
  view.receipt = { facts: 1204, shown: 1204, complete: true };
  const ends = vi.fn();
  document.addEventListener("petiole-end", ends, { once: true });
  await show({ state: "succeeded", title: "Flights", artifacts: [{ name: "a.csv", url: "/files/a.csv", size: 1500 }] });
  expect(visible("bar")).toBe(false);
  expect((part("download") as HTMLAnchorElement).getAttribute("href")).toMatch(/\/files\/a\.csv$/);
  expect(text("receipt")).toBe("1,204 of 1,204 events, none missing");
  expect(visible("cancel")).toBe(false);
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
  part("cancel").click();
  await settle();
  expect(text("detail")).toBe("Cancelling did not reach the server. Try again.");
});

test("while the cancel button has the focus it is not taken away", async () => {
  await show(running(1, 100));
  part("cancel").focus();
  await show({ ...running(1, 100), state: "cancelled" });
  expect(visible("cancel")).toBe(true);
  expect(part("cancel").getAttribute("aria-disabled")).toBe("true");
  part("cancel").blur();
  await settle();
  expect(visible("cancel")).toBe(false);
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
  expect([text("cancel"), part("cancel").getAttribute("aria-disabled")]).toEqual(["Cancel", "true"]);
  part("cancel").focus();
  await show({ ...stopping, force_after: Date.now() + 2000 });
  part("cancel").click();
  expect(view.cancel).not.toHaveBeenCalled();
  expect(text("sentence")).toBe("Stopping…");
  await settle(3);
  expect([text("cancel"), part("cancel").getAttribute("aria-disabled")]).toEqual(["Force stop", null]);
  expect(element.shadowRoot!.activeElement).toBe(part("cancel"));
  expect(text("said")).toMatch(/Force stop is possible/);
  view.cancel.mockRejectedValueOnce(new TypeError("Failed to fetch"));
  part("cancel").click();
  await settle();
  expect(text("detail")).toBe("Force stop did not reach the server. Try again.");
  part("cancel").click();
  await settle();
  expect(view.cancel.mock.calls).toEqual([[{ force: true }], [{ force: true }]]);
  await show({ ...stopping, force_after: Date.now(), forced: true });
  expect([text("cancel"), part("cancel").getAttribute("aria-disabled")]).toEqual(["Force stop", "true"]);
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

// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { TaskClient } from "../../src/client/client.js";
import { defineElements } from "../../src/elements/define.js";
import type { PetioleInbox } from "../../src/elements/inbox/inbox.js";
import type { InboxEvents } from "../../src/inbox/inbox.js";
import { count, type Notice, noticesOf, without } from "../../src/inbox/notices.js";
import { Emitter } from "../../src/link/emitter.js";
import type { LinkState } from "../../src/link/link.js";
import type { Document } from "../../src/protocol/events.js";
import type { Problem } from "../../src/protocol/problem.js";

defineElements();

const NOW = Date.UTC(2025, 10, 24, 12);

/** An inbox that a test sets by hand: the element only reads it. */
class HandInbox {
  readonly #events = new Emitter<InboxEvents>();
  feed: string | null = null;
  document: Document = {};
  link: LinkState = "reconnecting";
  reading = true;
  problem: Problem | null = null;
  now = NOW;
  close = vi.fn();
  acknowledge = vi.fn(async (tasksOrAll: readonly string[] | "all") => {
    const all = tasksOrAll === "all";
    this.set(without(this.document, (task) => all || tasksOrAll.includes(task), all ? Infinity : 0));
  });

  get notices(): Notice[] {
    return noticesOf(this.document);
  }

  get unread(): number {
    return count(this.document, "unread");
  }

  get earlier(): number {
    return count(this.document, "earlier");
  }

  on<Name extends keyof InboxEvents>(name: Name, listener: (...values: InboxEvents[Name]) => void): () => void {
    return this.#events.on(name, listener);
  }

  emit<Name extends keyof InboxEvents>(name: Name, ...values: InboxEvents[Name]): void {
    this.#events.emit(name, ...values);
  }

  set(document: Document): void {
    this.document = document;
    this.emit("change", document);
  }

  /** The first answer, or the one after a pause. */
  async answer(document: Document): Promise<void> {
    this.feed = "user:0123";
    this.link = "live";
    this.reading = false;
    this.set(document);
    this.emit("read");
    await settle();
  }

  async add(id: string, notice: Partial<Notice> = {}): Promise<void> {
    this.set({ ...this.document, [`task:${id}`]: full(notice), unread: this.unread + 1 });
    await settle();
  }
}

let inbox: HandInbox;
let element: PetioleInbox;
let visibility: DocumentVisibilityState;

const shadow = (): ShadowRoot => element.shadowRoot!;
const part = (name: string): HTMLElement => shadow().querySelector(`[part="${name}"]`)!;
const parts = (name: string): HTMLElement[] => [...shadow().querySelectorAll<HTMLElement>(`[part="${name}"]`)];
const plain = (node: Node): string => node.textContent!.replaceAll("\u00a0", " ");
const text = (name: string): string => plain(part(name));
const visible = (name: string): boolean => !part(name).hidden;
const titles = (): string[] => parts("title").map(plain);

const full = (notice: Partial<Notice> = {}): Partial<Notice> => ({ title: "Flights", state: "succeeded", at: NOW, ...notice });
const box = (notices: Record<string, Partial<Notice>>, earlier = 0): Document => ({
  ...Object.fromEntries(Object.entries(notices).map(([id, notice]) => [`task:${id}`, full(notice)])),
  unread: Object.keys(notices).length + earlier,
  earlier,
});

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "setTimeout", "Date", "requestAnimationFrame"], now: NOW });
  visibility = "visible";
  vi.spyOn(document, "visibilityState", "get").mockImplementation(() => visibility);
  inbox = new HandInbox();
  element = document.createElement("petiole-inbox");
  element.client = { inbox: () => inbox } as unknown as TaskClient;
  document.body.append(element);
  await settle();
});

afterEach(() => {
  element.remove();
  vi.restoreAllMocks();
  vi.useRealTimers();
});

async function settle(seconds = 0.1): Promise<void> {
  await vi.advanceTimersByTimeAsync(seconds * 1000);
}

async function look(state: DocumentVisibilityState): Promise<void> {
  visibility = state;
  document.dispatchEvent(new Event("visibilitychange"));
  await settle();
}

test("an empty inbox says so quietly", async () => {
  expect(text("empty")).toBe("Looking…");
  await inbox.answer(box({}));
  expect(text("empty")).toMatch(/^Nothing new\./);
  expect([visible("summary"), visible("all"), visible("list"), visible("count")]).toEqual([false, false, false, false]);
  expect(text("said")).toBe("");
});

test("a first look has one line about what came before, and the newest first", async () => {
  await inbox.answer(
    box({
      a: { at: NOW - 300_000, title: "Planes" },
      b: { at: NOW - 10_000, state: "failed", reason: "The disk is full." },
      c: { at: NOW - 7_200_000, title: "Weather" },
    }),
  );
  expect(text("heading")).toBe("Inbox 3 unread");
  expect(text("summary")).toBe("While you were away: 2 finished, 1 failed");
  expect(text("said")).toBe("While you were away: 2 finished, 1 failed");
  expect(titles()).toEqual(["Flights", "Planes", "Weather"]);
  expect(parts("sentence").map(plain)).toEqual([
    "Failed · just now",
    "Finished · 5 min ago",
    "Finished · 2 h ago",
  ]);
  expect(parts("reason").map(plain)).toEqual(["The disk is full.", "", ""]);
  expect(part("time").getAttribute("datetime")).toBe("2025-11-24T11:59:50.000Z");
});

test("more than the list has is a number", async () => {
  await inbox.answer(box({ a: {} }, 1203));
  expect(text("summary")).toBe("While you were away: 1,204 tasks ended");
  expect(text("earlier")).toBe("and 1,203 earlier");
  inbox.set(box({}, 1203));
  await settle();
  expect(text("earlier")).toBe("1,203 earlier");
  expect(visible("empty")).toBe(false);
});

test("what comes while somebody looks is said one by one, and is no summary", async () => {
  await inbox.answer(box({}));
  expect(part("said").getAttribute("role")).toBe("status");
  await inbox.add("a");
  expect(text("said")).toBe("1 new: Flights, finished");
  inbox.set(box({ a: {}, b: { state: "lost" }, c: {} }));
  await settle();
  expect(text("said")).toBe("2 new: 1 finished, 1 lost");
  expect(visible("summary")).toBe(false);
  inbox.set(box({ d: {} }, 40));
  await settle();
  expect(text("said")).toBe("38 new");
});

test("what came while the page was hidden is one line, once it is all here", async () => {
  await inbox.answer(box({ a: { state: "failed" } }));
  await look("hidden");
  await inbox.add("b");
  expect(text("summary")).toBe("While you were away: 1 failed");
  inbox.reading = true;
  await look("visible");
  expect(text("summary")).toBe("While you were away: 1 failed");
  await inbox.answer(box({ a: { state: "failed" }, b: {}, c: {} }));
  expect(text("summary")).toBe("While you were away: 2 finished");
  expect(text("said")).toBe("While you were away: 2 finished");
  inbox.set(box({ a: {} }));
  await settle();
  expect(visible("summary")).toBe(false);
});

test("a thousand changes are rendered once", async () => {
  await inbox.answer(box({}));
  const said = vi.fn();
  new MutationObserver(said).observe(part("said"), { childList: true });
  for (let number = 0; number < 1000; number += 1) inbox.set(box({ [`t${number}`]: {}, other: {} }, number));
  await settle();
  expect(titles()).toHaveLength(2);
  expect(said).toHaveBeenCalledTimes(1);
});

test("a dismissed notice is gone at once, and the next one has the focus", async () => {
  await inbox.answer(box({ a: { at: 3, title: "A" }, b: { at: 2, title: "B" }, c: { at: 1, title: "C" } }));
  const changes = vi.fn();
  document.addEventListener("petiole-inbox-change", changes, { once: true });
  const [, second] = parts("dismiss");
  second!.focus();
  second!.click();
  expect(inbox.acknowledge).toHaveBeenCalledWith(["b"]);
  expect(changes.mock.calls[0]![0].detail).toMatchObject({ unread: 2 });
  expect(titles()).toEqual(["A", "C"]);
  expect(shadow().activeElement?.getAttribute("aria-label")).toBe("Dismiss C");
  (shadow().activeElement as HTMLElement).click();
  expect(shadow().activeElement?.getAttribute("aria-label")).toBe("Dismiss A");
  (shadow().activeElement as HTMLElement).click();
  expect(shadow().activeElement).toBe(part("heading"));
  await settle();
  expect(text("empty")).toMatch(/^Nothing new/);
});

test("a notice that goes or comes elsewhere leaves the focus alone", async () => {
  await inbox.answer(box({ a: { at: 3 }, b: { at: 2, title: "B" } }));
  inbox.set(box({ b: { at: 2, title: "B" } }));
  await settle();
  expect(shadow().activeElement).toBeNull();
  part("dismiss").focus();
  const row = part("notice");
  await inbox.add("c", { at: 4 });
  expect(shadow().activeElement?.getAttribute("aria-label")).toBe("Dismiss B");
  expect(parts("notice")[1]).toBe(row);
});

test("all is dismissed with one button, and the focus is on the heading", async () => {
  await inbox.answer(box({ a: {} }, 70));
  part("all").focus();
  part("all").click();
  expect(inbox.acknowledge).toHaveBeenCalledWith("all");
  expect(titles()).toEqual([]);
  expect(shadow().activeElement).toBe(part("heading"));
});

test("a refusal is an alert, and what comes back is no news", async () => {
  await inbox.answer(box({}));
  await inbox.add("a");
  inbox.acknowledge.mockImplementationOnce(async () => inbox.set(box({})));
  part("dismiss").click();
  await settle();
  inbox.set(box({ a: {} }));
  inbox.emit("undone", { title: "Forbidden", status: 403, detail: "You may not." });
  await settle();
  expect(part("problem").getAttribute("role")).toBe("alert");
  expect(text("problem")).toBe("That could not be dismissed. You may not.");
  expect(text("said")).toBe("1 new: Flights, finished");
  expect(titles()).toEqual(["Flights"]);
});

test("an inbox that is refused says why", async () => {
  await inbox.answer(box({}));
  inbox.problem = { title: "Not found", status: 404, detail: "There is no such inbox." };
  inbox.emit("refused", inbox.problem);
  await settle();
  expect(text("problem")).toBe("There is no such inbox.");
  expect(visible("empty")).toBe(false);
});

test("a file can be downloaded while it is kept and its address is safe", async () => {
  await inbox.answer(
    box({
      a: { at: 4, artifact: { name: "a.csv", url: "/files/a", expires_at: NOW + 60_000 } },
      b: { at: 3, artifact: { url: "/files/b", expires_at: NOW - 1 } },
      c: { at: 2, artifact: { url: "javascript:alert(1)" } },
      d: { at: 1 },
    }),
  );
  const links = parts("download") as HTMLAnchorElement[];
  expect(links.map((link) => link.hidden)).toEqual([false, true, true, true]);
  expect(links[0]!.getAttribute("href")).toMatch(/\/files\/a$/);
  expect(links[0]!.getAttribute("aria-label")).toBe("Download a.csv");
  expect(links[2]!.hasAttribute("href")).toBe(false);
  inbox.now = NOW + 60_000;
  await settle(15);
  expect(links[0]!.hidden).toBe(true);
});

test("titles are links where the page says where tasks are", async () => {
  await inbox.answer(box({ "a@1": {} }));
  expect(part("title").localName).toBe("span");
  element.setAttribute("href-template", "/exports/{id}");
  await settle();
  expect(part("title").getAttribute("href")).toMatch(/\/exports\/a%401$/);
  element.setAttribute("href-template", "javascript:alert('{id}')");
  await settle();
  expect(part("title").localName).toBe("span");
});

test("data is text, whatever it looks like, and a reason is of what failed", async () => {
  const evil = "<img src=x onerror=alert(1)>";
  await inbox.answer(box({ a: { title: evil, reason: evil, state: "failed", at: 2 }, b: { reason: "an old one", at: 1 } }));
  expect(titles()[0]).toBe(evil);
  expect(parts("reason").map(plain)).toEqual([evil, ""]);
  expect(shadow().querySelector("img")).toBeNull();
  expect(shadow().querySelector("style")).toBeNull();
});

test("the link has a line of its own", async () => {
  await inbox.answer(box({}));
  expect(visible("link")).toBe(false);
  inbox.link = "offline";
  inbox.emit("link", "offline");
  await settle();
  expect(text("link")).toBe("You are offline; we will catch up");
});

test("an element that goes closes its inbox", async () => {
  element.remove();
  await settle();
  expect(inbox.close).toHaveBeenCalledOnce();
});

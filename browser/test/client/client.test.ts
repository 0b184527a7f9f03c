import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { TaskClient } from "../../src/client/client.js";
import type { Event } from "../../src/protocol/events.js";
import { Refused } from "../../src/protocol/problem.js";
import type { TaskView } from "../../src/tasks/view.js";
import { TestServer } from "../support/server.js";

const FEED = "task:1";
const WITHIN = { timeout: 5000, interval: 5 };

let server: TestServer;
let url: string;
let client: TaskClient;

beforeEach(async () => {
  server = new TestServer();
  url = await server.open();
  client = new TaskClient({
    url,
    timing: { reconnectFirst: 0.05, fallbackAfter: 0.3, pollEvery: 0.05, answerWithin: 0.2, idleAfter: 0.05 },
  });
});

afterEach(async () => {
  client.close();
  await server.close();
});

/** The ids of the facts that the view emits, in order. */
function facts(view: TaskView): string[] {
  const seen: string[] = [];
  view.on("event", (event: Event) => {
    if (event.kind !== "counter") seen.push(event.id);
  });
  return seen;
}

const live = (): Promise<void> => vi.waitFor(() => expect(client.link).toBe("live"), WITHIN);

test("a task is followed from its start to its end, with a complete receipt", async () => {
  const journal = server.journal(FEED);
  const first = journal.state("queued");
  const view = client.watch("1");
  const seen = facts(view);
  const changes = vi.fn();
  const ends = vi.fn();
  view.on("change", changes);
  view.on("end", ends);
  await vi.waitFor(() => expect(seen).toEqual([first.id]), WITHIN);
  const rest = [journal.state("running"), journal.fact("log")];
  server.ring(...rest, journal.counter(50));
  await vi.waitFor(() => expect(view.progress?.completed).toBe(50), WITHIN);
  const end = journal.state("succeeded");
  server.ring(end);
  await vi.waitFor(() => expect(ends).toHaveBeenCalledOnce(), WITHIN);
  expect(seen).toEqual([first, ...rest, end].map((event) => event.id));
  expect(ends).toHaveBeenCalledWith({ facts: 4, shown: 4, complete: true, texts: {} });
  expect(view).toMatchObject({ ended: true, document: journal.document });
  expect(changes).toHaveBeenCalledTimes(5);
  await vi.waitFor(() => expect(server.connections).toBe(0), WITHIN);
  expect(server.unwatched).toEqual([FEED]);
});

test("on returns its undo, and a listener that throws stops nobody", async () => {
  const errors: unknown[] = [];
  const catcher = (error: unknown): number => errors.push(error);
  const others = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException").on("uncaughtException", catcher);
  const journal = server.journal(FEED);
  const view = client.watch("1");
  const undone = vi.fn();
  const kept = vi.fn();
  view.on("event", undone)();
  view.on("event", () => {
    throw new Error("of the application");
  });
  view.on("event", kept);
  await live();
  journal.state("queued");
  server.ring(journal.state("running"));
  await vi.waitFor(() => expect(kept).toHaveBeenCalledTimes(2), WITHIN);
  expect(undone).not.toHaveBeenCalled();
  expect(errors).toHaveLength(2);
  process.removeListener("uncaughtException", catcher);
  others.forEach((other) => process.on("uncaughtException", other));
});

test("a lost ring is read, and facts stay in order", async () => {
  const journal = server.journal(FEED);
  const view = client.watch("1");
  const seen = facts(view);
  await live();
  await vi.waitFor(() => expect(view.cursor).not.toBeNull(), WITHIN);
  server.lose = 2;
  server.delay = 50;
  const all = [journal.state("queued"), journal.state("running"), journal.fact("log")];
  server.ring(...all);
  await vi.waitFor(() => expect(server.watches).toHaveLength(2), WITHIN);
  const late = journal.fact("log");
  server.ring(late);
  await vi.waitFor(() => expect(seen).toHaveLength(4), WITHIN);
  expect(seen).toEqual([...all, late].map((event) => event.id));
  expect(view.receipt.complete).toBe(true);
});

test("after a cut, every feed is watched again from its cursor", async () => {
  const journal = server.journal(FEED);
  journal.state("queued");
  const view = client.watch("1");
  const seen = facts(view);
  const links: string[] = [];
  client.on("link", (state) => links.push(state));
  await vi.waitFor(() => expect(seen).toHaveLength(1), WITHIN);
  const { cursor } = view;
  server.cut();
  journal.state("running");
  journal.fact("log");
  await vi.waitFor(() => expect(seen).toHaveLength(3), WITHIN);
  expect(server.watches.at(-1)).toEqual({ feed: FEED, cursor });
  expect(links).toEqual(["live", "reconnecting", "live"]);
  expect(view.receipt).toEqual({ facts: 3, shown: 3, complete: true, texts: {} });
});

test("long histories come in pages", async () => {
  const journal = server.journal(FEED);
  journal.limit = 10;
  const all = Array.from({ length: 35 }, () => journal.fact("log").id);
  const seen = facts(client.watch("1"));
  await vi.waitFor(() => expect(seen).toEqual(all), WITHIN);
  expect(server.watches).toHaveLength(4);
});

test("what is trimmed is said: reset, and an incomplete receipt", async () => {
  const journal = server.journal(FEED);
  journal.state("queued");
  const view = client.watch("1");
  await vi.waitFor(() => expect(view.cursor).not.toBeNull(), WITHIN);
  const resets = vi.fn();
  view.on("reset", resets);
  server.lose = 3;
  server.ring(journal.state("running"), journal.fact("log"), journal.fact("log"));
  journal.keptFrom = 4;
  server.ring(journal.state("succeeded"));
  await vi.waitFor(() => expect(view.ended).toBe(true), WITHIN);
  expect(resets).toHaveBeenCalledOnce();
  expect(view.receipt).toEqual({ facts: 5, shown: 1, complete: false, texts: {} });
});

test("a reset that the relay sends is taken, and the feed is asked for again", async () => {
  server.journal(FEED).state("queued");
  const view = client.watch("1");
  await vi.waitFor(() => expect(view.document.state).toBe("queued"), WITHIN);
  const resets = vi.fn();
  view.on("reset", resets);
  server.journals.delete(FEED);
  const journal = server.journal(FEED);
  journal.state("running");
  server.reset(FEED);
  await vi.waitFor(() => expect(server.watches).toHaveLength(2), WITHIN);
  expect(resets).toHaveBeenCalledOnce();
  expect(server.watches[1]).toEqual({ feed: FEED, cursor: journal.cursor });
});

test("a reset of where the relay stood is none for a page that can go on", async () => {
  const journal = server.journal(FEED);
  journal.state("queued");
  const view = client.watch("1");
  const seen = facts(view);
  await vi.waitFor(() => expect(view.cursor).toBe(journal.cursor), WITHIN);
  const resets = vi.fn();
  view.on("reset", resets);
  journal.state("running");
  server.reset(FEED);
  await vi.waitFor(() => expect(seen).toHaveLength(2), WITHIN);
  expect(server.watches).toHaveLength(2);
  expect(resets).not.toHaveBeenCalled();
});

test("an acknowledgement that does not come is asked for again; two in a row drop the connection", async () => {
  server.journal(FEED).state("queued");
  server.deaf = 2;
  const view = client.watch("1");
  const states: string[] = [];
  view.on("link", (state) => states.push(state));
  await vi.waitFor(() => expect(view.document.state).toBe("queued"), WITHIN);
  expect(server.watches).toHaveLength(3);
  expect(states).toEqual(["live", "reconnecting", "live"]);
});

test("what is not there is refused once, and closed", async () => {
  const view = client.watch("nowhere");
  const refused = vi.fn();
  view.on("refused", refused);
  await vi.waitFor(() => expect(refused).toHaveBeenCalledOnce(), WITHIN);
  expect(refused.mock.calls[0]![0]).toMatchObject({ status: 404, detail: "There is no such task." });
  expect(view).toMatchObject({ closed: true, problem: { status: 404 } });
});

test("a refusal that passes is asked again", async () => {
  server.journal(FEED).state("queued");
  server.refusals = [{ title: "Too many", status: 429 }];
  const view = client.watch("1");
  await vi.waitFor(() => expect(view.document.state).toBe("queued"), WITHIN);
  expect(server.watches).toHaveLength(2);
});

test("blocked sockets: polling over HTTP, and back to the socket when it opens", async () => {
  server.sockets = false;
  const journal = server.journal(FEED);
  journal.state("queued");
  const view = client.watch("1");
  const seen = facts(view);
  await vi.waitFor(() => expect(seen).toHaveLength(1), WITHIN);
  await vi.waitFor(() => expect(client.link).toBe("polling"), WITHIN);
  journal.state("running");
  journal.counter(10);
  await vi.waitFor(() => expect(view.progress?.completed).toBe(10), WITHIN);
  journal.keptFrom = 10;
  for (let number = 0; number < 9; number += 1) journal.fact("log");
  const resets = vi.fn();
  view.on("reset", resets);
  await vi.waitFor(() => expect(resets).toHaveBeenCalledOnce(), WITHIN);
  server.sockets = true;
  await live();
  const polls = server.polls.length;
  const end = journal.state("succeeded");
  server.ring(end);
  await vi.waitFor(() => expect(view.ended).toBe(true), WITHIN);
  expect(seen.at(-1)).toBe(end.id);
  expect(server.polls.length).toBe(polls);
});

test("polling waits as long as the server says", async () => {
  server.sockets = false;
  server.retryAfter = "1";
  server.journal(FEED).state("queued");
  const view = client.watch("1");
  await vi.waitFor(() => expect(view.document.state).toBe("queued"), WITHIN);
  await new Promise((done) => setTimeout(done, 500));
  expect([server.polls.length, server.conditional.length]).toEqual([1, 0]);
  await vi.waitFor(() => expect(server.conditional).toHaveLength(1), WITHIN);
});

test("polling asks only whether anything has changed, and reads the facts when there are some", async () => {
  server.sockets = false;
  const journal = server.journal(FEED);
  journal.state("queued");
  const view = client.watch("1");
  const seen = facts(view);
  await vi.waitFor(() => expect(server.conditional.length).toBeGreaterThan(2), WITHIN);
  expect([...new Set(server.conditional)]).toEqual([304]);
  expect(server.polls).toEqual([""]);
  journal.counter(10);
  await vi.waitFor(() => expect(view.progress?.completed).toBe(10), WITHIN);
  expect(server.polls).toHaveLength(1);
  const { cursor } = view;
  const rest = [journal.fact("log"), journal.state("succeeded")];
  await vi.waitFor(() => expect(view.ended).toBe(true), WITHIN);
  expect(server.polls).toEqual(["", cursor]);
  expect(seen.slice(1)).toEqual(rest.map((event) => event.id));
  expect(view.receipt.complete).toBe(true);
});

test("a journal that has lost its data is noticed while polling", async () => {
  server.sockets = false;
  server.journal(FEED).state("queued");
  const view = client.watch("1");
  const resets = vi.fn();
  view.on("reset", resets);
  await vi.waitFor(() => expect(server.conditional.length).toBeGreaterThan(0), WITHIN);
  server.journals.delete(FEED);
  server.journal(FEED).state("running");
  await vi.waitFor(() => expect(resets).toHaveBeenCalledOnce(), WITHIN);
  expect(view.document.state).toBe("running");
});

test("a view that goes on from a cursor alone asks for the document", async () => {
  server.sockets = false;
  const journal = server.journal(FEED);
  journal.state("running");
  const view = client.watch("1", { cursor: journal.cursor });
  await vi.waitFor(() => expect(view.document.state).toBe("running"), WITHIN);
  expect(view.receipt).toEqual({ facts: 1, shown: 1, complete: true, texts: {} });
});

test("a cut takes everything away for its time, then the view catches up", async () => {
  const journal = server.journal(FEED);
  journal.state("queued");
  const view = client.watch("1");
  const seen = facts(view);
  await vi.waitFor(() => expect(seen).toHaveLength(1), WITHIN);
  const links: string[] = [];
  client.on("link", (state) => links.push(state));
  const began = Date.now();
  client.cut(0.6);
  expect(client.link).toBe("reconnecting");
  await vi.waitFor(() => expect(server.connections).toBe(0), WITHIN);
  await expect(view.cancel()).rejects.toThrow(/cut/);
  const rest = [journal.fact("log"), journal.state("running")];
  await vi.waitFor(() => expect(seen).toHaveLength(3), WITHIN);
  expect(Date.now() - began).toBeGreaterThan(550);
  expect(seen.slice(1)).toEqual(rest.map((event) => event.id));
  expect([links, server.polls, server.conditional]).toEqual([["reconnecting", "live"], [], []]);
});

test("an inbox that is opened while everything is cut is found when the connection is back", async () => {
  server.journal(FEED).state("queued");
  const seen = facts(client.watch("1"));
  await vi.waitFor(() => expect(seen).toHaveLength(1), WITHIN);
  const began = Date.now();
  client.cut(0.6);
  const inbox = client.inbox();
  await vi.waitFor(() => expect(inbox.feed).toMatch(/^user:/), WITHIN);
  expect(Date.now() - began).toBeGreaterThan(550);
});

test("the addresses of a task are asked for by its id", async () => {
  server.journal(FEED).state("failed");
  server.links = { retry: "/petiole/tasks/1/retry" };
  expect(await client.links("1")).toEqual({ retry: "/petiole/tasks/1/retry" });
  await expect(client.links("2")).rejects.toThrow(/no such task/);
});

test("start posts JSON and watches from before the dispatch", async () => {
  const view = await client.start("/exports", { rows: 3 });
  expect(view).toMatchObject({ id: "started", feed: "task:started" });
  const seen = facts(view);
  await vi.waitFor(() => expect(seen).toHaveLength(1), WITHIN);
  expect(view.receipt).toEqual({ facts: 1, shown: 1, complete: true, texts: {} });
});

test("start is refused unless it is answered with 202 and a task", async () => {
  server.journal(FEED).state("queued");
  await expect(client.start("/petiole/tasks/1", {})).rejects.toMatchObject({ problem: { status: 200 } });
  await expect(client.start("/petiole/tasks/nowhere", {})).rejects.toMatchObject({ problem: { status: 404 } });
});

test("cancel goes over the socket, over HTTP without one, and says when it is too late", async () => {
  const journal = server.journal(FEED);
  journal.state("running");
  const view = client.watch("1");
  await live();
  expect(await view.cancel()).toMatchObject({ state: "cancelling" });
  await vi.waitFor(() => expect(view.document.state).toBe("cancelling"), WITHIN);
  server.sockets = false;
  server.cut();
  await vi.waitFor(() => expect(client.link).not.toBe("live"), WITHIN);
  expect(await view.cancel()).toMatchObject({ state: "cancelling" });
  journal.state("succeeded");
  await expect(view.cancel()).rejects.toBeInstanceOf(Refused);
  await expect(view.cancel()).rejects.toMatchObject({ problem: { status: 409 } });
});

test("a cancel by force says so on both ways", async () => {
  const journal = server.journal(FEED);
  journal.state("cancelling");
  const view = client.watch("1");
  await live();
  expect(await view.cancel({ force: true })).toMatchObject({ state: "cancelling", forced: true });
  await vi.waitFor(() => expect(view.document.forced).toBe(true), WITHIN);
  server.sockets = false;
  server.cut();
  await vi.waitFor(() => expect(client.link).not.toBe("live"), WITHIN);
  await view.cancel({ force: true });
  await view.cancel();
  expect(server.cancels).toEqual([
    { way: "socket", feed: FEED, force: true },
    { way: "http", feed: FEED, force: true },
    { way: "http", feed: FEED },
  ]);
});

test("a right that ends refuses the view and closes it", async () => {
  server.journal(FEED).state("running");
  const other = server.journal("task:2");
  other.state("running");
  const [view, spared] = [client.watch("1"), client.watch("2")];
  const refused = vi.fn();
  view.on("refused", refused);
  await vi.waitFor(() => expect([view.reading, spared.reading]).toEqual([false, false]), WITHIN);
  server.refuse(FEED);
  await vi.waitFor(() => expect(refused).toHaveBeenCalledOnce(), WITHIN);
  expect(view).toMatchObject({ closed: true, problem: { status: 404, detail: "You may not see this any more." } });
  server.ring(other.state("succeeded"));
  await vi.waitFor(() => expect(spared.ended).toBe(true), WITHIN);
});

test("two views of one feed share the connection, and closing one leaves the other", async () => {
  const journal = server.journal(FEED);
  journal.state("queued");
  const views = [client.watch("1"), client.watch("1")];
  const seen = views.map(facts);
  await vi.waitFor(() => expect(seen.map((ids) => ids.length)).toEqual([1, 1]), WITHIN);
  expect(server.connections).toBe(1);
  views[0]!.close();
  server.ring(journal.state("running"));
  await vi.waitFor(() => expect(seen.map((ids) => ids.length)).toEqual([1, 2]), WITHIN);
  expect(server.unwatched).toEqual([]);
});

test("an event of another protocol version is ignored, and said once", async () => {
  const warn = vi.spyOn(console, "warn").mockImplementation(() => undefined);
  const journal = server.journal(FEED);
  const view = client.watch("1");
  await vi.waitFor(() => expect(view.cursor).not.toBeNull(), WITHIN);
  server.ring({ ...journal.counter(1), v: 3 }, { ...journal.counter(2), v: 3 });
  server.ring(journal.state("running"));
  await vi.waitFor(() => expect(view.document.state).toBe("running"), WITHIN);
  expect(warn).toHaveBeenCalledOnce();
  warn.mockRestore();
});

test("misuse is refused at once", () => {
  expect(() => client.watch("not a task")).toThrow(RangeError);
  expect(() => client.watch("1", { cursor: "yesterday" })).toThrow(/cursor/);
});

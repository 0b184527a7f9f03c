import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { TaskClient } from "../../src/client/client.js";
import type { TaskView } from "../../src/tasks/view.js";
import { TestServer } from "../support/server.js";

const FEED = "task:1";
const WITHIN = { timeout: 5000, interval: 5 };

let server: TestServer;
let client: TaskClient;

beforeEach(async () => {
  server = new TestServer();
  const url = await server.open();
  client = new TaskClient({
    url,
    timing: { reconnectFirst: 0.05, fallbackAfter: 0.3, pollEvery: 0.05, answerWithin: 0.2, idleAfter: 0.05 },
  });
});

afterEach(async () => {
  client.close();
  await server.close();
});

/** What the view says of its texts: each chunk with its name. A page that only adds them up has the same as the view. */
function told(view: TaskView): string[] {
  const all: string[] = [];
  const sums: Record<string, string> = {};
  view.on("text", (name, chunk, whole) => {
    all.push(`${name}: ${chunk}`);
    sums[name] = whole === "" ? "" : `${sums[name] ?? ""}${chunk}`;
    expect(sums[name]).toBe(whole);
  });
  return all;
}

const following = (view: TaskView): Promise<void> => vi.waitFor(() => expect(view.reading).toBe(false), WITHIN);

test("texts arrive chunk by chunk, each under its name, and the receipt proves them", async () => {
  const journal = server.journal(FEED);
  journal.state("running");
  const view = client.watch("1");
  await following(view);
  const [all, events, changes] = [told(view), vi.fn(), vi.fn()];
  view.on("event", events);
  view.on("change", changes);
  server.ring(journal.text("Grüß "), journal.text("compiling\n", "log"), journal.text("Gott"));
  await vi.waitFor(() => expect(all).toEqual(["output: Grüß ", "log: compiling\n", "output: Gott"]), WITHIN);
  expect([view.text(), view.text("log"), view.text("other")]).toEqual(["Grüß Gott", "compiling\n", ""]);
  expect(view.texts).toEqual(["output", "log"]);
  expect([events.mock.calls, changes.mock.calls]).toEqual([[], []]);
  server.ring(journal.end("succeeded"));
  await vi.waitFor(() => expect(view.ended).toBe(true), WITHIN);
  expect(view.receipt).toEqual({
    facts: 2,
    shown: 2,
    complete: true,
    texts: { output: { length: 11, complete: true, omitted: 0 }, log: { length: 10, complete: true, omitted: 0 } },
  });
});

test("a chunk that was lost is read, with what was rung meanwhile", async () => {
  const journal = server.journal(FEED);
  journal.state("running");
  const view = client.watch("1");
  const all = told(view);
  await following(view);
  server.lose = 1;
  server.delay = 30;
  server.ring(journal.text("one "), journal.text("two "));
  await vi.waitFor(() => expect(server.watches).toHaveLength(2), WITHIN);
  server.ring(journal.text("three"));
  await vi.waitFor(() => expect(view.text()).toBe("one two three"), WITHIN);
  expect(all).toEqual(["output: one two ", "output: three"]);
});

test("a later run begins its text anew, and the view says so", async () => {
  const journal = server.journal(FEED);
  journal.state("running");
  const view = client.watch("1");
  const all = told(view);
  await following(view);
  server.ring(journal.text("half an ans"), journal.text("x", "log"), journal.begin());
  await vi.waitFor(() => expect(view.document.run).toBe(2), WITHIN);
  expect(all).toEqual(["output: half an ans", "log: x", "output: ", "log: "]);
  expect([view.text(), view.texts]).toEqual(["", []]);
  server.ring(journal.text("an answer"), journal.end("succeeded"));
  await vi.waitFor(() => expect(view.ended).toBe(true), WITHIN);
  expect([view.text(), view.receipt.complete]).toEqual(["an answer", true]);
});

test("a page that keeps only the cursor gets the texts from their start", async () => {
  const journal = server.journal(FEED);
  journal.state("running");
  const view = client.watch("1");
  await following(view);
  server.ring(journal.text("before the reload, "));
  await vi.waitFor(() => expect(view.text()).toBe("before the reload, "), WITHIN);
  expect(view.cursor).toBe(journal.place);
  const { cursor } = view;
  view.close();
  journal.text("while it was away");
  const again = client.watch("1", { cursor });
  await vi.waitFor(() => expect(again.text()).toBe("before the reload, while it was away"), WITHIN);
  journal.end("succeeded");
  const late = client.watch("1", { cursor: journal.cursor });
  await vi.waitFor(() => expect(late.ended).toBe(true), WITHIN);
  expect(late.text()).toBe("before the reload, while it was away");
  expect(late.receipt).toMatchObject({ facts: 2, shown: 2, complete: true });
});

test("after a cut only the rest of a text is read", async () => {
  const journal = server.journal(FEED);
  journal.state("running");
  const view = client.watch("1");
  const all = told(view);
  await following(view);
  server.ring(journal.text("before "));
  await vi.waitFor(() => expect(all).toHaveLength(1), WITHIN);
  const at = journal.cursor;
  server.cut();
  journal.text("after");
  await vi.waitFor(() => expect(all).toEqual(["output: before ", "output: after"]), WITHIN);
  // A server of version 1 reads the cursor, and passes over the lengths.
  const [cursor, ...lengths] = at.split("~");
  expect(server.watches.at(-1)).toEqual({ feed: FEED, cursor, texts: lengths.join("~") });
});

test("a view without texts reads none, follows the rest, and says nothing about them", async () => {
  const journal = server.journal(FEED);
  journal.begin();
  journal.text("before ");
  const view = client.watch("1", { texts: false });
  const all = told(view);
  await following(view);
  expect(server.watches).toEqual([{ feed: FEED, texts: false }]);
  server.lose = 1;
  server.ring(journal.text("lost "), journal.text("after"));
  server.ring(journal.counter(5));
  server.ring(journal.end("succeeded"));
  await vi.waitFor(() => expect(view.ended).toBe(true), WITHIN);
  expect(server.watches).toHaveLength(1);
  expect([all, view.texts, view.text()]).toEqual([[], [], ""]);
  expect(view.receipt).toMatchObject({ complete: true, texts: { output: { complete: null } } });
});

test("a long text comes in parts, and the end waits for all of it", async () => {
  const journal = server.journal(FEED);
  journal.part = 10;
  journal.state("running");
  journal.text("zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich");
  journal.end("cancelled");
  const view = client.watch("1");
  const ends = vi.fn();
  view.on("end", ends);
  await vi.waitFor(() => expect(ends).toHaveBeenCalledOnce(), WITHIN);
  expect(view.text()).toBe("zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich");
  expect(view.receipt).toMatchObject({ complete: true, texts: { output: { complete: true } } });
  expect(server.watches.length).toBeGreaterThan(5);
});

test("a text that was shown is void if the journal has lost it", async () => {
  const journal = server.journal(FEED);
  journal.state("running");
  const view = client.watch("1");
  const all = told(view);
  await following(view);
  server.ring(journal.text("lost"));
  await vi.waitFor(() => expect(all).toHaveLength(1), WITHIN);
  server.journals.delete(FEED);
  server.journal(FEED).state("running");
  server.reset(FEED);
  await vi.waitFor(() => expect(all).toEqual(["output: lost", "output: "]), WITHIN);
  expect(view.texts).toEqual([]);
});

test("blocked sockets: texts are polled, also if nothing but them has changed", async () => {
  server.sockets = false;
  const journal = server.journal(FEED);
  journal.state("running");
  const view = client.watch("1");
  const all = told(view);
  await vi.waitFor(() => expect(server.conditional).toContain(304), WITHIN);
  journal.text("one ");
  await vi.waitFor(() => expect(all).toHaveLength(1), WITHIN);
  const asked = server.conditional.length;
  await vi.waitFor(() => expect(server.conditional.length).toBeGreaterThan(asked + 1), WITHIN);
  expect(server.conditional.at(-1)).toBe(304);
  journal.text("two");
  await vi.waitFor(() => expect(all).toEqual(["output: one ", "output: two"]), WITHIN);
  journal.end("succeeded");
  await vi.waitFor(() => expect(view.ended).toBe(true), WITHIN);
  expect(view.receipt.complete).toBe(true);
});

test("blocked sockets: after a 410 the texts are read from their start, of a task that has ended as well", async () => {
  server.sockets = false;
  const journal = server.journal(FEED);
  journal.state("queued");
  const view = client.watch("1");
  const [all, resets] = [told(view), vi.fn()];
  view.on("reset", resets);
  await vi.waitFor(() => expect(view.document.state).toBe("queued"), WITHIN);
  for (let number = 0; number < 9; number += 1) journal.fact("log");
  journal.text("one ");
  journal.text("two");
  journal.end("succeeded");
  journal.keptFrom = journal.facts + 1;
  await vi.waitFor(() => expect(view.ended).toBe(true), WITHIN);
  expect(resets).toHaveBeenCalledOnce();
  expect([all, view.text()]).toEqual([["output: one two"], "one two"]);
  expect(view.receipt).toMatchObject({ complete: false, texts: { output: { length: 7, complete: true } } });
});

test("blocked sockets: a snapshot of a task that has ended is followed by its texts", async () => {
  server.sockets = false;
  const journal = server.journal(FEED);
  journal.state("running");
  journal.text("all of it");
  journal.end("failed");
  const view = client.resume({ id: "1", feed: FEED, cursor: journal.place, document: journal.document });
  await vi.waitFor(() => expect(view.ended).toBe(true), WITHIN);
  expect([view.text(), view.receipt.complete]).toEqual(["all of it", true]);
});

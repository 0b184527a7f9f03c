// @vitest-environment happy-dom
import { createElement as h, type ReactElement, StrictMode, Suspense, use } from "react";
import { renderToString } from "react-dom/server";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Event } from "../../src/protocol/events.js";
import { Refused } from "../../src/protocol/problem.js";
import type { Snapshot } from "../../src/protocol/reading.js";
import { type TaskOptions, type TaskValue, useTask, type WatchedTask } from "../../src/react.js";
import { ReactPage, WITHIN } from "../support/react-page.js";

const FEED = "task:1";

let page: ReactPage;
/** What each rendering has shown, in order. */
let shown: string[];
let task: WatchedTask;
let complaints: ReturnType<typeof vi.spyOn>;

beforeEach(async () => {
  page = new ReactPage();
  shown = [];
  complaints = vi.spyOn(console, "error");
  await page.open();
});

afterEach(async () => {
  await page.close();
  expect(complaints.mock.calls).toEqual([]);
  vi.restoreAllMocks();
});

interface CardProps {
  of: string | Snapshot | null;
  options?: TaskOptions;
  children?: string;
}

function Card({ of, options, children }: CardProps): ReactElement {
  task = useTask(of, options);
  const text = `${task.state} ${task.progress?.completed ?? "–"}${task.ended ? " over" : ""}${task.problem?.title ?? ""}`;
  shown.push(text);
  return h("p", null, `${text};`, children);
}

const strictly = (child: ReactElement): ReactElement => h(StrictMode, null, child);
const snapshotOf = (feed = FEED): Snapshot => {
  const { document, place: cursor } = page.server.journal(feed);
  return { id: feed.slice(5), feed, cursor, document };
};

/** A promise, and its resolve. */
function later(): { promise: Promise<string>; resolve: (value: string) => void } {
  let resolve!: (value: string) => void;
  const promise = new Promise<string>((done) => (resolve = done));
  return { promise, resolve };
}

test("in strict mode a task is watched once, and its end is told once; then nothing is asked and no timer is left", async () => {
  const { server } = page;
  const journal = server.journal(FEED);
  journal.state("running", { title: "Flights" });
  const ends: TaskValue[] = [];
  // A new function in each rendering, as components have it.
  page.render(strictly(h(Card, { of: "1", options: { onEnd: (value) => ends.push(value) } })));
  await page.says("running –;");
  server.ring(journal.counter(5));
  await page.says("running 5;");
  expect((await task.cancel()).state).toBe("cancelling");
  await page.says("cancelling 5;");
  server.ring(journal.state("cancelled"));
  await page.says("cancelled 5 over;");
  expect(ends.map(({ state, ended, receipt }) => [state, ended, receipt?.complete])).toEqual([["cancelled", true, true]]);
  expect(task.receipt).toMatchObject({ facts: 3, shown: 3, complete: true });
  expect(task.link).toBeNull();
  expect(server.watches).toEqual([{ feed: FEED, texts: false }]);

  await vi.waitFor(() => expect(server.connections).toBe(0), WITHIN);
  const asked = ["fetch", "setTimeout", "setInterval"].map((name) => vi.spyOn(globalThis, name as "fetch"));
  const again = (text: string, enabled: boolean): void =>
    page.render(strictly(h(Card, { of: "1", options: { onEnd: (value) => ends.push(value), enabled } }, text)));
  again("paused", false);
  await page.says("paused");
  again("on", true);
  await page.says("on");
  expect(ends).toHaveLength(1);
  expect(server.watches).toHaveLength(1);
  expect(asked.map((each) => each.mock.calls)).toEqual([[], [], []]);
});

test("components that suspend, before and after they are shown, keep one watch and their value", async () => {
  const { server } = page;
  const journal = server.journal(FEED);
  journal.state("running");
  const [first, second] = [later(), later()];
  const Slow = ({ value }: { value: Promise<string> }): ReactElement => h("i", null, use(value));
  const tree = (value: Promise<string>): ReactElement =>
    strictly(h(Suspense, { fallback: "wait" }, h(Card, { of: "1" }), h(Slow, { value })));
  page.render(tree(first.promise));
  await page.says("wait");
  expect(server.connections).toBe(0);
  first.resolve("one");
  await page.says("running –;one");
  page.render(tree(second.promise));
  server.ring(journal.counter(7));
  await vi.waitFor(() => expect(shown.at(-1)).toBe("running 7"), WITHIN);
  second.resolve("two");
  await page.says("running 7;two");
  expect(server.watches).toHaveLength(1);
  expect(server.unwatched).toEqual([]);
});

test("a hundred tasks and a hundred components of one of them share a socket", async () => {
  const { server } = page;
  const ids = Array.from({ length: 100 }, (_, number) => String(number));
  for (const id of ids) server.journal(`task:${id}`).state("running");
  const same = ids.map((id) => h(Card, { key: `again-${id}`, of: "7" }));
  page.render([...ids.map((id) => h(Card, { key: id, of: id })), ...same]);
  await vi.waitFor(() => expect(page.text.match(/running/g)).toHaveLength(200), WITHIN);
  expect(server.watches).toHaveLength(100);
  expect(server.connections).toBe(1);
  server.ring(server.journal("task:7").counter(70));
  await vi.waitFor(() => expect(page.text.match(/running 70/g)).toHaveLength(101), WITHIN);
  page.unmount();
  await vi.waitFor(() => expect(server.connections).toBe(0), WITHIN);
});

test("nothing is asked until it is enabled, and a pause goes on where it was: no fact twice, nothing forgotten", async () => {
  const { server } = page;
  const journal = server.journal(FEED);
  const facts: number[] = [];
  const onEvent = (event: Event): void => void facts.push(event.facts);
  const render = (enabled: boolean): void => page.render(h(Card, { of: "1", options: { enabled, onEvent } }));
  server.ring(journal.state("queued"), journal.state("running"), journal.counter(3));
  render(false);
  await page.says("null –;");
  expect([server.connections, task.link]).toEqual([0, null]);
  render(true);
  await page.says("running 3;");
  expect(task.link).toBe("live");
  render(false);
  await vi.waitFor(() => expect(server.unwatched).toEqual([FEED]), WITHIN);
  await page.says("running 3;");
  shown = [];
  server.ring(journal.fact("stage", { stage: "two" }), journal.counter(4));
  render(true);
  await page.says("running 4;");
  expect([...new Set(shown)]).toEqual(["running 3", "running 4"]);
  expect(facts).toEqual([1, 2, 3]);
});

test("what was lost in a pause is said in the receipt, by whichever view it was missed", async () => {
  const { server } = page;
  const journal = server.journal(FEED);
  journal.state("running");
  const render = (enabled: boolean): void => page.render(h(Card, { of: "1", options: { enabled } }));
  render(true);
  await page.says("running –;");
  render(false);
  await vi.waitFor(() => expect(server.unwatched).toEqual([FEED]), WITHIN);
  for (const stage of ["one", "two", "three"]) journal.fact("stage", { stage });
  journal.keptFrom = 4;
  render(true);
  await vi.waitFor(() => expect(task.document["stage" as "title"]).toBe("three"), WITHIN);
  render(false);
  await vi.waitFor(() => expect(server.unwatched).toHaveLength(2), WITHIN);
  render(true);
  await vi.waitFor(() => expect(server.watches).toHaveLength(3), WITHIN);
  server.ring(journal.state("succeeded"));
  await page.says("over;");
  expect(task.receipt?.complete).toBe(false);
});

test("a server renders the snapshot, and the browser begins with the same", async () => {
  const { server } = page;
  const journal = server.journal(FEED);
  server.ring(journal.state("running"), journal.counter(12));
  const snapshot = snapshotOf();
  journal.counter(40);
  const app = (): ReactElement => strictly(h(Card, { of: snapshot }));
  const html = renderToString(page.within(app()));
  expect(html).toContain("running 12;");
  expect(server.connections).toBe(0);
  shown = [];
  page.hydrate(html, app());
  await page.says("running 40;");
  expect([...new Set(shown)]).toEqual(["running 12", "running 40"]);
  expect(server.watches).toEqual([{ feed: FEED, cursor: snapshot.cursor, texts: false }]);
});

test("of a task that had ended when the page was made nothing is asked; its end is told once, whatever snapshots follow", async () => {
  const { server } = page;
  const journal = server.journal(FEED);
  journal.state("running");
  journal.state("failed", { error: { message: "No" } });
  const ends = vi.fn();
  const render = (text: string, cursor: string): void =>
    page.render(strictly(h(Card, { of: { ...snapshotOf(), cursor }, options: { onEnd: ends } }, text)));
  render("first", journal.place);
  await page.says("failed – over;first");
  // As a page's loader does that runs again after each end.
  render("second", journal.place.replace(/\.\d+\./, ".9."));
  await page.says("failed – over;second");
  render("third", journal.place);
  await page.says("failed – over;third");
  expect(ends).toHaveBeenCalledOnce();
  expect(ends.mock.calls[0]![0]).toMatchObject({ state: "failed", receipt: { facts: 2, shown: 2, complete: true } });
  expect([server.connections, server.watches.length]).toEqual([0, 0]);
});

test("a component that takes a task over from another one takes its view over, too", async () => {
  const { server } = page;
  const journal = server.journal(FEED);
  server.ring(journal.state("running"), journal.counter(5));
  page.render(h(Card, { key: "left", of: "1" }));
  await page.says("running 5;");
  shown = [];
  page.render(h(Card, { key: "right", of: "1" }, "right"));
  await page.says("running 5;right");
  server.ring(journal.counter(6));
  await page.says("running 6;right");
  expect(server.watches).toHaveLength(1);
  expect(server.unwatched).toEqual([]);
});

test("a component that was paused shares what another one has watched meanwhile, and never shows less", async () => {
  const { server } = page;
  const journal = server.journal(FEED);
  server.ring(journal.state("running"), journal.counter(5));
  const left = (enabled: boolean): ReactElement => h(Card, { key: "left", of: "1", options: { enabled } }, enabled ? "left" : "paused");
  const right = h(Card, { key: "right", of: "1" }, "right");
  page.render([left(true)]);
  await page.says("running 5;left");
  page.render([left(false)]);
  await vi.waitFor(() => expect(server.unwatched).toEqual([FEED]), WITHIN);
  shown = [];
  page.render([left(true), right]);
  await page.says("running 5;leftrunning 5;right");
  page.render([left(false), right]);
  await page.says("running 5;pausedrunning 5;right");
  server.ring(journal.counter(6));
  await page.says("running 5;pausedrunning 6;right");
  page.render([left(true), right]);
  await page.says("running 6;leftrunning 6;right");
  expect(server.watches).toHaveLength(2);
  expect(shown.filter((text) => text.startsWith("null")).length).toBeLessThanOrEqual(1);
});

test("a group that begins again goes on under its id, and each of its ends is told", async () => {
  const { server } = page;
  const feed = "group:7c1f";
  server.journal(feed).state("failed");
  const ends = vi.fn();
  page.render(strictly(h(Card, { of: feed, options: { onEnd: ends } })));
  await page.says("failed – over;");
  expect(ends).toHaveBeenCalledOnce();
  expect((await task.retry()).id).toBe(feed);
  await page.says("queued –;");
  expect(task.receipt).toBeNull();
  server.ring(server.journal(feed).state("succeeded"));
  await page.says("succeeded – over;");
  expect(ends).toHaveBeenCalledTimes(2);
  expect(task.receipt).toMatchObject({ facts: 2, shown: 2, complete: true });
  expect(server.watches.filter(({ cursor }) => cursor === undefined)).toHaveLength(1);
});

test("another task shows nothing of the one before, and the actions are its own", async () => {
  const { server } = page;
  server.journal(FEED).state("running", { title: "One" });
  server.ring(server.journal(FEED).counter(5));
  const two = server.journal("task:2");
  two.state("succeeded");
  page.render(h(Card, { of: "1" }));
  await page.says("running 5;");
  shown = [];
  page.render(h(Card, { of: snapshotOf("task:2") }));
  await page.says("succeeded – over;");
  expect([...new Set(shown)]).toEqual(["succeeded – over"]);
  await vi.waitFor(() => expect(server.unwatched).toEqual([FEED]), WITHIN);
  await expect(task.cancel()).rejects.toThrow(Refused);
  expect((await task.retry()).id).toBe("2-again");
  await task.acknowledge();
  expect(server.acknowledged.map(({ message }) => message)).toEqual([{ tasks: ["2"] }]);
  page.render(h(Card, { of: null }));
  await page.says("null –;");
  await expect(task.cancel()).rejects.toThrow("No task is named. Pass a task's id or snapshot to the hook first.");
});

test("what can't be watched is a problem with a sentence, never an exception", async () => {
  page.render([h(Card, { key: 1, of: "no task!" }), h(Card, { key: 2, of: "unknown" })]);
  await page.says("That is not a task's id or a feed's name. Pass the id that the 202 named.");
  await page.says("Not found");
  expect(task.problem).toMatchObject({ status: 404 });
  expect(task.link).toBeNull();
});

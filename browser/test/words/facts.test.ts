import { expect, test } from "vitest";
import type { Event } from "../../src/protocol/events.js";
import { describeFact } from "../../src/words/facts.js";

const fact = (kind: string, more: Partial<Event> = {}): Event => ({
  v: 1,
  id: "0",
  feed: "task:1",
  epoch: "00000000",
  seq: 1,
  run: 1,
  facts: 1,
  chain: "0".repeat(16),
  at: 0,
  kind,
  patch: {},
  progress: null,
  ...more,
});

const GROUP = {
  children: { queued: 1, running: 0, retrying: 0, succeeded: 0, failed: 0, cancelled: 0, lost: 0, skipped: 0 },
};

test.each<[Event, string, string]>([
  [fact("state", { patch: { state: "queued" } }), "Queued", "plain"],
  [fact("state", { patch: { state: "running" } }), "Started", "plain"],
  [fact("state", { run: 2, patch: { state: "running", reason: "database unavailable" } }), "Run 2 started: database unavailable", "plain"],
  [fact("state", { patch: { state: "retrying", reason: "database unavailable" } }), "To be run again: database unavailable", "warning"],
  [fact("state", { patch: { state: "stalled" } }), "No news from the worker", "warning"],
  [fact("state", { patch: { state: "cancelling" } }), "Asked to stop", "plain"],
  [fact("state", { patch: { state: "cancelling", forced: true } }), "Asked to stop, by force", "plain"],
  [fact("state", { patch: { state: "cancelled" } }), "Cancelled", "plain"],
  [fact("state", { run: 1, patch: { state: "running" }, progress: GROUP }), "Run 2 started", "plain"],
  [fact("state", { run: 0, patch: { state: "running" }, progress: GROUP }), "Started", "plain"],
  [
    fact("state", { run: 0, patch: { error1: { message: "Full.", reference: "7F", id: "x" }, error2: { message: "No answer." } } }),
    "A task failed: Full. Reference 7F\nA task failed: No answer.",
    "error",
  ],
  [fact("state", { patch: { error1: null, title: "Flights" } }), "Changed", "plain"],
  [fact("state", { patch: { state: "failed", error: { message: "Full.", reference: "7F" } } }), "Failed: Full. Reference 7F", "error"],
  [fact("state", { patch: { state: "lost" } }), "The worker disappeared", "error"],
  [fact("state", { patch: { state: "lost", reason: "The worker disappeared." } }), "The worker disappeared", "error"],
  [fact("state", { patch: { state: "stalled", reason: "No news from the worker w@host." } }), "No news from the worker w@host", "warning"],
  [fact("state", { patch: { state: "succeeded" } }), "Finished", "plain"],
  [fact("stage", { progress: { stage: "Writing rows" } }), "Writing rows", "plain"],
  [fact("log", { data: { level: "error", message: "disk" } }), "disk", "error"],
  [fact("log", { data: { message: "hello" } }), "hello", "info"],
  [fact("artifact", { patch: { artifacts: [{ name: "a.csv" }, { name: "b.csv" }] } }), "File: b.csv", "plain"],
  [fact("custom", { data: { name: "found", data: { rows: 3 } } }), 'found: {"rows":3}', "plain"],
  [fact("of a newer Petiole"), "of a newer Petiole", "plain"],
])("the line of a fact: %#", (event, text, level) => {
  expect(describeFact(event)).toEqual({ text, level });
});

test.each([undefined, null, 7, "text", [1], { message: { deep: [1] } }])("a log line may carry anything: %j", (data) => {
  expect(typeof describeFact(fact("log", data === undefined ? {} : { data })).text).toBe("string");
});

test("a line has an end", () => {
  expect(describeFact(fact("log", { data: { message: "x".repeat(5000) } })).text).toHaveLength(2001);
});

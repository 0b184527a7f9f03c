import { describe as suite, expect, test } from "vitest";
import type { Document } from "../../src/protocol/events.js";
import { countShown, describeChild, describeErrors, describeSteps } from "../../src/words/children.js";
import { child } from "../support/hand-view.js";

const NOW = 1_764_000_000_000;
const plain = (text: string | null): string | null => text && text.replaceAll("\u00a0", " ");

suite("a child in words", () => {
  test.each([
    [child(0, "queued"), "Waiting for a worker", null],
    [child(1, "running", { since: NOW - 40_000, fraction: 0.459 }), "Running for 40 s · 45 %", null],
    [child(2, "running", { since: NOW - 40_000, fraction: 0, attempt: 2 }), "Run 3 · Running for 40 s", null],
    [child(3, "retrying", { attempt: 1, error: { message: "No answer." } }), "To be run again", "No answer."],
    [child(4, "succeeded", { since: NOW }), "Finished", null],
    [child(5, "failed", { error: { type: "KeyError", message: "" } }), "Failed", "KeyError"],
    [child(6, "cancelled"), "Cancelled", null],
    [child(7, "lost", { error: { message: "The worker disappeared." } }), "The worker disappeared", null],
    [child(8, "skipped"), "Skipped: a task before it has not succeeded", null],
  ])("%j", (given, sentence, error) => {
    const words = describeChild(given, NOW);
    expect([words.name, plain(words.sentence), words.error]).toEqual([`Task ${given.number + 1}`, sentence, error]);
  });

  test("of a state that this file does not know is that state", () => {
    expect(describeChild(child(0, "paused" as "queued"), NOW).sentence).toBe("paused");
  });
});

suite("the steps", () => {
  const steps = (document: Document): string => describeSteps(document).map(({ text, is }) => `${text} ${is}`).join(", ");
  const named = ["Fetch", "Resize", "Publish"];

  test.each<[string, Document, string]>([
    ["none", { state: "running" }, ""],
    ["waiting", { state: "queued", steps: named }, "Fetch ahead, Resize ahead, Publish ahead"],
    ["the second", { state: "running", steps: named, progress: { step: 2 } }, "Fetch done, Resize current, Publish ahead"],
    ["failed in it", { state: "failed", steps: named, progress: { step: 2 } }, "Fetch done, Resize failed, Publish ahead"],
    ["done", { state: "succeeded", steps: named, progress: { step: 3 } }, "Fetch done, Resize done, Publish done"],
  ])("%s", (_what, document, expected) => expect(steps(document)).toBe(expected));

  test.each([
    [1, "s1 current, s2 ahead, s3 ahead, s4 ahead, s5 ahead, 15 more ahead"],
    [10, "7 done done, s8 done, s9 done, s10 current, s11 ahead, s12 ahead, 8 more ahead"],
    [20, "15 done done, s16 done, s17 done, s18 done, s19 done, s20 current"],
  ])("of a long chain those near the current one are named: %i", (step, expected) => {
    expect(steps({ state: "running", steps: Array.from({ length: 20 }, (_, index) => `s${index + 1}`), progress: { step } })).toBe(expected);
  });
});

test("the first errors are said once each, with all of their references", () => {
  const error = (message: string, reference?: string): object => ({ message, type: "E", ...(reference && { reference }) });
  const document = { error1: error("No answer.", "a"), error2: error("Full."), error3: error("No answer.", "b") } as Document;
  expect(describeErrors(document)).toEqual([
    { text: "No answer.", references: "References a, b" },
    { text: "Full.", references: null },
  ]);
  expect(describeErrors({})).toEqual([]);
});

test("each list counts what it shows", () => {
  const counts = { queued: 1, running: 2, retrying: 3, succeeded: 4, failed: 5, cancelled: 6, lost: 7, skipped: 8 };
  expect(countShown(counts, 36)).toEqual({ running: 5, failed: 12, all: 36 });
});

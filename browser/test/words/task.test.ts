import { describe as suite, expect, test } from "vitest";
import type { Moment } from "../../src/link/clock.js";
import type { Document } from "../../src/protocol/events.js";
import { describeArtifact } from "../../src/words/artifact.js";
import { formatTimeLeft } from "../../src/words/format.js";
import { describe } from "../../src/words/task.js";

const NOW = 1_764_000_000_000;
const plain = (text: string | null): string | null => text && text.replaceAll("\u00a0", " ");

function say(document: Document, moment: Partial<Moment> = {}): Record<string, unknown> {
  const words = describe(document, { now: NOW, ...moment });
  return {
    sentence: plain(words.sentence),
    left: plain(words.left),
    percent: plain(words.percent),
    bar: words.bar,
    detail: plain(words.detail),
  };
}

const million = { completed: 451_200, total: 1_000_000, unit: "rows", fraction: 0.4512 };

suite("the table of states", () => {
  test.each<[string, Document, Partial<Moment>, Record<string, unknown>]>([
    ["queued", { state: "queued" }, {}, { sentence: "Waiting for a worker", bar: "waiting", percent: null }],
    [
      "queued, and nobody has reported it",
      { state: "queued", unheard: "No worker has reported this task yet." },
      {},
      { sentence: "Waiting for a worker", detail: "No worker has reported this task yet." },
    ],
    ["running without progress", { state: "running" }, {}, { sentence: "Running…", bar: "unknown" }],
    [
      "running, total unknown",
      { state: "running", progress: { completed: 0, total: null, unit: "rows" } },
      {},
      { sentence: "Counting rows…", bar: "unknown", percent: null },
    ],
    [
      "running, total unknown, some done",
      { state: "running", progress: { completed: 12_400, total: null, unit: "rows" } },
      {},
      { sentence: "Counting rows… 12,400 so far", bar: "unknown" },
    ],
    [
      "running",
      { state: "running", run: 1, progress: { ...million, time_left: 47, rate: 11_678.4, stage: "Writing" } },
      {},
      {
        sentence: "451,200 of 1,000,000 rows",
        left: "about 45 s left",
        percent: "45 %",
        bar: "filling",
        detail: "Writing · 11,678 rows/s",
      },
    ],
    [
      "running, bytes",
      { state: "running", progress: { completed: 4_500_000, total: 15_200_000, unit: "bytes", rate: 1_200_000 } },
      {},
      { sentence: "4.5 MB of 15.2 MB", detail: "1.2 MB/s", percent: "29 %" },
    ],
    [
      "all counted but not done",
      { state: "running", progress: { completed: 1000, total: 1000, unit: "rows", fraction: 1 } },
      {},
      { sentence: "1,000 of 1,000 rows", percent: "99 %", bar: "filling" },
    ],
    [
      "total exceeded",
      { state: "running", progress: { completed: 1_020_000, total: 1_000_000, unit: "rows", time_left: 3 } },
      {},
      { sentence: "1,020,000 rows (expected 1,000,000)", percent: null, left: null, bar: "over" },
    ],
    [
      "a second loop, of nobody knows how many",
      { state: "running", progress: { completed: 10, total: 40, fraction: null } },
      {},
      { sentence: "10 of 40", percent: null, bar: "unknown" },
    ],
    [
      "stalled",
      { state: "stalled", progress: { ...million, time_left: 47 } },
      { heardAt: NOW - 40_000 },
      { sentence: "No news from the worker for 40 s", left: null, percent: "45 %", bar: "stalled" },
    ],
    ["stalled, never heard", { state: "stalled" }, {}, { sentence: "No news from the worker" }],
    [
      "retrying",
      { state: "retrying", run: 1, retry_at: NOW + 12_000, reason: "database unavailable", progress: million },
      {},
      { sentence: "Run 2 starts in 12 s: database unavailable", bar: "retrying", percent: "45 %" },
    ],
    [
      "retrying, overdue",
      { state: "retrying", run: 1, retry_at: NOW - 1 },
      {},
      { sentence: "Run 2 is about to start" },
    ],
    [
      "run 2",
      { state: "running", run: 2, progress: { completed: 12_000, total: 1_000_000, unit: "rows" } },
      {},
      { sentence: "Run 2 · 12,000 of 1,000,000 rows", percent: "1 %" },
    ],
    [
      "run 2, and why",
      { state: "running", run: 2, reason: "No news from the worker w1.", progress: { ...million, stage: "Writing" } },
      {},
      {
        sentence: "451,200 of 1,000,000 rows",
        detail: "Run 2, started again: No news from the worker w1 · Writing",
        percent: "45 %",
      },
    ],
    [
      "run 2 before it counts",
      { state: "running", run: 2, reason: "database unavailable" },
      {},
      { sentence: "Running…", detail: "Run 2, started again: database unavailable" },
    ],
    [
      "run 3 is awaited",
      { state: "retrying", run: 2, retry_at: NOW + 90_000, reason: "database unavailable" },
      {},
      { sentence: "Run 3 starts in 90 s: database unavailable" },
    ],
    ["the first run has no reason", { state: "running", run: 1, reason: "an old one" }, {}, { detail: null }],
    ["a success has no reason", { state: "succeeded", run: 2, reason: "an old one" }, {}, { detail: null }],
    ["stopping by force", { state: "cancelling", forced: true }, {}, { sentence: "Stopping by force…", detail: null }],
    ["cancelling", { state: "cancelling", progress: million }, {}, { sentence: "Stopping…", bar: "frozen" }],
    ["cancelled", { state: "cancelled", progress: million }, {}, { sentence: "Cancelled at 45 %", bar: "frozen" }],
    ["cancelled early", { state: "cancelled" }, {}, { sentence: "Cancelled" }],
    [
      "failed",
      { state: "failed", error: { message: "The disk is full.", reference: "7F3A" } },
      {},
      { sentence: "The disk is full.", bar: "broken" },
    ],
    ["failed, reason only", { state: "failed", reason: "Too many rows." }, {}, { sentence: "Too many rows.", detail: null }],
    ["lost, which is said once", { state: "lost", reason: "The worker disappeared." }, {}, { sentence: "The worker disappeared", detail: null }],
    [
      "lost, and more is known of it",
      { state: "lost", reason: "The worker disappeared. What Celery's result backend has of it can't be read." },
      {},
      { detail: "What Celery's result backend has of it can't be read." },
    ],
    [
      "lost, and the reason goes on",
      { state: "lost", reason: "The worker disappeared, and what is known of the task can't be read." },
      {},
      { detail: "What is known of the task can't be read." },
    ],
    ["lost for another reason", { state: "lost", reason: "The worker was shut down." }, {}, { detail: "The worker was shut down." }],
    [
      "stalled, and which worker it is",
      { state: "stalled", reason: "No news from the worker w@host. The task is sent again." },
      {},
      { sentence: "No news from the worker", detail: "It is w@host. The task is sent again." },
    ],
    ["lost", { state: "lost", progress: million }, {}, { sentence: "The worker disappeared at 45 %", bar: "broken" }],
    [
      "succeeded with a file",
      {
        state: "succeeded",
        started_at: NOW - 13_000,
        finished_at: NOW,
        artifacts: [{ name: "a.csv", url: "/a", rows: 1_000_000, size: 15_200_000, expires_at: Date.UTC(2025, 10, 30, 12) }],
      },
      {},
      {
        sentence: "1,000,000 rows · 15.2 MB · kept until 30 Nov",
        percent: "100 %",
        bar: "full",
        detail: "Finished in 13 s",
      },
    ],
    [
      "succeeded without a file",
      { state: "succeeded", progress: { completed: 12, total: 12, unit: "rows" } },
      {},
      { sentence: "12 rows", percent: "100 %", bar: "full" },
    ],
    ["succeeded without anything", { state: "succeeded" }, {}, { sentence: "Finished" }],
    [
      "succeeded, of nobody knows what",
      { state: "succeeded", started_at: NOW - 13_000, finished_at: NOW, progress: { completed: 10, total: 10 }, result: 42 },
      {},
      { sentence: "Finished in 13 s", detail: "Result: 42" },
    ],
    [
      "succeeded with a result and no file",
      { state: "succeeded", progress: { completed: 12, total: 12, unit: "rows" }, result: "All is well." },
      {},
      { sentence: "12 rows", detail: "All is well." },
    ],
    [
      "a file says more than a result",
      { state: "succeeded", progress: { completed: 5 }, artifacts: [{ url: "/a", rows: 5 }], result: { rows: 5 } },
      {},
      { sentence: "5 rows", detail: null },
    ],
    [
      "running, nothing counted and nothing to count",
      { state: "running", progress: { completed: 0, total: null, description: "Waiting for the other side" } },
      {},
      { sentence: "Running…", detail: "Waiting for the other side" },
    ],
    [
      "running, counted without an end",
      { state: "running", progress: { completed: 60, total: null } },
      {},
      { sentence: "Counting… 60 so far", percent: null },
    ],
  ])("%s", (_name, document, moment, expected) => {
    expect(say(document, moment)).toMatchObject(expected);
  });

  test.each<[string, Document, boolean]>([
    ["in time", { state: "cancelling", forcible: true, force_after: NOW }, true],
    ["too early", { state: "cancelling", forcible: true, force_after: NOW + 1 }, false],
    ["asked for already", { state: "cancelling", forcible: true, force_after: NOW, forced: true }, false],
    ["where the worker can't", { state: "cancelling", force_after: NOW }, false],
    ["before the server has said when", { state: "cancelling", forcible: true }, false],
    ["of a task that has ended", { state: "cancelled", forcible: true, force_after: NOW }, false],
  ])("force stop %s", (_name, document, expected) => {
    const words = describe(document, { now: NOW });
    expect(words.forcible).toBe(expected);
    expect(words.detail).toBe(expected ? "It has not stopped by itself yet." : null);
  });

  test("the reference is of failed tasks only", () => {
    const error = { message: "No.", reference: "7F3A" };
    expect(describe({ state: "failed", error }, { now: NOW }).reference).toBe("7F3A");
    expect(describe({ state: "running", error }, { now: NOW }).reference).toBeNull();
  });

  test("an expired file says when it was removed", () => {
    const artifact = { url: "/a", rows: 3, expires_at: Date.UTC(2025, 10, 23, 12) };
    expect(plain(describeArtifact(artifact, NOW))).toBe("File removed on 23 Nov");
  });
});

suite("time left", () => {
  test("it counts down between samples, and is not said once it is long overdue", () => {
    const document: Document = { state: "running", progress: { ...million, time_left: 60 } };
    expect(say(document, { progressAt: NOW - 30_000 })["left"]).toBe("about 30 s left");
    expect(say(document, { progressAt: NOW - 65_000 })["left"]).toBe("a few seconds left");
    expect(say(document, { progressAt: NOW - 75_000 })["left"]).toBeNull();
  });

  test.each([
    [0, "a few seconds left"],
    [9.9, "a few seconds left"],
    [12, "about 10 s left"],
    [13, "about 15 s left"],
    [89, "about 90 s left"],
    [90, "about 2 min left"],
    [3540, "about 59 min left"],
    [3600, "about 1 h left"],
    [7500, "about 2 h 5 min left"],
    [260_000, "about 3 days left"],
  ])("%d s", (seconds, words) => {
    expect(plain(formatTimeLeft(seconds, "en"))).toBe(words);
  });
});

suite("a group", () => {
  const none = { queued: 0, running: 0, retrying: 0, succeeded: 0, failed: 0, cancelled: 0, lost: 0, skipped: 0 };
  const group = (state: Document["state"], children: Partial<typeof none>, more: Document = {}): Document => {
    const counts = { ...none, ...children };
    const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
    const completed = total - counts.queued - counts.running - counts.retrying;
    const progress = { completed, total, fraction: total ? completed / total : 1, unit: "tasks", children: counts };
    return { ...(state && { state }), progress, ...more };
  };
  const offer = (document: Document): string | null => describe(document, { now: NOW }).offer;

  test.each<[string, Document, Record<string, unknown>]>([
    ["waits", group("queued", { queued: 9 }), { sentence: "Waiting for a worker", percent: null, bar: "waiting" }],
    [
      "runs",
      group("running", { succeeded: 9798, failed: 12, lost: 2, running: 8, queued: 180 }),
      { sentence: "9,812 of 10,000 tasks · 14 failed", percent: "98 %", bar: "filling" },
    ],
    [
      "runs, and nothing happens in it",
      group("running", { succeeded: 1, queued: 1 }, { unheard: "No worker has reported its tasks." }),
      { sentence: "1 of 2 tasks", detail: "No worker has reported its tasks." },
    ],
    ["runs without failures", group("running", { succeeded: 1, running: 1 }), { sentence: "1 of 2 tasks", percent: "50 %" }],
    [
      "runs again",
      group("running", { succeeded: 1, running: 1 }, { run: 1 }),
      { sentence: "Run 2 · 1 of 2 tasks" },
    ],
    // What was cancelled has ended, and isn't done.
    ["is being stopped", group("cancelling", { succeeded: 2, running: 2, cancelled: 6 }), { percent: "20 %", bar: "frozen" }],
    ["is cancelled", group("cancelled", { succeeded: 2, cancelled: 8 }), { sentence: "Cancelled at 20 %", percent: "20 %" }],
    ["is cancelled before it began", group("cancelled", { cancelled: 8 }), { sentence: "Cancelled", percent: null }],
    [
      "has failed",
      group("failed", { succeeded: 9000, failed: 1000, skipped: 2000 }, { reason: "1000 of 12000 tasks failed." }),
      { sentence: "1,000 of 12,000 tasks failed.", percent: "75 %", bar: "broken", detail: null },
    ],
    [
      "is done",
      group("succeeded", { succeeded: 10_000 }, { started_at: NOW - 200_000, finished_at: NOW }),
      { sentence: "10,000 tasks", percent: "100 %", bar: "full", detail: "Finished in 3 min" },
    ],
    ["of nothing is done", group("succeeded", {}), { sentence: "Finished", percent: "100 %" }],
  ])("%s", (_what, document, expected) => {
    expect(say(document)).toMatchObject(expected);
  });

  test("offers to start those that failed again, and only those", () => {
    expect(offer(group("failed", { succeeded: 1, failed: 13, lost: 1 }))).toBe("Start the 14 that failed again");
    expect(offer(group("failed", { succeeded: 1, lost: 1 }))).toBe("Start the one that failed again");
    expect(offer(group("cancelled", { cancelled: 3, failed: 1200 }))).toBe("Start the 1,200 that failed again");
    expect(offer(group("cancelled", { cancelled: 3 }))).toBe("Start again");
    expect(offer(group("succeeded", { succeeded: 3 }))).toBeNull();
  });
});

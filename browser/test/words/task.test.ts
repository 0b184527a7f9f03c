import { describe as suite, expect, test } from "vitest";
import { type Moment, ServerClock } from "../../src/link/clock.js";
import { backoff, DEFAULT_TIMING, retryAfter } from "../../src/link/timing.js";
import type { JSONValue } from "../../src/protocol/encoding.js";
import type { Document } from "../../src/protocol/events.js";
import { Announcer } from "../../src/words/announcer.js";
import { describeArtifact } from "../../src/words/artifact.js";
import { formatDuration, formatRate, formatSize, formatTimeLeft } from "../../src/words/format.js";
import { describeLink } from "../../src/words/link.js";
import { describeReceipt } from "../../src/words/receipt.js";
import { describeResult } from "../../src/words/result.js";
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

suite("results", () => {
  test.each<[JSONValue | undefined, string | null]>([
    [undefined, null],
    [null, null],
    ["", null],
    [[], null],
    [{}, null],
    [2013, "Result: 2013"],
    [0.25, "Result: 0.25"],
    [true, "Result: true"],
    ["9007199254740993", "9007199254740993"],
    ["x".repeat(300), `${"x".repeat(200)}…`],
    [{ current: 100, total: 100, status: "Task completed!", result: 42 }, "Task completed! · Result: 42"],
    [{ message: "3 rows were skipped" }, "3 rows were skipped"],
    [{ rows: 500, id: "9007199254740993" }, "rows: 500 · id: 9007199254740993"],
    [{ rows: [1, 2] }, '{"rows":[1,2]}'],
    [[1, 2, 3], "Result: [1,2,3]"],
  ])("%j", (result, words) => {
    expect(describeResult(result)).toBe(words);
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

suite("figures", () => {
  test.each([
    [0, "0 bytes"],
    [999, "999 bytes"],
    [1000, "1 kB"],
    [15_200_000, "15.2 MB"],
    [152_400_000, "152 MB"],
    [999_990, "1 MB"],
    [3_000_000_000_000, "3 TB"],
  ])("%d bytes", (size, words) => {
    expect(plain(formatSize(size, "en"))).toBe(words);
  });

  test("rates", () => {
    expect(plain(formatRate(0.4, "rows", "en"))).toBe("0.4 rows/s");
    expect(plain(formatRate(75_321.2, "rows", "en"))).toBe("75,321 rows/s");
    expect(plain(formatRate(3, null, "en"))).toBe("3 per second");
  });

  test("durations", () => {
    expect([3, 90, 91, 3599, 3600, 200_000].map((seconds) => plain(formatDuration(seconds, "en")))).toEqual([
      "3 s",
      "90 s",
      "2 min",
      "1 h",
      "1 h",
      "2 days",
    ]);
  });

  test("the locale writes the numbers", () => {
    const document: Document = { state: "running", progress: million };
    expect(describe(document, { now: NOW }, "de").sentence).toBe("451.200 of 1.000.000 rows");
  });
});

suite("link and receipt", () => {
  test("the link is silent while live and for the first two seconds", () => {
    expect(describeLink("live", 9)).toBeNull();
    expect(describeLink("reconnecting", 1.9)).toBeNull();
    expect(describeLink("reconnecting", 2)).toMatch(/^Reconnecting…/);
    expect(describeLink("polling", 0)).toMatch(/every 3 s/);
    expect(describeLink("offline", 0)).toMatch(/offline/);
  });

  test("a receipt says whether anything is missing", () => {
    expect(describeReceipt({ facts: 1204, shown: 1204, complete: true })).toBe("1,204 of 1,204 events, none missing");
    expect(describeReceipt({ facts: 1204, shown: 3, complete: false })).toBe(
      "3 of 1,204 events; earlier ones were read as a summary",
    );
  });
});

suite("announcements", () => {
  const at = (completed: number, state: Document["state"] = "running"): Document =>
    ({ state, title: "Flights", progress: { completed, total: 100, unit: "rows" } }) as Document;
  const words = (document: Document): ReturnType<typeof describe> => describe(document, { now: NOW });

  test("start, quarters at least ten seconds apart, changes of state, and the end", () => {
    const announcer = new Announcer();
    const said = (document: Document, seconds: number): string | null =>
      plain(announcer.take(words(document), seconds * 1000));
    expect(said({}, 0)).toBeNull();
    expect(said(at(0), 1)).toBe("Flights: 0 of 100 rows");
    expect(said(at(10), 3)).toBeNull();
    expect(said(at(26), 5)).toBeNull();
    expect(said(at(27), 11)).toBe("Flights: 27 %");
    expect(said(at(30), 40)).toBeNull();
    expect(said(at(76), 41)).toBe("Flights: 76 %");
    expect(said(at(76, "stalled"), 42)).toBe("Flights: No news from the worker");
    expect(said(at(80), 43)).toBe("Flights: 80 of 100 rows");
    expect(said(at(100, "succeeded"), 44)).toBe("Flights: Finished. 100 rows");
  });

  test("a later run says why, and a task that doesn't stop says that it can be forced", () => {
    const announcer = new Announcer();
    const said = (document: Document): string | null => plain(announcer.take(words(document), 0));
    said(at(50));
    expect(said({ ...at(0), run: 2, reason: "The worker disappeared." })).toBe(
      "Flights: Run 2, started again: The worker disappeared",
    );
    expect(said({ ...at(1), run: 2, reason: "The worker disappeared." })).toBeNull();
    const stopping: Document = { ...at(1, "cancelling"), forcible: true, force_after: NOW + 1 };
    expect(said(stopping)).toBe("Flights: Stopping…");
    expect(said({ ...stopping, force_after: NOW })).toMatch(/Force stop is possible/);
    expect(said({ ...stopping, force_after: NOW })).toBeNull();
    expect(announcer.take(words({ ...stopping, force_after: NOW, forced: true }), 0)).toBeNull();
  });

  test("failure is left to the alert, and an old end is no news", () => {
    const announcer = new Announcer();
    announcer.take(words(at(1)), 0);
    expect(announcer.take(words(at(1, "failed")), 1)).toBeNull();
    expect(new Announcer().take(words(at(100, "succeeded")), 0)).toBeNull();
  });
});

suite("waiting", () => {
  test("backoff is anything up to a ceiling that doubles", () => {
    expect(backoff(0, DEFAULT_TIMING, () => 0)).toBe(0);
    expect([0, 1, 4, 5, 60].map((failures) => backoff(failures, DEFAULT_TIMING, () => 1))).toEqual([1, 2, 8, 8, 8]);
  });

  test("Retry-After is a number or a date, within a minute", () => {
    expect(retryAfter("7", NOW)).toBe(7);
    expect(retryAfter("0", NOW)).toBe(1);
    expect(retryAfter("86400", NOW)).toBe(60);
    expect(retryAfter(new Date(NOW + 9000).toUTCString(), NOW)).toBe(9);
    expect(retryAfter(null, NOW)).toBeNull();
    expect(retryAfter("soon", NOW)).toBeNull();
  });

  test("the server's clock is that of its quickest event", () => {
    let local = NOW;
    const clock = new ServerClock(() => local);
    expect(clock.now()).toBe(NOW);
    clock.hear(NOW - 65_000);
    clock.hear(NOW - 60_000);
    clock.hear(NOW - 70_000);
    local += 1000;
    expect(clock.now()).toBe(NOW - 59_000);
  });
});

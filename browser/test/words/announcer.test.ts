import { describe as suite, expect, test } from "vitest";
import type { Document } from "../../src/protocol/events.js";
import { Announcer } from "../../src/words/announcer.js";
import { describe } from "../../src/words/task.js";

const NOW = 1_764_000_000_000;
const plain = (text: string | null): string | null => text && text.replaceAll("\u00a0", " ");

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

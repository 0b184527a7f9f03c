import { describe as suite, expect, test } from "vitest";
import type { Document } from "../../src/protocol/events.js";
import { formatDuration, formatRate, formatSize } from "../../src/words/format.js";
import { describe } from "../../src/words/task.js";

const NOW = 1_764_000_000_000;
const million = { completed: 451_200, total: 1_000_000, unit: "rows", fraction: 0.4512 };
const plain = (text: string | null): string | null => text && text.replaceAll("\u00a0", " ");

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

import { describe as suite, expect, test } from "vitest";
import type { JSONValue } from "../../src/protocol/encoding.js";
import { describeResult } from "../../src/words/result.js";

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

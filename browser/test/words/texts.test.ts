import { describe, expect, test } from "vitest";
import { TextAnnouncer } from "../../src/words/text-announcer.js";
import { describeBegun, describePartial, describeTextName } from "../../src/words/texts.js";

describe("words about texts", () => {
  test("a name is a heading", () => {
    expect(["output", "build_log", "step-2", "_", "GPT"].map(describeTextName)).toEqual(["Output", "Build log", "Step 2", "", "GPT"]);
  });

  test("nothing is said of a text that is whole, or still grows", () => {
    expect(describePartial({}, undefined)).toBeNull();
    expect(describePartial({ state: "running" }, { length: 3, complete: null, omitted: 0 })).toBeNull();
    expect(describePartial({ state: "succeeded" }, { length: 3, complete: true, omitted: 0 })).toBeNull();
  });

  test("why it is partial, what was omitted and what is missing are said together", () => {
    const receipt = { length: 3, complete: false, omitted: 2_000_000 };
    expect(describePartial({ state: "cancelled" }, receipt, "de")).toBe(
      "Incomplete: the task was cancelled. 2\u00a0MB past the limit were omitted. A part of it is missing on this page. Reload the page.",
    );
    expect(describeBegun(2)).toBe("Run 2 begins anew.");
  });
});

describe("text announcer", () => {
  test("only ended sentences and lines are said, at most every five seconds, in order and once", () => {
    const announcer = new TextAnnouncer();
    announcer.add("Half a sen");
    expect(announcer.take(0, false)).toBeNull();
    announcer.add("tence. The version is 1.5 and");
    expect(announcer.take(1, false)).toBe("Half a sentence.");
    announcer.add(" \u201cdone!\u201d he said\nrest");
    expect(announcer.take(5000, false)).toBeNull();
    expect(announcer.take(5001, false)).toBe("The version is 1.5 and \u201cdone!\u201d he said");
    expect(announcer.take(20_000, false)).toBeNull();
    expect(announcer.take(20_000, true)).toBe("rest");
    expect(announcer.take(40_000, true)).toBeNull();
  });

  test("of a flood the newest is said, from the beginning of a word", () => {
    const announcer = new TextAnnouncer();
    for (let number = 0; number < 10_000; number += 1) announcer.add(`Line ${number} of the build.\n`);
    const said = announcer.take(0, false)!;
    expect(said.length).toBeLessThan(310);
    expect(said).toMatch(/^… \S/);
    expect(said).toMatch(/Line 9999 of the build\.$/);
  });

  test("text without an end is said in the end, and before if it is long", () => {
    const announcer = new TextAnnouncer();
    announcer.add("word ".repeat(100));
    expect(announcer.take(0, false)).toMatch(/^… (word )+word$/);
  });

  test("what was cleared isn't said", () => {
    const announcer = new TextAnnouncer();
    announcer.add("An answer.\n");
    announcer.clear();
    expect(announcer.take(0, true)).toBeNull();
  });
});

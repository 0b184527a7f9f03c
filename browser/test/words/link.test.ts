import { describe as suite, expect, test } from "vitest";
import { describeLink } from "../../src/words/link.js";
import { describeReceipt } from "../../src/words/receipt.js";

suite("link and receipt", () => {
  test("the link is silent while live and for the first two seconds", () => {
    expect(describeLink("live", 9)).toBeNull();
    expect(describeLink("reconnecting", 1.9)).toBeNull();
    expect(describeLink("reconnecting", 2)).toMatch(/^Reconnecting…/);
    expect(describeLink("polling", 0)).toMatch(/every 3 s/);
    expect(describeLink("offline", 0)).toMatch(/offline/);
  });

  test("a receipt says whether anything is missing", () => {
    expect(describeReceipt({ facts: 1204, shown: 1204, complete: true, texts: {} })).toBe("1,204 of 1,204 events, none missing");
    expect(describeReceipt({ facts: 1204, shown: 3, complete: false, texts: {} })).toBe(
      "3 of 1,204 events; earlier ones were read as a summary",
    );
    const texts = { output: { length: 3, complete: false, omitted: 0 } };
    expect(describeReceipt({ facts: 12, shown: 12, complete: false, texts })).toBe(
      "12 of 12 events, none missing; a part of a text is missing on this page",
    );
  });
});

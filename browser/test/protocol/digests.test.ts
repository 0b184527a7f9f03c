import { createHash, randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { sha1 } from "../../src/protocol/sha1.js";

const truth = (text: string): string => createHash("sha1").update(text, "ascii").digest("hex");

test("every length over three blocks agrees with node:crypto", () => {
  for (let length = 0; length <= 192; length += 1) {
    const text = "0123456789abcdef".repeat(12).slice(0, length);
    expect(sha1(text), `length ${length}`).toBe(truth(text));
  }
});

test("random chains agree with node:crypto", () => {
  for (let round = 0; round < 500; round += 1) {
    const text = randomBytes(16).toString("hex");
    expect(sha1(text)).toBe(truth(text));
  }
});

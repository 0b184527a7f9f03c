import { createHash, randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { sha1, sha256 } from "../../src/protocol/digests.js";

describe.each([
  ["sha1", sha1],
  ["sha256", sha256],
] as const)("%s", (name, digest) => {
  const truth = (text: string): string => createHash(name).update(text, "utf8").digest("hex");

  test("every length over three blocks agrees with node:crypto", () => {
    for (let length = 0; length <= 192; length += 1) {
      const text = "0123456789abcdef".repeat(12).slice(0, length);
      expect(digest(text), `length ${length}`).toBe(truth(text));
    }
  });

  test("random chains and text of every script agree with node:crypto", () => {
    for (let round = 0; round < 500; round += 1) {
      const text = randomBytes(16).toString("hex");
      expect(digest(text)).toBe(truth(text));
    }
    for (const text of ["Grüß Gott", "שלום", "👩‍👩‍👧 zwölf", "\0\u202e\ud800", "x".repeat(1 << 20)]) expect(digest(text)).toBe(truth(text));
  });
});

import { describe as suite, expect, test } from "vitest";
import { ServerClock } from "../../src/link/clock.js";
import { backoff, DEFAULT_TIMING, retryAfter } from "../../src/link/timing.js";

const NOW = 1_764_000_000_000;

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

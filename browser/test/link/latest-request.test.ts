/** How long a request waits for its answer, and that it waits longer where answers are slow. */

import { afterEach, expect, test, vi } from "vitest";
import { LatestRequest } from "../../src/link/latest-request.js";
import { DEFAULT_TIMING } from "../../src/link/timing.js";

afterEach(() => vi.useRealTimers());

/** A server whose answer to a question takes so many seconds. */
function slow(takes: number): { waits: number[]; answers: string[]; request: LatestRequest<string, string> } {
  const waits: number[] = [];
  const answers: string[] = [];
  const request = new LatestRequest<string, string>({
    ask: async (question, within) => {
      waits.push(within);
      await new Promise((answered) => setTimeout(answered, 1000 * Math.min(takes, within)));
      if (within <= takes) throw new Error("no answer in time");
      return question;
    },
    open: () => true,
    answered: (answer) => answers.push(answer),
    refused: () => undefined,
    failed: () => undefined,
    timing: DEFAULT_TIMING,
    random: () => 0,
  });
  return { waits, answers, request };
}

test("an answer that takes longer than one waits for it arrives at a later attempt, and the next one is waited for at once", async () => {
  vi.useFakeTimers();
  const { waits, answers, request } = slow(12);
  request.send("first");
  await vi.advanceTimersByTimeAsync(60_000);
  expect(answers).toEqual(["first"]);
  expect(waits).toEqual([5, 10, 20]);
  request.send("second");
  await vi.advanceTimersByTimeAsync(13_000);
  expect(answers).toEqual(["first", "second"]);
  expect(waits[3]).toBeCloseTo(24, 0);
});

test("a server that answers nothing is asked again after a minute at the latest", async () => {
  vi.useFakeTimers();
  const { waits, request } = slow(Infinity);
  request.send("first");
  await vi.advanceTimersByTimeAsync(600_000);
  expect(Math.max(...waits)).toBe(60);
  expect(waits.length).toBeGreaterThan(10);
  request.cancel();
});

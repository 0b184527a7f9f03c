import { expect, test, vi } from "vitest";
import { inSight } from "../../src/elements/group/list.js";
import { ChildPages } from "../../src/elements/group/pages.js";
import type { Child, ChildPage } from "../../src/protocol/children.js";
import { child } from "../support/hand-view.js";

/** Pages of so many children each; the cursor is the number of the child before. */
function serve(held: { children: Child[] }, size: number): (cursor: string | null) => Promise<ChildPage> {
  return async (cursor) => {
    const after = held.children.filter(({ number }) => number > Number(cursor ?? -1));
    const children = after.slice(0, size);
    return { children, next: after.length > size ? String(children[size - 1]!.number) : null };
  };
}

const numbered = (...numbers: number[]): Child[] => numbers.map((number) => child(number, "running"));
const numbers = (pages: ChildPages): number[] => pages.children.map(({ number }) => number);

test("pages are read as far as somebody looks", async () => {
  const ask = vi.fn(serve({ children: numbered(...Array(100).keys()) }, 10));
  const pages = new ChildPages(ask);
  expect([pages.known, pages.complete]).toEqual([false, false]);
  await pages.read(0, 14);
  expect([pages.children.length, ask.mock.calls.length, pages.complete]).toEqual([20, 2, false]);
  await pages.read(20, 20);
  expect([pages.children.length, ask.mock.lastCall]).toEqual([30, ["19"]]);
  // The pages in sight alone are read anew.
  ask.mockClear();
  await pages.read(12, 18);
  expect(ask.mock.calls).toEqual([["9"]]);
  expect(pages.children.length).toBe(30);
  for (let last = 30; last < 100; last += 10) await pages.read(last, last);
  expect([numbers(pages), pages.complete]).toEqual([[...Array(100).keys()], true]);
});

test("where a page ends elsewhere than before, what is behind it is read again: none is twice, none is missed", async () => {
  const held = { children: numbered(0, 1, 2, 3, 4, 5, 6, 7) };
  const pages = new ChildPages(serve(held, 3));
  await pages.read(0, 7);
  expect(numbers(pages)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  held.children = numbered(0, 2, 4, 6, 7, 8, 9);
  await pages.read(0, 1);
  expect([numbers(pages), pages.complete]).toEqual([[0, 2, 4], false]);
  await pages.read(3, 6);
  expect([numbers(pages), pages.complete]).toEqual([[0, 2, 4, 6, 7, 8, 9], true]);
  held.children = [];
  await pages.read(0, 6);
  expect([numbers(pages), pages.known, pages.complete]).toEqual([[], true, true]);
});

test("with a filter a page may be empty, though others follow", async () => {
  const answers = [null, "1", "2", null].slice(1).map((next) => ({ children: [] as Child[], next }));
  answers[2] = { children: numbered(7), next: null };
  const ask = vi.fn(async () => answers.shift()!);
  const pages = new ChildPages(ask);
  await pages.read(0, 10);
  expect([numbers(pages), ask.mock.calls]).toEqual([[7], [[null], ["1"], ["2"]]]);
});

test("one reading at a time; what fails is said and can be tried again", async () => {
  const ask = vi.fn(serve({ children: numbered(0) }, 3));
  const pages = new ChildPages(ask);
  const first = pages.read(0, 0);
  expect(await pages.read(0, 0)).toBe(false);
  expect(await first).toBe(true);
  ask.mockRejectedValueOnce(new TypeError("Failed to fetch"));
  await expect(pages.read(0, 0)).rejects.toThrow("Failed to fetch");
  expect([pages.reading, await pages.read(0, 0), numbers(pages)]).toEqual([false, true, [0]]);
});

test.each([
  [0, 288, 10_000, { first: 0, end: 14 }],
  [4800, 288, 10_000, { first: 92, end: 114 }],
  [479_712, 288, 10_000, { first: 9986, end: 10_000 }],
  [0, 100_000, 10_000, { first: 0, end: 60 }],
  [9600, 288, 3, { first: 2, end: 3 }],
  [0, 288, 0, { first: 0, end: 0 }],
])("rows in sight of %i px at %i px of %i rows", (top, height, rows, expected) => {
  expect(inSight(top, height, 48, rows)).toEqual(expected);
});

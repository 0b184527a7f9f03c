import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { TaskClient } from "../../src/client/client.js";
import type { Child, ChildState } from "../../src/protocol/children.js";
import { child } from "../support/hand-view.js";
import { TestServer } from "../support/server.js";

const GROUP = "group:7c1f";
const WITHIN = { timeout: 5000, interval: 5 };

let server: TestServer;
let url: string;
let client: TaskClient;

beforeEach(async () => {
  server = new TestServer();
  url = await server.open();
  client = new TaskClient({ url, timing: { reconnectFirst: 0.05, fallbackAfter: 0.1, pollEvery: 0.05, answerWithin: 0.5 } });
});

afterEach(async () => {
  client.close();
  await server.close();
});

async function all(children: AsyncIterable<Child>): Promise<number[]> {
  const numbers: number[] = [];
  for await (const { number } of children) numbers.push(number);
  return numbers;
}

test("a group is followed by its id, which is its feed's whole name, and acknowledged by it", async () => {
  const journal = server.journal(GROUP);
  journal.state("queued");
  const view = client.watch(GROUP);
  const ends = vi.fn();
  view.on("end", ends);
  await vi.waitFor(() => expect(view.document.state).toBe("queued"), WITHIN);
  expect([view.id, view.feed]).toEqual([GROUP, GROUP]);
  server.ring(journal.state("running"), journal.counter(50), journal.state("failed"));
  await vi.waitFor(() => expect(ends).toHaveBeenCalledOnce(), WITHIN);
  await view.acknowledge();
  expect(server.acknowledged).toEqual([{ way: "socket", message: { tasks: [GROUP] } }]);
});

test("a group that begins again, in a new epoch, is watched anew from its snapshot and has a receipt of its own", async () => {
  const journal = server.journal(GROUP);
  journal.state("running");
  journal.state("failed");
  const first = client.watch(GROUP);
  await vi.waitFor(() => expect(first.ended).toBe(true), WITHIN);
  server.journals.delete(GROUP);
  const again = server.journal(GROUP);
  const { place: cursor } = again;
  again.state("queued", { run: 1 });
  const second = client.resume({ id: GROUP, feed: GROUP, cursor, document: {} });
  await vi.waitFor(() => expect(second.document.run).toBe(1), WITHIN);
  server.ring(again.state("running"), again.state("succeeded"));
  await vi.waitFor(() => expect(second.ended).toBe(true), WITHIN);
  expect(second.receipt).toEqual({ facts: 3, shown: 3, complete: true, texts: {} });
});

test("where sockets are blocked a group is polled", async () => {
  server.sockets = false;
  server.journal(GROUP).state("running");
  const view = client.watch(GROUP);
  await vi.waitFor(() => expect(view.document.state).toBe("running"), WITHIN);
  server.journal(GROUP).state("succeeded");
  await vi.waitFor(() => expect(view.ended).toBe(true), WITHIN);
});

test("its children are read page by page, and no page before it is needed", async () => {
  server.journal(GROUP).state("running");
  const states: ChildState[] = ["succeeded", "failed", "lost", "running", "queued"];
  server.children = Array.from({ length: 25 }, (_, number) => child(number, states[number % 5]!));
  expect(await all(client.children(GROUP, { limit: 10 }))).toEqual(server.children.map(({ number }) => number));
  expect(server.childLists).toEqual(["?limit=10", "?limit=10&cursor=10", "?limit=10&cursor=20"]);
  expect(await all(client.children(GROUP, { state: ["failed", "lost"], limit: 2 }))).toEqual([1, 2, 6, 7, 11, 12, 16, 17, 21, 22]);
  expect(server.childLists[3]).toBe("?state=failed%2Clost&limit=2");
  const before = server.childLists.length;
  for await (const { number } of client.children(GROUP, { limit: 10 })) if (number === 3) break;
  expect(server.childLists.length).toBe(before + 1);
});

test("children of what is no group are refused with a sentence", async () => {
  await expect(all(client.children("7c1f"))).rejects.toThrow("not a group's id");
});

test("a server that answers with something else is refused with a sentence", async () => {
  server.journal(GROUP).state("running");
  server.children = [7 as unknown as Child];
  await expect(all(client.children(GROUP))).rejects.toThrow("did not answer with what the protocol says");
});

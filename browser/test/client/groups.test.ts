import { afterEach, beforeEach, describe as suite, expect, test, vi } from "vitest";
import { TaskClient } from "../../src/client/client.js";
import type { Child, ChildState } from "../../src/protocol/children.js";
import type { TaskView } from "../../src/tasks/view.js";
import { child } from "../support/hand-view.js";
import type { Journal } from "../support/journal.js";
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

suite("a group that has ended and begins again, in a new epoch", () => {
  let view: TaskView;
  const heard = { ends: vi.fn(), again: vi.fn(), resets: vi.fn() };

  beforeEach(async () => {
    vi.resetAllMocks();
    const journal = server.journal(GROUP);
    journal.state("running");
    journal.state("failed");
    view = client.watch(GROUP);
    view.on("end", heard.ends);
    view.on("again", heard.again);
    view.on("reset", heard.resets);
    await vi.waitFor(() => expect(view.ended).toBe(true), WITHIN);
    expect(view.receipt).toEqual({ facts: 2, shown: 2, complete: true, texts: {} });
  });

  /** What another page's retry does. */
  function begin(): Journal {
    server.journals.delete(GROUP);
    return server.journal(GROUP);
  }

  async function ends(again: Journal): Promise<void> {
    server.ring(again.state("running"), again.fact("log"), again.state("succeeded"));
    await vi.waitFor(() => expect(view.ended).toBe(true), WITHIN);
    expect(view.receipt).toEqual({ facts: 4, shown: 4, complete: true, texts: {} });
    expect([heard.ends, heard.again, heard.resets].map(({ mock }) => mock.calls.length)).toEqual([2, 1, 0]);
    view.close();
    await vi.waitFor(() => expect(server.unwatched).toContain(GROUP), WITHIN);
  }

  test("is followed from its first fact, when that is rung", async () => {
    const again = begin();
    server.ring(again.state("queued", { run: 1 }));
    await vi.waitFor(() => expect(view.document.state).toBe("queued"), WITHIN);
    expect([view.ended, view.receipt.shown]).toEqual([false, 1]);
    await ends(again);
  });

  test("is followed from its first fact, when the relay resets its readers", async () => {
    const again = begin();
    again.state("queued", { run: 1 });
    server.reset(GROUP);
    await vi.waitFor(() => expect(view.document.state).toBe("queued"), WITHIN);
    await ends(again);
  });

  test("is followed from its first fact, if it began while the connection was away", async () => {
    server.cut();
    const again = begin();
    again.state("queued", { run: 1 });
    await vi.waitFor(() => expect(view.document.state).toBe("queued"), WITHIN);
    await ends(again);
  });

  test("is followed from the snapshot that answers this view's own retry", async () => {
    const { feed } = await view.retry();
    expect([feed, view.ended, heard.again.mock.calls.length]).toEqual([GROUP, false, 1]);
    await vi.waitFor(() => expect(view.document).toMatchObject({ state: "queued", run: 1 }), WITHIN);
    await ends(server.journal(GROUP));
  });

  test("is no news after its view was closed, and has ended once however often it is read", async () => {
    server.cut();
    await vi.waitFor(() => expect([view.link, view.reading]).toEqual(["live", false]), WITHIN);
    view.close();
    server.ring(begin().state("queued"));
    await new Promise((done) => setTimeout(done, 50));
    expect([heard.ends, heard.again, heard.resets].map(({ mock }) => mock.calls.length)).toEqual([1, 0, 0]);
  });
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

import { afterEach, beforeEach, describe as suite, expect, test, vi } from "vitest";
import { TaskClient } from "../../src/client/client.js";
import type { Document } from "../../src/protocol/events.js";
import type { Snapshot } from "../../src/protocol/reading.js";
import type { TaskFilter } from "../../src/protocol/requests.js";
import { merge, type TaskListView } from "../../src/tasks/list.js";
import { TestServer } from "../support/server.js";

const WITHIN = { timeout: 5000, interval: 5 };
const snapshot = (id: string, document: Document = {}): Snapshot => ({
  id,
  feed: `task:${id}`,
  cursor: "00000000.0.0.0000000000000000",
  document,
});
const ids = (tasks: readonly Snapshot[]): string => tasks.map(({ id }) => id).join("");

suite("a list and its newest page", () => {
  const merged = (held: string, page: string, more: boolean, moved = "", left = ""): string => {
    const tasks = (text: string): Snapshot[] => [...text].map((id) => snapshot(id));
    const found = merge(tasks(held), tasks(page), more, { moved: new Set(moved), left: new Set(left) });
    return ids(found.merged) + (found.anew ? " anew" : "");
  };

  test.each([
    ["nothing yet", "", "cba", false, "cba"],
    ["one is new", "cba", "dcb", true, "dcba"],
    ["some are new between others", "da", "edcba", false, "edcba"],
    ["one is gone", "dcba", "dba", false, "dba"],
    ["one of the page is gone, further ones stay", "edcba", "ed", true, "edcba"],
    ["one before the page's last is gone", "edcba", "ec", true, "ecba"],
    ["all are gone", "cba", "", false, ""],
    ["there may be others between", "cba", "zyx", true, "zyx anew"],
    ["nothing was found, and there is more to search", "cba", "", true, "cba"],
  ])("%s: %s and %s", (_what, held, page, more, expected) => {
    expect(merged(held, page, more)).toBe(expected);
  });

  test("a task that stands where the one stood that it repeats stays there, and what is newer comes first", () => {
    expect(merged("cXa", "fXca", true, "X")).toBe("fcXa");
    expect(merged("cbX", "fXc", true, "X")).toBe("fcbX");
    expect(merged("cXa", "ca", false, "X")).toBe("ca");
  });

  test("a task that the list isn't of any more goes, though the page doesn't reach to it", () => {
    expect(merged("cba", "c", true, "", "b")).toBe("ca");
    expect(merged("cba", "cb", true, "", "b")).toBe("cba");
  });
});

suite("a client's list", () => {
  let server: TestServer;
  let client: TaskClient;
  let list: TaskListView;

  const open = async (filter: TaskFilter): Promise<void> => {
    list = client.tasks(filter);
    await vi.waitFor(() => expect(list.known).toBe(true), WITHIN);
  };
  const shows = (expected: string): Promise<void> => vi.waitFor(() => expect(ids(list.tasks)).toBe(expected), WITHIN);

  beforeEach(async () => {
    server = new TestServer();
    client = new TaskClient({ url: await server.open(), timing: { listEvery: 0.05, reconnectFirst: 0.05 } });
    for (const id of "abcde") server.journal(`task:${id}`).state(id === "b" ? "failed" : "running", { task: "count" });
  });

  afterEach(async () => {
    client.close();
    await server.close();
  });

  test("has a page of tasks, then further ones, and notices what is started elsewhere", async () => {
    await open({ limit: 2 });
    expect([ids(list.tasks), list.hasMore]).toEqual(["ed", true]);
    expect(await list.more()).toBe(2);
    expect([ids(list.tasks), list.hasMore]).toEqual(["edcb", true]);
    server.journal("task:f").state("queued");
    await shows("fedcb");
    expect(await list.more()).toBe(1);
    expect([ids(list.tasks), list.hasMore]).toEqual(["fedcba", false]);
    expect(await list.more()).toBe(0);
  });

  test("asks for a state and a name, and has what is started only if it is of them", async () => {
    await open({ state: "failed", name: "count" });
    expect([ids(list.tasks), server.lists[0]]).toEqual(["b", "?state=failed&name=count"]);
    list.add(snapshot("x", { state: "queued", task: "count" }));
    list.add(snapshot("y", { state: "failed", task: "other" }));
    expect(ids(list.tasks)).toBe("b");
    list.add(snapshot("z", { state: "failed", task: "count" }));
    expect(ids(list.tasks)).toBe("zb");
  });

  test("has what its client starts at once", async () => {
    await open({});
    const changed = vi.fn();
    list.on("change", changed);
    await client.start("/exports", {});
    expect([list.tasks[0]?.id, changed.mock.calls.length]).toEqual(["started", 1]);
  });

  test("says that it gets no answer, and is right again afterwards", async () => {
    await open({});
    server.failing = 2;
    await vi.waitFor(() => expect(list.failing).toBe(true), WITHIN);
    await vi.waitFor(() => expect(list.failing).toBe(false), WITHIN);
    expect(ids(list.tasks)).toBe("edcba");
  });

  test("keeps a group that is started again where it is, and it may end again", async () => {
    await open({});
    const changed = vi.fn();
    list.on("change", changed);
    list.replace("c", snapshot("c", { state: "queued" }));
    list.refresh();
    await new Promise<void>((done) => list.on("read", done));
    expect([ids(list.tasks), changed.mock.calls.length]).toEqual(["edcba", 0]);
  });

  test("asks no more once it is closed", async () => {
    await open({});
    list.close();
    await new Promise((done) => setTimeout(done, 20));
    const asked = server.lists.length;
    await new Promise((done) => setTimeout(done, 150));
    expect(server.lists.length).toBe(asked);
  });
});

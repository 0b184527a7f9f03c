import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { TaskClient } from "../../src/client/client.js";
import type { InboxView } from "../../src/inbox/inbox.js";
import { Refused } from "../../src/protocol/problem.js";
import { INBOX, TestServer } from "../support/server.js";

const WITHIN = { timeout: 5000, interval: 5 };
const TIMING = { reconnectFirst: 0.05, fallbackAfter: 0.3, pollEvery: 0.05, answerWithin: 0.2, collectFor: 0.02 };

let server: TestServer;
let url: string;
let client: TaskClient;

beforeEach(async () => {
  server = new TestServer();
  url = await server.open();
  client = new TaskClient({ url, timing: TIMING });
  server.journal(INBOX).fact("inbox", { unread: 0, earlier: 0 });
});

afterEach(async () => {
  client.close();
  await server.close();
});

const ids = (inbox: InboxView): string[] => inbox.notices.map((notice) => notice.id);
const live = (inbox: InboxView): Promise<void> =>
  vi.waitFor(() => expect([inbox.link, inbox.reading]).toEqual(["live", false]), WITHIN);

test("an inbox is found, shown and followed, the newest first", async () => {
  server.notice("1", { at: 1000 });
  server.failing = 2;
  const inbox = client.inbox();
  await live(inbox);
  expect(ids(inbox)).toEqual(["1"]);
  expect(inbox.feed).toBe(INBOX);
  server.ring(server.notice("2", { at: 3000, state: "failed", reason: "The disk is full." }));
  server.ring(server.notice("3", { at: 2000 }));
  await vi.waitFor(() => expect(ids(inbox)).toEqual(["2", "3", "1"]), WITHIN);
  expect(inbox.unread).toBe(3);
  expect(inbox.notices[0]).toMatchObject({ title: "Flights", state: "failed", reason: "The disk is full." });
  expect(server.watches).toHaveLength(1);
});

test("what came while the connection was away is one change", async () => {
  const inbox = client.inbox();
  await live(inbox);
  const changes = vi.fn();
  // At once when it is away: it may be back within a few milliseconds.
  const away = new Promise<void>((resolve) => inbox.on("link", (state) => state === "reconnecting" && resolve()));
  server.cut();
  await away;
  inbox.on("change", changes);
  for (let number = 0; number < 90; number += 1) {
    server.notice(String(number));
    server.journal(INBOX).fact("acknowledged", { [`task:${number}`]: null, unread: 0 });
  }
  server.notice("last");
  await vi.waitFor(() => expect(ids(inbox)).toEqual(["last"]), WITHIN);
  await live(inbox);
  // Two pages of facts, and the first one has the newest document already.
  expect(server.watches).toHaveLength(3);
  expect(changes).toHaveBeenCalledOnce();
});

test("acknowledgements are collected, named once, and at most a hundred a message", async () => {
  const inbox = client.inbox();
  await live(inbox);
  const many = Array.from({ length: 130 }, (_, number) => `t${number}`);
  await Promise.all([client.acknowledge(many), client.acknowledge(["t1"]), client.acknowledge(["task:t2", "t3"])]);
  await client.acknowledge(["t1"]);
  expect(server.acknowledged).toEqual([
    { way: "socket", message: { tasks: many.slice(0, 100) } },
    { way: "socket", message: { tasks: many.slice(100) } },
  ]);
});

test("what is acknowledged is gone at once, and stays gone", async () => {
  server.notice("1", { at: 1 });
  server.notice("2", { at: 2 });
  const inbox = client.inbox();
  await live(inbox);
  const answered = inbox.acknowledge(["2"]);
  expect(ids(inbox)).toEqual(["1"]);
  expect(inbox.unread).toBe(1);
  expect(server.acknowledged).toEqual([]);
  await answered;
  await vi.waitFor(() => expect(server.journal(INBOX).document["task:2"]).toBeUndefined(), WITHIN);
  expect(ids(inbox)).toEqual(["1"]);
});

test("a refused acknowledgement brings the notice back, and says so", async () => {
  server.notice("1");
  const inbox = client.inbox();
  await live(inbox);
  const undone = vi.fn();
  inbox.on("undone", undone);
  server.spurned = [{ title: "Forbidden", status: 403 }];
  const answered = inbox.acknowledge(["1"]);
  expect(ids(inbox)).toEqual([]);
  await expect(answered).rejects.toBeInstanceOf(Refused);
  expect(ids(inbox)).toEqual(["1"]);
  expect(undone).toHaveBeenCalledWith({ title: "Forbidden", status: 403 });
  await inbox.acknowledge(["1"]);
  expect(ids(inbox)).toEqual([]);
});

test("an acknowledgement whose answer is lost is sent again until it is answered", async () => {
  server.notice("1");
  const inbox = client.inbox();
  await live(inbox);
  server.mute = 3;
  await inbox.acknowledge(["1"]);
  expect(server.acknowledged.length).toBeGreaterThanOrEqual(4);
  expect(new Set(server.acknowledged.map(({ message }) => JSON.stringify(message)))).toEqual(
    new Set(['{"tasks":["1"]}']),
  );
  expect(ids(inbox)).toEqual([]);
});

test("a refusal that passes is asked again", async () => {
  server.spurned = [{ title: "Unavailable", status: 503 }];
  await client.acknowledge(["1"]);
  expect(server.acknowledged).toHaveLength(2);
});

test("without a connection an acknowledgement goes over HTTP, and all of it without naming what is unknown", async () => {
  await client.acknowledge(["1"]);
  await client.acknowledge("all");
  expect(server.acknowledged).toEqual([
    { way: "http", message: { tasks: ["1"] } },
    { way: "http", message: { all: true } },
  ]);
  expect(server.connections).toBe(0);
});

test("all of an inbox without earlier notices is named, so that what comes meanwhile stays", async () => {
  server.notice("1", { at: 1 });
  server.notice("2", { at: 2 });
  const inbox = client.inbox();
  await live(inbox);
  const answered = inbox.acknowledge("all");
  server.ring(server.notice("3"));
  await answered;
  expect(server.acknowledged.map(({ message }) => message)).toEqual([{ tasks: ["2", "1"] }]);
  await vi.waitFor(() => expect(ids(inbox)).toEqual(["3"]), WITHIN);
});

test("with earlier notices all goes at once, is undone by a refusal, and what comes afterwards is shown", async () => {
  server.journal(INBOX).fact("inbox", { unread: 1202, earlier: 1202 });
  server.notice("1");
  const inbox = client.inbox();
  await live(inbox);
  expect([inbox.unread, inbox.earlier]).toEqual([1203, 1202]);
  server.spurned = [{ title: "Forbidden", status: 403 }];
  const refused = inbox.acknowledge("all");
  expect([inbox.unread, inbox.earlier, ids(inbox)]).toEqual([0, 0, []]);
  await expect(refused).rejects.toBeInstanceOf(Refused);
  expect([inbox.unread, ids(inbox)]).toEqual([1203, ["1"]]);
  await inbox.acknowledge("all");
  expect(server.acknowledged.at(-1)?.message).toEqual({ all: true });
  await vi.waitFor(() => expect(server.journal(INBOX).document["unread"]).toBe(0), WITHIN);
  server.ring(server.notice("2"));
  await vi.waitFor(() => expect([inbox.unread, inbox.earlier, ids(inbox)]).toEqual([1, 0, ["2"]]), WITHIN);
});

test("blocked sockets: the inbox is polled and acknowledged over HTTP", async () => {
  server.sockets = false;
  const inbox = client.inbox();
  await vi.waitFor(() => expect(inbox.link).toBe("polling"), WITHIN);
  server.notice("1");
  await vi.waitFor(() => expect(ids(inbox)).toEqual(["1"]), WITHIN);
  await inbox.acknowledge(["1"]);
  expect(server.acknowledged).toEqual([{ way: "http", message: { tasks: ["1"] } }]);
  server.journal(INBOX).keptFrom = 100;
  server.notice("2");
  await vi.waitFor(() => expect(ids(inbox)).toEqual(["2"]), WITHIN);
});

test("after another login that inbox is not mixed with this one", async () => {
  server.sockets = false;
  const inbox = client.inbox();
  await vi.waitFor(() => expect(inbox.link).toBe("polling"), WITHIN);
  const other = server.journal(`user:${"f".repeat(32)}`);
  other.fact("notice", { "task:x": { title: "Not yours", state: "failed", at: 1 }, unread: 1, earlier: 0 });
  server.inbox = other.feed;
  await vi.waitFor(() => expect(inbox.closed).toBe(true), WITHIN);
  expect(inbox.problem).toMatchObject({ status: 404 });
  expect(ids(inbox)).toEqual([]);
});

test("a right to an inbox that ends closes it", async () => {
  const inbox = client.inbox();
  await live(inbox);
  server.refuse(INBOX);
  await vi.waitFor(() => expect(inbox.problem).toMatchObject({ status: 404 }), WITHIN);
  expect(inbox.closed).toBe(true);
});

test("the client's end is the end of what waits", async () => {
  server.sockets = false;
  server.mute = 1000;
  const inbox = client.inbox();
  const waiting = [client.acknowledge(["1"]), client.acknowledge("all")];
  const ends = Promise.allSettled(waiting);
  await vi.waitFor(() => expect(server.acknowledged.length).toBeGreaterThan(1), WITHIN);
  client.close();
  expect((await ends).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  expect(inbox.closed).toBe(true);
});

test("what can't be a task, or is too much, is refused at once", async () => {
  expect(() => client.acknowledge(["no task"])).toThrow(RangeError);
  expect(() => client.acknowledge([INBOX])).toThrow(/task's id/);
  const many = Array.from({ length: 1001 }, (_, number) => `t${number}`);
  await expect(client.acknowledge(many)).rejects.toThrow(/1000/);
});

test("the end of a task that is shown is acknowledged by its view", async () => {
  server.journal("task:1").state("succeeded");
  const view = client.watch("1");
  await vi.waitFor(() => expect(view.ended).toBe(true), WITHIN);
  await view.acknowledge();
  expect(server.acknowledged.map(({ message }) => message)).toEqual([{ tasks: ["1"] }]);
});

test("a group that is started again and ends again has a notice again, though the first one was acknowledged", async () => {
  const inbox = client.inbox();
  await live(inbox);
  server.ring(server.notice("group:g", { at: Date.now() - 1000, state: "failed", title: "Thumbnails" }));
  await vi.waitFor(() => expect(ids(inbox)).toEqual(["group:g"]), WITHIN);
  await client.acknowledge(["group:g"]);
  expect([ids(inbox), server.acknowledged.map(({ message }) => message)]).toEqual([[], [{ tasks: ["group:g"] }]]);
  server.ring(server.notice("group:g", { at: Date.now() + 1000, title: "Thumbnails" }));
  await vi.waitFor(() => expect(ids(inbox)).toEqual(["group:g"]), WITHIN);
  await inbox.acknowledge("all");
  expect(server.acknowledged).toHaveLength(2);
});

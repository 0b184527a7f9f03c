import { afterEach, beforeEach, describe as suite, expect, test, vi } from "vitest";
import { TaskClient } from "../../src/client/client.js";
import { Link } from "../../src/link/link.js";
import { DEFAULT_TIMING } from "../../src/link/timing.js";
import { TestServer } from "../support/server.js";

const WITHIN = { timeout: 5000, interval: 5 };

let server: TestServer;
let client: TaskClient;
let page: EventTarget;
let screen: EventTarget & { visibilityState: string };
const network = { onLine: true };

beforeEach(async () => {
  page = new EventTarget();
  screen = Object.assign(new EventTarget(), { visibilityState: "visible" });
  network.onLine = true;
  vi.stubGlobal("window", page);
  vi.stubGlobal("document", screen);
  vi.stubGlobal("navigator", network);
  server = new TestServer();
  client = new TaskClient({
    url: await server.open(),
    random: () => 1,
    timing: { reconnectFirst: 60, reconnectMost: 60, fallbackAfter: 60, answerWithin: 0.2 },
  });
  server.journal("task:1").state("queued");
  const view = client.watch("1");
  await vi.waitFor(() => expect(view.cursor).not.toBeNull(), WITHIN);
});

afterEach(async () => {
  client.close();
  await server.close();
  vi.unstubAllGlobals();
});

test("a page that goes offline says so though the socket has not noticed, and reads when it is back", async () => {
  network.onLine = false;
  page.dispatchEvent(new Event("offline"));
  expect(client.link).toBe("offline");
  network.onLine = true;
  page.dispatchEvent(new Event("online"));
  expect(client.link).toBe("live");
  await vi.waitFor(() => expect(server.watches).toHaveLength(2), WITHIN);
});

test("coming back online connects at once, however long the wait was to be", async () => {
  network.onLine = false;
  server.cut();
  await vi.waitFor(() => expect(client.link).toBe("offline"), WITHIN);
  network.onLine = true;
  page.dispatchEvent(new Event("online"));
  await vi.waitFor(() => expect(client.link).toBe("live"), WITHIN);
});

test("a page that is seen again connects at once", async () => {
  server.cut();
  await vi.waitFor(() => expect(client.link).toBe("reconnecting"), WITHIN);
  screen.dispatchEvent(new Event("visibilitychange"));
  await vi.waitFor(() => expect(client.link).toBe("live"), WITHIN);
});

test("a page that comes out of the back-forward cache reads what it has missed", async () => {
  page.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: false }));
  page.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
  await vi.waitFor(() => expect(server.watches).toHaveLength(2), WITHIN);
});

test("a closed client listens to the page no more", async () => {
  client.close();
  page.dispatchEvent(new Event("online"));
  await vi.waitFor(() => expect(server.connections).toBe(0), WITHIN);
});

test("a server that ends is left, and asked again after the time that it names", async () => {
  const began = Date.now();
  client.close();
  client = new TaskClient({ url: server.url, random: () => 0, timing: { fallbackAfter: 60 } });
  const view = client.watch("1");
  await vi.waitFor(() => expect(view.cursor).not.toBeNull(), WITHIN);
  server.say("reconnect", { after: 0.4 });
  await vi.waitFor(() => expect(client.link).toBe("reconnecting"), WITHIN);
  const left = Date.now();
  await vi.waitFor(() => expect(client.link).toBe("live"), WITHIN);
  expect(Date.now() - left).toBeGreaterThan(300);
  expect(left).toBeGreaterThanOrEqual(began);
});

test("a connection that is refused for a while comes back after it", async () => {
  client.close();
  server.closed.push({ status: 503, retry_after: 0.4 });
  const began = Date.now();
  client = new TaskClient({ url: server.url, random: () => 0, timing: { fallbackAfter: 60 } });
  client.watch("1");
  await vi.waitFor(() => expect(client.link).toBe("live"), WITHIN);
  expect(Date.now() - began).toBeGreaterThan(300);
});

suite("while plain requests are tried", () => {
  let link: Link;
  let states: string[];

  beforeEach(async () => {
    states = [];
    // By itself the socket would come back after a minute.
    const timing = { ...DEFAULT_TIMING, reconnectFirst: 60, reconnectMost: 60, fallbackAfter: 0.05 };
    link = new Link({ origin: server.url, path: "/socket.io", timing, random: () => 1, expects: () => false });
    link.on("state", (state) => states.push(state));
    link.open();
    await vi.waitFor(() => expect(link.state).toBe("live"), WITHIN);
  });

  afterEach(() => link.close());

  const fall = async (): Promise<void> => {
    server.cut();
    await vi.waitFor(() => expect(link.fallback).toBe(true), WITHIN);
  };

  test("the socket is tried as soon as one is answered, and nothing is said to be blocked", async () => {
    server.sockets = false;
    await fall();
    link.polled(false);
    server.sockets = true;
    link.polled(true);
    await vi.waitFor(() => expect(link.state).toBe("live"), WITHIN);
    expect(states).toEqual(["live", "reconnecting", "live"]);
  });

  test("that the socket is blocked is said when it has failed between two that were answered", async () => {
    server.sockets = false;
    await fall();
    link.polled(true);
    expect(link.state).toBe("reconnecting");
    await vi.waitFor(() => {
      link.polled(true);
      expect(link.state).toBe("polling");
    }, WITHIN);
    link.polled(false);
    expect(link.state).toBe("reconnecting");
  });

  test("a socket that the server refuses with a reason isn't blocked", async () => {
    server.closed.push({ status: 503 }, { status: 503 });
    await fall();
    await vi.waitFor(() => {
      link.polled(true);
      expect(link.state).toBe("live");
    }, WITHIN);
    expect(states).not.toContain("polling");
  });

  test("the time at which the server wants to see it again is kept", async () => {
    server.say("reconnect", { after: 30 });
    await vi.waitFor(() => expect(link.fallback).toBe(true), WITHIN);
    link.polled(true);
    await new Promise((done) => setTimeout(done, 200));
    expect([link.state, server.connections]).toEqual(["reconnecting", 0]);
  });
});

test("a watch that is allowed no more closes its view, and no other", async () => {
  server.journal("task:2").state("queued");
  const [lost, other] = [client.watch("1"), client.watch("2")];
  await vi.waitFor(() => expect(lost.cursor && other.cursor).not.toBeNull(), WITHIN);
  server.say("refused", { feed: "task:1", error: { title: "Not found", status: 404 } });
  await vi.waitFor(() => expect(lost.closed).toBe(true), WITHIN);
  expect(lost.problem?.status).toBe(404);
  expect(other.closed).toBe(false);
});

test("a refusal that passes is asked about again", async () => {
  const view = client.watch("1");
  await vi.waitFor(() => expect(view.cursor).not.toBeNull(), WITHIN);
  const asked = server.watches.length;
  server.say("refused", { feed: "task:1", error: { title: "Away", status: 503 } });
  await vi.waitFor(() => expect(server.watches.length).toBeGreaterThan(asked), WITHIN);
  expect(view.closed).toBe(false);
});

test("waking up mends no cut cable", async () => {
  const states: string[] = [];
  client.on("link", (state) => states.push(state));
  const began = Date.now();
  client.cut(0.5);
  page.dispatchEvent(new Event("online"));
  screen.dispatchEvent(new Event("visibilitychange"));
  await vi.waitFor(() => expect(client.link).toBe("live"), WITHIN);
  expect(Date.now() - began).toBeGreaterThan(450);
  expect(states).toEqual(["reconnecting", "live"]);
});

test("a connection that is half open is noticed while the task runs, and what was missed is read on a new one", async () => {
  client.close();
  const timing = { reconnectFirst: 0.05, fallbackAfter: 60, answerWithin: 5, silentAfter: 0.2, aliveWithin: 0.2 };
  client = new TaskClient({ url: server.url, random: () => 1, timing });
  const states: string[] = [];
  client.on("link", (state) => states.push(state));
  const view = client.watch("1");
  await vi.waitFor(() => expect(view.cursor).not.toBeNull(), WITHIN);
  const before = server.connections;
  server.halfOpen = true;
  server.ring(server.journal("task:1").fact("log"), server.journal("task:1").fact("log"));
  const began = Date.now();
  await vi.waitFor(() => expect(client.link).toBe("reconnecting"), WITHIN);
  expect(Date.now() - began).toBeLessThan(1500);
  server.halfOpen = false;
  await vi.waitFor(() => expect(view.receipt.facts).toBe(3), WITHIN);
  expect(client.link).toBe("live");
  expect(states).toEqual(["live", "reconnecting", "live"]);
  expect(server.connections).toBe(before);
});

test("a silent connection on which nothing is wrong stays, and who only waits for nothing isn't asked", async () => {
  client.close();
  const timing = { reconnectFirst: 0.05, fallbackAfter: 60, answerWithin: 5, silentAfter: 0.1, aliveWithin: 1 };
  client = new TaskClient({ url: server.url, random: () => 1, timing });
  const states: string[] = [];
  client.on("link", (state) => states.push(state));
  const view = client.watch("1");
  const questions = (): number => server.unwatched.filter((feed) => feed === "task:-").length;
  await vi.waitFor(() => expect(questions()).toBeGreaterThan(3), WITHIN);
  expect(states).toEqual(["live"]);
  expect(server.watches.length).toBe(2);
  server.ring(server.journal("task:1").state("running"), server.journal("task:1").state("succeeded"));
  await vi.waitFor(() => expect(view.ended).toBe(true), WITHIN);
  const asked = questions();
  await new Promise((done) => setTimeout(done, 400)); // several silences
  expect(questions()).toBe(asked);
});

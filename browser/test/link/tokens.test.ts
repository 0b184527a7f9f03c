import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type ClientOptions, TaskClient } from "../../src/client/client.js";
import type { TaskView } from "../../src/tasks/view.js";
import { TestServer } from "../support/server.js";

const FEED = "task:1";
const WITHIN = { timeout: 5000, interval: 5 };
const EXPIRED = { feed: FEED, error: { title: "Token expired", status: 401 } };

let server: TestServer;
let url: string;
let client: TaskClient;

beforeEach(async () => {
  server = new TestServer();
  url = await server.open();
});

afterEach(async () => {
  client.close();
  await server.close();
});

function connect(token: NonNullable<ClientOptions["token"]>): TaskClient {
  client = new TaskClient({
    url,
    token,
    timing: { reconnectFirst: 0.05, fallbackAfter: 0.1, pollEvery: 0.05, answerWithin: 0.5, idleAfter: 0.05 },
  });
  return client;
}

/** A source of tokens; the server accepts each until the next one. */
function renewals(): { source: () => Promise<string>; asked: () => number } {
  let asked = 0;
  const source = async (): Promise<string> => {
    asked += 1;
    server.token = `token ${asked}`;
    return server.token;
  };
  return { source, asked: () => asked };
}

const state = (view: TaskView, wanted: string): Promise<void> =>
  vi.waitFor(() => expect(view.document.state).toBe(wanted), WITHIN);

test("a token goes with every watch and every cancel, and is asked for once", async () => {
  const { source, asked } = renewals();
  server.journal(FEED).state("running");
  const view = connect(source).watch("1");
  await state(view, "running");
  expect((await view.cancel()).state).toBe("cancelling");
  expect(server.watches.map(({ token }) => token)).toEqual(["token 1"]);
  expect(asked()).toBe(1);
});

test("a watch that the server ends for its token's sake goes on from its cursor with a new one", async () => {
  const { source, asked } = renewals();
  const journal = server.journal(FEED);
  journal.state("running");
  const view = connect(source).watch("1");
  const resets = vi.fn();
  view.on("reset", resets);
  await state(view, "running");
  journal.fact("log");
  journal.state("succeeded");
  server.say("refused", EXPIRED);
  await vi.waitFor(() => expect(view.ended).toBe(true), WITHIN);
  expect(view.receipt).toEqual({ facts: 3, shown: 3, complete: true, texts: {} });
  expect(resets).not.toHaveBeenCalled();
  expect(asked()).toBe(2);
});

test("a token is renewed before it ends", async () => {
  const { source, asked } = renewals();
  server.tokenExpiresIn = 0.1;
  server.journal(FEED).state("running");
  const view = connect(source).watch("1");
  await vi.waitFor(() => expect(asked()).toBeGreaterThan(2), WITHIN);
  expect(view.problem).toBeNull();
  expect(new Set(server.watches.map(({ token }) => token)).size).toBeGreaterThan(1);
});

test("a new token that is refused as well ends the view", async () => {
  server.token = "another";
  server.journal(FEED).state("running");
  const source = vi.fn(() => "wrong");
  const view = connect(source).watch("1");
  await vi.waitFor(() => expect(view.problem?.status).toBe(401), WITHIN);
  expect(source).toHaveBeenCalledTimes(2);
});

test("a token that never changes is refused once", async () => {
  server.token = "another";
  server.journal(FEED).state("running");
  const view = connect("wrong").watch("1");
  await vi.waitFor(() => expect(view.problem?.title).toBe("Token expired"), WITHIN);
  expect(server.watches).toHaveLength(1);
});

test("a source that fails is asked again", async () => {
  const { source } = renewals();
  server.journal(FEED).state("running");
  let failures = 2;
  const view = connect(() => (failures-- > 0 ? Promise.reject(new Error("no login")) : source())).watch("1");
  await state(view, "running");
});

test("without a socket the token goes as a header, and a 401 renews it", async () => {
  const { source, asked } = renewals();
  server.sockets = false;
  server.journal(FEED).state("running");
  const view = connect(source).watch("1");
  await state(view, "running");
  server.token = "another";
  server.journal(FEED).state("succeeded");
  await state(view, "succeeded");
  expect(asked()).toBe(2);
});

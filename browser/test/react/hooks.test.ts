// @vitest-environment happy-dom
import { createElement as h, type ReactElement, StrictMode } from "react";
import { renderToString } from "react-dom/server";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Snapshot } from "../../src/protocol/reading.js";
import {
  type Inbox,
  type StartTask,
  type TaskText,
  type TextOptions,
  useInbox,
  useStartTask,
  useTask,
  useText,
} from "../../src/react.js";
import { ReactPage, WITHIN } from "../support/react-page.js";
import { INBOX } from "../support/server.js";

const FEED = "task:1";

let page: ReactPage;

beforeEach(async () => {
  page = new ReactPage();
  await page.open();
});

afterEach(() => page.close());

test("a text grows, begins anew with a later run, and is proved at its end; a pause doesn't empty it", async () => {
  const { server } = page;
  const journal = server.journal(FEED);
  journal.state("running");
  let text!: TaskText;
  const shown: string[] = [];
  const Text = ({ options }: { options?: TextOptions }): ReactElement => {
    text = useText("1", options);
    shown.push(text.text);
    return h("p", null, `${text.text};`);
  };
  const render = (enabled: boolean): void => page.render(h(StrictMode, null, h(Text, { options: { enabled } })));
  expect(renderToString(page.within(h(Text)))).toBe("<p>;</p>");
  server.ring(journal.text("Once "));
  render(true);
  await page.says("Once ;");
  server.ring(journal.text("upon"));
  await page.says("Once upon;");
  render(false);
  await vi.waitFor(() => expect(server.unwatched).toEqual([FEED]), WITHIN);
  shown.length = 0;
  server.ring(journal.text(" a time"));
  render(true);
  await page.says("Once upon a time;");
  expect([...new Set(shown)]).toEqual(["Once upon", "Once upon a time"]);
  expect(text).toMatchObject({ state: "running", ended: false, complete: null });
  server.ring(journal.begin(), journal.text("Twice"));
  await page.says("Twice;");
  server.ring(journal.end("succeeded", 3));
  await vi.waitFor(() => expect(text).toMatchObject({ ended: true, complete: true, omitted: 3, link: null }), WITHIN);
  expect(server.watches).toHaveLength(2);
});

test("an inbox is read once by all that show it, and what is acknowledged is gone", async () => {
  const { server } = page;
  server.journal(INBOX).fact("inbox", { unread: 0, earlier: 0 });
  server.notice("1", { title: "Flights" });
  let inbox!: Inbox;
  const Bell = (): ReactElement => {
    inbox = useInbox();
    return h("p", null, `${inbox.known ? inbox.unread : "?"} ${inbox.notices.map(({ title }) => title).join()};`);
  };
  const app = h(StrictMode, null, h(Bell), h(Bell));
  const html = renderToString(page.within(app));
  expect(html).toBe("<p>? ;</p><p>? ;</p>");
  page.hydrate(html, app);
  await page.says("1 Flights;1 Flights;");
  await vi.waitFor(() => expect(server.watches).toHaveLength(1), WITHIN);
  await vi.waitFor(() => expect(inbox.link).toBe("live"), WITHIN);
  server.ring(server.notice("2", { title: "Planes" }));
  await page.says("2 Planes,Flights;");
  await inbox.acknowledge(["1"]);
  await page.says("1 Planes;1 Planes;");
  server.spurned.push({ title: "Not now", status: 403 });
  await expect(inbox.acknowledge(["2"])).rejects.toThrow("Not now");
  await vi.waitFor(() => expect(inbox).toMatchObject({ unread: 1, problem: { title: "Not now" } }), WITHIN);
  page.unmount();
  await vi.waitFor(() => expect(server.connections).toBe(0), WITHIN);
});

test("a button starts a task, which is watched from before it began; what fails is a sentence, and the last call counts", async () => {
  const { server } = page;
  let started!: StartTask;
  const Button = ({ url }: { url: string }): ReactElement => {
    started = useStartTask(url);
    const { state } = useTask(started.task);
    return h("p", null, `${url} ${started.starting ? "starting" : (started.problem?.title ?? state)};`);
  };
  const render = (url: string): void => page.render(h(StrictMode, null, h(Button, { url })));
  render("/exports");
  await page.says(" null;");
  const [first, second] = [started.start(), started.start({ rows: 2 })];
  await page.says("starting;");
  expect(await first).toMatchObject({ id: "started" });
  const snapshot = (await second) as Snapshot;
  await page.says("queued;");
  expect(started.task).toEqual(snapshot);
  const watched = [{ feed: "task:started", cursor: snapshot.cursor }];
  await vi.waitFor(() => expect(server.watches.slice(-1)).toMatchObject(watched), WITHIN);

  render("/petiole/tasks/unknown");
  await page.says("unknown queued;");
  expect(await started.start()).toBeNull();
  await page.says("Not found;");
  expect(started).toMatchObject({ starting: false, task: snapshot });
  await server.close();
  expect(await started.start()).toBeNull();
  await page.says("The server can't be reached.;");
  started.setTask(null);
  await page.says(" null;");
  expect(started).toMatchObject({ task: null, problem: null });
});

// @vitest-environment happy-dom
import { createElement as h, StrictMode } from "react";
import { renderToString } from "react-dom/server";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { defineElements } from "../../src/elements/define.js";
import type { PetioleTask } from "../../src/elements/task/task.js";
import type { Snapshot } from "../../src/protocol/reading.js";
import { Task, type TaskProps } from "../../src/react.js";
import { ReactPage, WITHIN } from "../support/react-page.js";

const FEED = "task:1";

let page: ReactPage;
let complaints: ReturnType<typeof vi.spyOn>;

beforeEach(async () => {
  page = new ReactPage();
  complaints = vi.spyOn(console, "error");
  await page.open();
});

afterEach(async () => {
  await page.close();
  expect(complaints.mock.calls).toEqual([]);
  vi.restoreAllMocks();
});

const card = (): PetioleTask => page.root.querySelector("petiole-task")!;
const part = (name: string): HTMLElement => card().shadowRoot!.querySelector(`[part="${name}"]`)!;
const snapshot = (): Snapshot => {
  const { document, place: cursor } = page.server.journal(FEED);
  return { id: "1", feed: FEED, cursor, document };
};

test("a card takes over what the server has rendered, tells its end once, and shows what was started again", async () => {
  const { server } = page;
  const journal = server.journal(FEED);
  server.ring(journal.state("running", { title: "Flights" }), journal.counter(12));
  const [onEnd, onRetried, onChange] = [vi.fn(), vi.fn(), vi.fn()];
  const first = snapshot();
  const app = (props: Partial<TaskProps>) => h(StrictMode, null, h(Task, { task: first, onEnd, onRetried, onChange, ...props }));
  vi.stubGlobal("document", undefined);
  const html = renderToString(page.within(app({ className: "wide", compact: true })));
  vi.unstubAllGlobals();
  expect(html.replace(/ snapshot="[^"]*"/, "")).toBe(
    '<petiole-task compact="" class="wide"><p>Flights<!-- --> <progress max="1" value="0.12" aria-label="Flights"></progress></p></petiole-task>',
  );
  page.hydrate(html, app({ className: "wide", compact: true }));
  await vi.waitFor(() => expect(part("percent").textContent).toBe("12 %".replace(" ", "\u00a0")), WITHIN);
  const element = card();
  expect(JSON.parse(element.getAttribute("snapshot")!)).toEqual(first);
  await vi.waitFor(() => expect(server.watches).toHaveLength(1), WITHIN);
  server.ring(journal.counter(60));
  await vi.waitFor(() => expect(part("bar").getAttribute("aria-valuenow")).toBe("60"), WITHIN);
  expect(onChange).toHaveBeenLastCalledWith(journal.document);
  server.links = { retry: "/petiole/tasks/1/retry" };
  server.ring(journal.state("failed"));
  await vi.waitFor(() => expect(onEnd).toHaveBeenCalledOnce(), WITHIN);
  expect(onEnd.mock.calls[0]![0]).toMatchObject({ document: { state: "failed" }, receipt: { facts: 2, complete: true } });
  await vi.waitFor(() => expect(part("action").textContent).toBe("Retry"), WITHIN);
  await vi.waitFor(() => expect(part("action").getAttribute("aria-disabled")).not.toBe("true"), WITHIN);
  part("action").click();
  await vi.waitFor(() => expect(onRetried).toHaveBeenCalledOnce(), WITHIN);
  const second = onRetried.mock.calls[0]![0] as Snapshot;
  const again = server.journal(second.feed);
  server.ring(again.state("running"), again.counter(5));
  await vi.waitFor(() => expect(part("bar").getAttribute("aria-valuenow")).toBe("5"), WITHIN);
  const watches = server.watches.length;
  // The page knows the new one by now, and renders it: the card goes on.
  page.render(app({ task: second, label: "Again", compact: true, keepNotice: true }));
  await vi.waitFor(() => expect(part("title").textContent).toBe("Again"), WITHIN);
  server.ring(again.counter(7));
  await vi.waitFor(() => expect(part("bar").getAttribute("aria-valuenow")).toBe("7"), WITHIN);
  expect([card() === element, card().className, card().hasAttribute("keep-notice")]).toEqual([true, "", true]);
  expect([server.watches.length, onEnd.mock.calls.length, server.connections]).toEqual([watches, 1, 1]);
});

test("a card appears with its task, shows another one, and leaves with the page", async () => {
  const { server } = page;
  server.journal(FEED).state("running", { title: "One" });
  server.journal("task:2").state("running", { title: "Two" });
  page.render(h(Task, { task: null }));
  page.render(h(Task, { task: "1" }));
  await vi.waitFor(() => expect(part("title").textContent).toBe("One"), WITHIN);
  page.render(h(Task, { task: "2" }));
  await vi.waitFor(() => expect(part("title").textContent).toBe("Two"), WITHIN);
  page.render(h(Task, { task: snapshot() }));
  await vi.waitFor(() => expect(part("title").textContent).toBe("One"), WITHIN);
  expect(server.connections).toBe(1);
  page.render(h(Task, { task: undefined }));
  await vi.waitFor(() => expect(page.root.innerHTML).toBe(""), WITHIN);
  await vi.waitFor(() => expect(server.connections).toBe(0), WITHIN);
});

test("a tag of its own takes the attributes that every element has as read-only properties", async () => {
  defineElements();
  const tag = (prefix?: string) => h("petiole-inbox", { prefix, label: "Bell" });
  page.render(tag("/live"));
  await vi.waitFor(() => expect(page.root.innerHTML).toBe('<petiole-inbox prefix="/live" label="Bell"></petiole-inbox>'), WITHIN);
  expect(page.root.querySelector("petiole-inbox")!.prefix).toBe("/live");
  page.render(tag());
  await vi.waitFor(() => expect(page.root.innerHTML).toBe('<petiole-inbox label="Bell"></petiole-inbox>'), WITHIN);
});

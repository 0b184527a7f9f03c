// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { sharedClient } from "../../src/client/shared.js";
import { defineElements } from "../../src/elements/define.js";
import type { PetioleTask } from "../../src/elements/task/task.js";
import type { PetioleText } from "../../src/elements/text/text.js";
import type { TaskView } from "../../src/tasks/view.js";
import { HandView } from "../support/hand-view.js";

defineElements();

let view: HandView;
let element: PetioleText | PetioleTask;

const parts = (name: string): HTMLElement[] => [...element.shadowRoot!.querySelectorAll<HTMLElement>(`[part="${name}"]`)];
const part = (name: string): HTMLElement => parts(name)[0]!;
/** The lines that the box says now: above and below the text. */
const notes = (): string[] => parts("text-note").filter((node) => !node.hidden).map((node) => node.textContent!.replaceAll("\u00a0", " "));
const said = (): string => element.shadowRoot!.querySelector(".text [role='status']")!.textContent!;

async function settle(seconds = 0.1): Promise<void> {
  await vi.advanceTimersByTimeAsync(seconds * 1000);
}

async function put<Name extends "petiole-text" | "petiole-task">(name: Name, attributes: Record<string, string> = {}): Promise<void> {
  element = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
  element.view = view as unknown as TaskView;
  document.body.append(element);
  await settle();
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setInterval", "setTimeout", "Date", "requestAnimationFrame"] });
  view = new HandView();
  view.document = { state: "running", title: "Answer", run: 1 };
});

afterEach(() => {
  element.remove();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

/** Give the scrolled part a height: happy-dom has no layout. */
function layOut(node: HTMLElement, height: () => number): void {
  Object.defineProperty(node, "clientHeight", { value: 100 });
  Object.defineProperty(node, "scrollHeight", { get: height });
}

test("a text grows as it is written, hostile text as text", async () => {
  await put("petiole-text");
  expect(part("text-label").textContent).toBe("Output");
  view.write("<b>Hello</b> </script>");
  await settle();
  view.write(" 👋🏽\u0000\u202e");
  view.write("<img src=x onerror=alert(1)>", "other");
  await settle();
  const lines = part("text-lines");
  expect(lines.textContent).toBe("<b>Hello</b> </script> 👋🏽\u0000\u202e");
  expect(lines.querySelectorAll("*:not(div)")).toHaveLength(0);
  expect([lines.dir, lines.tabIndex, lines.getAttribute("role")]).toEqual(["auto", 0, "group"]);
  expect(element.shadowRoot!.getElementById(lines.getAttribute("aria-labelledby")!)).toBe(part("text-label"));
});

test("the one of another name, under another label, which had begun before the element came", async () => {
  view.write("one\n", "build_log");
  view.write("no\n");
  await put("petiole-text", { name: "build_log" });
  view.write("two\n", "build_log");
  await settle();
  expect([part("text-label").textContent, part("text-lines").textContent]).toEqual(["Build log", "one\ntwo\n"]);
  element.setAttribute("label", "Build");
  await settle();
  expect(part("text-label").textContent).toBe("Build");
  element.setAttribute("name", "output");
  await settle();
  expect(part("text-lines").textContent).toBe("no\n");
});

test("a long text is laid out in blocks that end with a line or a word, and never within a character", async () => {
  await put("petiole-text");
  const line = `${"word ".repeat(30)}\n`;
  const whole = [line.repeat(100), "word ".repeat(9000), "👋".repeat(30_000)].join("");
  for (let at = 0; at < whole.length; at += 997) view.write(whole.slice(at, at + 997));
  await settle();
  view.write(line.repeat(400));
  await settle();
  const blocks = [...part("text-lines").children].map((block) => block.textContent!);
  expect(part("text-lines").textContent).toBe(whole + line.repeat(400));
  expect(Math.max(...blocks.map((block) => block.length))).toBeLessThanOrEqual(32_769);
  expect(blocks.length).toBeGreaterThan(20);
  expect(blocks[0]!.endsWith("\n")).toBe(true);
  for (const block of blocks) expect(block).not.toMatch(/[\ud800-\udbff]$/);
});

test("it follows the end, until the person scrolls up, and again once they scroll to the end", async () => {
  await put("petiole-text");
  let height = 100;
  const lines = part("text-lines");
  layOut(lines, () => height);
  const grow = async (): Promise<void> => {
    height += 200;
    view.write("more\n");
    await settle();
  };
  await grow();
  expect(lines.scrollTop).toBe(300);
  lines.scrollTop = 50;
  lines.dispatchEvent(new Event("scroll"));
  await grow();
  expect(lines.scrollTop).toBe(50);
  lines.scrollTop = height - 100;
  lines.dispatchEvent(new Event("scroll"));
  await grow();
  expect(lines.scrollTop).toBe(height);
});

test("a text that is there already once the task has ended is read from its start", async () => {
  view.document = { state: "succeeded", run: 1 };
  view.ended = true;
  view.write("a whole answer");
  await put("petiole-text");
  layOut(part("text-lines"), () => 5000);
  view.write(", in two readings");
  await settle();
  expect(part("text-lines").scrollTop).toBe(0);
});

test.each([
  ["cancelled", "Incomplete: the task was cancelled."],
  ["failed", "Incomplete: the task failed."],
  ["lost", "Incomplete: the worker disappeared."],
  ["retrying", "Incomplete: the task is to be run again."],
] as const)("a partial text says so: %s", async (state, words) => {
  await put("petiole-text");
  view.write("half an ans");
  view.show({ ...view.document, state });
  await settle();
  expect([part("text-lines").textContent, notes()]).toEqual(["half an ans", [words]]);
  if (state !== "retrying") expect(said()).toMatch(new RegExp(`${words}$`));
});

test("a text that was cut at the limit, or isn't what its run has written, says so", async () => {
  await put("petiole-text");
  view.write("x");
  view.receipt = { facts: 1, shown: 1, complete: true, texts: { output: { length: 1, complete: true, omitted: 12_345 } } };
  view.show({ ...view.document, state: "succeeded" });
  await settle();
  expect(notes()).toEqual(["12.3 kB past the limit were omitted."]);
  view.receipt = { facts: 1, shown: 1, complete: false, texts: { output: { length: 1, complete: false, omitted: 0 } } };
  await settle(1);
  expect(notes()).toEqual(["A part of it is missing on this page. Reload the page."]);
});

test("a later run begins anew, which is said once", async () => {
  await put("petiole-text");
  view.write("half an ans");
  await settle();
  view.begin(2);
  await settle();
  expect([part("text-lines").textContent, notes()[0]]).toEqual(["", "Run 2 begins anew."]);
  expect(said()).toBe("Run 2 begins anew.");
  view.write("An answer.");
  await settle();
  expect([part("text-lines").textContent, notes()]).toEqual(["An answer.", ["Run 2 begins anew."]]);
});

test("texts that are given again from the start within a run are no new attempt", async () => {
  await put("petiole-text");
  view.write("half");
  view.begin(1);
  view.write("half an answer");
  await settle();
  expect([part("text-lines").textContent, notes()]).toEqual(["half an answer", []]);
});

test("before anything is written it says what the task waits for, and after the end that there is nothing", async () => {
  view.document = { state: "queued" };
  await put("petiole-text");
  expect(notes()).toEqual(["Waiting for a worker"]);
  expect(part("copy").getAttribute("aria-disabled")).toBe("true");
  view.show({ state: "succeeded" });
  await settle();
  expect(notes()).toEqual(["The task has written nothing here."]);
});

test("whole sentences and lines are announced, a few seconds apart, and what was there before is not", async () => {
  view.reading = true;
  view.write("An old sentence. ");
  await put("petiole-text");
  view.write("Another that is read. ");
  view.read();
  await settle();
  expect(said()).toBe("");
  view.write("A first sentence. And half");
  await settle(1);
  expect(said()).toBe("A first sentence.");
  view.write(" a second.\nA third ");
  await settle(2);
  expect(said()).toBe("A first sentence.");
  await settle(4);
  expect(said()).toBe("And half a second.");
  view.show({ ...view.document, state: "succeeded" });
  await settle(6);
  expect(said()).toBe("A third \nThe text is complete.");
  expect(element.shadowRoot!.querySelector(".text [role='status']")!.contains(part("text-lines"))).toBe(false);
});

test("a button copies the whole text through the clipboard, and says so", async () => {
  const writeText = vi.fn(async (_text: string) => undefined);
  vi.stubGlobal("navigator", { clipboard: { writeText } });
  await put("petiole-text");
  part("copy").click();
  expect(writeText).not.toHaveBeenCalled();
  view.write("all\n");
  await settle();
  part("copy").click();
  await settle();
  expect(writeText.mock.calls).toEqual([["all\n"]]);
  expect([part("copy").textContent, said()]).toEqual(["Copied", "Copied."]);
  await settle(3);
  expect(part("copy").textContent).toBe("Copy");
});

test("without the clipboard's API the text is copied by the selection, or stays selected with a word about it", async () => {
  vi.stubGlobal("navigator", {});
  await put("petiole-text");
  view.write("all\n");
  await settle();
  const given = vi.fn();
  const copy = vi.fn(() => {
    const event = new Event("copy", { cancelable: true });
    Object.defineProperty(event, "clipboardData", { value: { setData: given } });
    return document.dispatchEvent(event);
  });
  Object.assign(document, { execCommand: copy });
  part("copy").click();
  await settle();
  expect([given.mock.calls, said()]).toEqual([[["text/plain", "all\n"]], "Copied."]);
  copy.mockImplementation(() => false);
  part("copy").click();
  await settle();
  expect(said()).toMatch(/The text is selected: copy it with the keyboard/);
  expect(notes()[0]).toMatch(/^The browser does not let this page copy/);
});

test("a task that can't be shown, and a link that is away, are said", async () => {
  await put("petiole-text");
  view.link = "offline";
  view.problem = { title: "Not found", status: 404, detail: "There is no such task." };
  view.show(view.document);
  await settle();
  expect(part("failure").textContent).toBe("There is no such task.");
  expect(part("link").textContent).toBe("You are offline; we will catch up");
  expect(parts("text")).toEqual([]);
});

test("it opens the task that it names, and closes it when it leaves", async () => {
  const watch = vi.spyOn(sharedClient(), "watch").mockReturnValue(view as unknown as TaskView);
  element = document.createElement("petiole-text");
  element.setAttribute("task", "7");
  document.body.append(element);
  await settle();
  expect(watch.mock.calls).toEqual([["7", { cursor: null, texts: true }]]);
  const ends = vi.fn();
  element.addEventListener("petiole-end", ends);
  view.show({ state: "succeeded" });
  await settle();
  expect(ends).toHaveBeenCalledOnce();
  element.remove();
  await settle();
  expect(view.close).toHaveBeenCalledOnce();
  watch.mockRestore();
});

test.each(["compact", "no-texts"])("a card with %s reads no texts", async (attribute) => {
  const watch = vi.spyOn(sharedClient(), "watch").mockReturnValue(view as unknown as TaskView);
  element = document.createElement("petiole-task");
  element.setAttribute("task", "7");
  element.setAttribute(attribute, "");
  document.body.append(element);
  await settle();
  expect(watch.mock.calls).toEqual([["7", { cursor: null, texts: false }]]);
  watch.mockRestore();
});

test("a card has a region for each text once the task writes; a compact card, and one with no-texts, has none", async () => {
  await put("petiole-task");
  expect(parts("text")).toEqual([]);
  view.write("done");
  view.write("Compiling…\n", "build_log");
  await settle();
  expect(parts("text-label").map((label) => label.textContent)).toEqual(["Build log", "Output"]);
  expect(parts("text-lines").map((lines) => lines.textContent)).toEqual(["Compiling…\n", "done"]);
  expect(new Set(parts("text-label").map((label) => label.id)).size).toBe(2);
  for (const attribute of ["compact", "no-texts"]) {
    element.setAttribute(attribute, "");
    await settle(1);
    expect(parts("text")).toEqual([]);
    element.removeAttribute(attribute);
    await settle(1);
    expect(parts("text-lines").map((lines) => lines.textContent)).toEqual(["Compiling…\n", "done"]);
  }
  element.view = new HandView() as unknown as TaskView;
  await settle();
  expect(parts("text")).toEqual([]);
});

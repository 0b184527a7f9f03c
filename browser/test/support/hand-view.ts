import { vi } from "vitest";
import { Emitter } from "../../src/link/emitter.js";
import type { LinkState } from "../../src/link/link.js";
import type { Child, ChildPage, ChildState } from "../../src/protocol/children.js";
import type { Document, Event as Fact } from "../../src/protocol/events.js";
import type { Problem } from "../../src/protocol/problem.js";
import type { Receipt } from "../../src/protocol/reader.js";
import type { Links, Snapshot } from "../../src/protocol/reading.js";
import type { ViewEvents } from "../../src/tasks/view.js";

/** A view that a test sets by hand: the element only reads it. */
export class HandView {
  readonly #events = new Emitter<ViewEvents>();
  id = "1";
  document: Document = {};
  link: LinkState = "live";
  receipt: Receipt = { facts: 0, shown: 0, complete: true, texts: {} };
  reading = false;
  readonly #texts = new Map<string, string>();
  ended = false;
  closed = false;
  problem: Problem | null = null;
  cancel = vi.fn(async (_options?: { force?: boolean }) => this.document);
  acknowledge = vi.fn(async () => undefined);
  close = vi.fn();
  links = vi.fn(async (): Promise<Links> => ({}));
  retry = vi.fn(async (): Promise<Snapshot> => snapshot("2", { state: "queued", title: "Flights" }));
  childPage = vi.fn(async (_page?: object): Promise<ChildPage> => ({ children: [], next: null }));
  history = vi.fn(() => new HandView());

  get moment(): { now: number } {
    return { now: Date.now() };
  }

  on<Name extends keyof ViewEvents>(name: Name, listener: (...values: ViewEvents[Name]) => void): () => void {
    return this.#events.on(name, listener);
  }

  get texts(): readonly string[] {
    return [...this.#texts.keys()];
  }

  text(name = "output"): string {
    return this.#texts.get(name) ?? "";
  }

  write(chunk: string, name = "output"): void {
    const whole = this.text(name) + chunk;
    this.#texts.set(name, whole);
    this.#events.emit("text", name, chunk, whole);
  }

  /** Void the texts, as the next run does. */
  begin(run: number): void {
    const { texts } = this;
    this.#texts.clear();
    this.show({ ...this.document, run });
    for (const name of texts) this.#events.emit("text", name, "", "");
  }

  read(): void {
    this.reading = false;
    this.#events.emit("read");
  }

  say(fact: Partial<Fact>): void {
    this.#events.emit("event", { at: Date.UTC(2026, 0, 1), run: 1, patch: {}, progress: null, ...fact } as Fact);
  }

  lose(): void {
    this.#events.emit("reset", this.document, 2400);
  }

  /** A group begins again. */
  again(document: Document): void {
    this.ended = false;
    this.#events.emit("again");
    this.show(document);
  }

  show(document: Document): void {
    this.document = document;
    this.#events.emit("change", document);
    if (["succeeded", "failed", "cancelled", "lost"].includes(document.state ?? "")) {
      this.ended = true;
      this.#events.emit("end", this.receipt);
    }
  }
}

export const child = (number: number, state: ChildState, more: Partial<Child> = {}): Child => ({
  number,
  id: `child-${number}`,
  state,
  attempt: 0,
  fraction: null,
  since: null,
  error: null,
  ...more,
});

export const snapshot = (id: string, document: Document, links: Links = {}): Snapshot => ({
  id,
  feed: `task:${id}`,
  cursor: "00000000.0.0.0000000000000000",
  document,
  links,
});

/** A page of React components beside a real server. */

import { createElement as h, type ReactElement, type ReactNode } from "react";
import { createRoot, hydrateRoot, type Root } from "react-dom/client";
import { vi } from "vitest";
import { TaskClient } from "../../src/client/client.js";
import { PetioleProvider } from "../../src/react.js";
import { TestServer } from "./server.js";

export const WITHIN = { timeout: 10_000, interval: 5 };
// What a wait was for is said before the test itself is over.
vi.setConfig({ testTimeout: 30_000 });

export class ReactPage {
  readonly server = new TestServer();
  readonly root: HTMLElement = document.createElement("main");
  client!: TaskClient;
  #react: Root | null = null;

  async open(): Promise<void> {
    const url = await this.server.open();
    // The page is the server's own, so that its HTTP calls are too.
    (window as unknown as { happyDOM: { setURL(url: string): void } }).happyDOM.setURL(url);
    this.client = new TaskClient({
      url,
      timing: { reconnectFirst: 0.05, fallbackAfter: 30, answerWithin: 5, idleAfter: 0.05 },
    });
    document.body.append(this.root);
  }

  /** What the components are within: the same on the server and here. */
  readonly within = (children: ReactNode): ReactElement => h(PetioleProvider, { client: this.client }, children);

  render(children: ReactNode): void {
    this.#react ??= createRoot(this.root);
    this.#react.render(this.within(children));
  }

  /** Take over what a server has rendered. */
  hydrate(html: string, children: ReactNode): void {
    this.root.innerHTML = html;
    this.#react = hydrateRoot(this.root, this.within(children));
  }

  get text(): string {
    return this.root.textContent ?? "";
  }

  /** Wait until the page says this. */
  async says(text: string): Promise<void> {
    await vi.waitFor(() => {
      if (!this.text.includes(text)) throw new Error(`The page says: ${this.text}`);
    }, WITHIN);
  }

  unmount(): void {
    this.#react?.unmount();
    this.#react = null;
  }

  async close(): Promise<void> {
    this.unmount();
    this.root.remove();
    this.client.close();
    await this.server.close();
  }
}

/** What the elements that show one task share: how they name it, and the client that they need for it. */

import { type ClientOptions, TaskClient } from "../client/client.js";
import type { TokenSource } from "../link/tokens.js";
import { parseSnapshot, type Snapshot } from "../protocol/reading.js";
import type { TaskView } from "../tasks/view.js";
import { PetioleElement } from "./element.js";

/** The attributes that name a task and its server. */
export const TASK_ATTRIBUTES: readonly string[] = ["task", "cursor", "snapshot", "url", "prefix", "path", "token"];

export abstract class TaskElement<Nodes> extends PetioleElement<TaskView, Nodes> {
  /** Why no task can be shown, if the attributes are wrong. */
  protected misuse: string | null = null;
  #token: TokenSource | null = null;
  /** The client of this element alone, if it has a token or another server. */
  #own: TaskClient | null = null;
  #snapshot: Snapshot | null = null;
  /** The view that the page has set, and the one that this element has opened. */
  #given: TaskView | null = null;
  #opened: TaskView | null = null;

  /** The view that is shown; set one to show it. This element never closes a view that was set. */
  get view(): TaskView | null {
    return this.shown;
  }

  set view(view: TaskView | null) {
    this.#given = view;
    this.reopen();
  }

  get token(): TokenSource | null {
    return this.#token ?? this.getAttribute("token");
  }

  set token(token: TokenSource | null) {
    this.#token = token;
    this.reopen();
  }

  /** A task as the server's 202 returned it: shown at once, and watched from its cursor. */
  get snapshot(): Snapshot | null {
    return this.#snapshot;
  }

  set snapshot(snapshot: Snapshot | null) {
    this.#snapshot = snapshot;
    this.reopen();
  }

  /** Show another task in place of this one, whatever named it. */
  protected become(snapshot: Snapshot): void {
    this.#given = null;
    this.snapshot = snapshot;
  }

  protected override settable(): readonly string[] {
    return ["client", "snapshot", "token", "view"];
  }

  override attributeChangedCallback(name: string, before: string | null, after: string | null): void {
    if (before !== after && name === "snapshot") this.#snapshot = after === null ? null : parseSnapshot(read(after));
    super.attributeChangedCallback(name, before, after);
  }

  protected override source(): readonly unknown[] {
    const { token } = this;
    return [this.#given, this.#snapshot, token, ...this.attributesOf("task", "cursor", "url", "prefix", "path")];
  }

  protected override open(): TaskView | null {
    this.misuse = null;
    if (this.#given) return this.#given;
    const client = this.#connect();
    const task = this.getAttribute("task");
    const { texts } = this;
    try {
      if (this.#snapshot) this.#opened = client.resume(this.#snapshot, { texts });
      else if (task !== null) this.#opened = client.watch(task, { cursor: this.getAttribute("cursor"), texts });
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.misuse = error.message;
    }
    return this.#opened;
  }

  /** Whether this element shows what the task writes. */
  protected get texts(): boolean {
    return true;
  }

  protected override leave(): void {
    this.#opened?.close();
    this.#own?.close();
    this.#opened = this.#own = null;
  }

  /** A text has begun, or begun anew: what follows changes nothing beside it. */
  protected readonly textChanged = (_name: string, chunk: string, whole: string): void => {
    if (chunk === whole) this.renderSoon();
  };

  #connect(): TaskClient {
    const { token } = this;
    const [url, prefix, path] = this.attributesOf("url", "prefix", "path");
    if (this.client || (token === null && url === null)) return this.clientOrShared();
    const named = Object.entries({ url, prefix, path, token }).filter(([, value]) => value !== null);
    this.#own = new TaskClient(Object.fromEntries(named) as ClientOptions);
    return this.#own;
  }
}

function read(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return null;
  }
}

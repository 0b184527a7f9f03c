/** What all elements share: how they open a view, follow it, render it and leave it. */

import type { TaskClient } from "../client/client.js";
import { sharedClient } from "../client/shared.js";
import type { LinkState } from "../link/link.js";
import { describeLink } from "../words/link.js";

// A server that renders pages can import the elements, though it has no HTMLElement.
const Base: typeof HTMLElement = globalThis.HTMLElement ?? (class {} as typeof HTMLElement);

/** Milliseconds in which what only time changes is not rendered once more. */
const FRESH = 500;

/**
 * An element that shows a `View` in its `Nodes`. It opens the view in a microtask after it is connected, and after a change of an
 * attribute or a property that names another view, so that everything set in one turn takes effect at once.
 */
export abstract class PetioleElement<View extends { close(): void }, Nodes> extends Base {
  static {
    // Every element has a `prefix` that can't be set. Frameworks that set what an element has as a property set the attribute with this.
    Object.defineProperty(this.prototype, "prefix", {
      get(this: HTMLElement): string | null {
        return this.getAttribute("prefix");
      },
      set(this: HTMLElement, value: string | null | undefined) {
        this[value == null ? "removeAttribute" : "setAttribute"]("prefix", value as string);
      },
    });
  }

  protected nodes: Nodes | null = null;
  /** The view that is shown; null until it is opened, and if none can be. */
  protected shown: View | null = null;
  #client: TaskClient | null = null;
  /** What `source` returned when the view was opened. */
  #source: readonly unknown[] = [];
  #undo: readonly (() => void)[] = [];
  #tick: ReturnType<typeof setInterval> | undefined;
  #linkSince = 0;
  #opening = false;
  #rendering = false;
  #drawn = 0;

  /** Instead of the page's shared client. */
  get client(): TaskClient | null {
    return this.#client;
  }

  set client(client: TaskClient | null) {
    this.#client = client;
    this.reopen();
  }

  /** Build the nodes, once. */
  protected abstract build(shadow: ShadowRoot): Nodes;
  /** Return the attributes and properties that name the view: it is opened anew if one of them differs. */
  protected abstract source(): readonly unknown[];
  /** Forget the previous view and open this one; null if none is named. */
  protected abstract open(): View | null;
  /** Listen to the view; returns the undo of each listener. */
  protected abstract follow(view: View): readonly (() => void)[];
  /** Fill the nodes. */
  protected abstract draw(nodes: Nodes): void;

  /** The properties that a script may have set before the element's class was defined. */
  protected settable(): readonly string[] {
    return ["client"];
  }

  /** Seconds between two renderings of what only time changes. */
  protected every(): number {
    return 1;
  }

  /** The page has become visible, or hidden. */
  protected seen(_visible: boolean): void {
    this.render();
  }

  protected leave(view: View | null): void {
    view?.close();
  }

  connectedCallback(): void {
    const own = this as unknown as Record<string, unknown>;
    for (const name of this.settable()) {
      if (!Object.prototype.hasOwnProperty.call(this, name)) continue;
      const value = own[name];
      delete own[name];
      own[name] = value;
    }
    this.nodes ??= this.build(this.shadowRoot ?? this.attachShadow({ mode: "open" }));
    this.#tick = setInterval(() => {
      if (Date.now() - this.#drawn >= FRESH) this.render();
    }, this.every() * 1000);
    document.addEventListener("visibilitychange", this.#visibility);
    this.reopen();
    this.render();
  }

  disconnectedCallback(): void {
    clearInterval(this.#tick);
    document.removeEventListener("visibilitychange", this.#visibility);
    // An element that was only moved within the page is connected again by then, and goes on.
    queueMicrotask(() => {
      if (!this.isConnected) this.#leave();
    });
  }

  attributeChangedCallback(_name: string, before: string | null, after: string | null): void {
    if (before === after) return;
    this.reopen();
    this.renderSoon();
  }

  /** At the end of this turn, open the view that is named by then, unless it is shown already. */
  protected reopen(): void {
    if (this.#opening) return;
    this.#opening = true;
    queueMicrotask(() => {
      this.#opening = false;
      if (!this.isConnected) return;
      const source = [this.#client, ...this.source()];
      if (this.shown && source.every((value, index) => value === this.#source[index])) return;
      this.#leave();
      this.#source = source;
      this.shown = this.open();
      this.#linkSince = Date.now();
      if (this.shown) this.#undo = this.follow(this.shown);
      this.render();
    });
  }

  /** Render once for all that changes until the next frame. */
  protected readonly renderSoon = (): void => {
    if (this.#rendering) return;
    this.#rendering = true;
    requestAnimationFrame(() => {
      this.#rendering = false;
      this.render();
    });
  };

  protected render(): void {
    if (!this.nodes) return;
    this.#drawn = Date.now();
    this.draw(this.nodes);
  }

  /** The link's state has changed. */
  protected readonly linkChanged = (): void => {
    this.#linkSince = Date.now();
    this.renderSoon();
  };

  protected describeLink(link: LinkState): string | null {
    return describeLink(link, (Date.now() - this.#linkSince) / 1000);
  }

  /** Dispatch an event that bubbles; false if the page has prevented it. */
  protected tell(name: string, detail: unknown, cancelable = false): boolean {
    return this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true, cancelable }));
  }

  /** These attributes' values, in order. */
  protected attributesOf(...names: readonly string[]): (string | null)[] {
    return names.map((name) => this.getAttribute(name));
  }

  /** Return the client that the page has set, or the shared one that the attributes name. */
  protected clientOrShared(): TaskClient {
    const [prefix, path] = this.attributesOf("prefix", "path");
    return this.#client ?? sharedClient({ ...(prefix != null && { prefix }), ...(path != null && { path }) });
  }

  /** The language that numbers and dates are written in. */
  protected get locale(): string {
    return this.closest<HTMLElement>("[lang]")?.lang || "en";
  }

  #leave(): void {
    for (const undo of this.#undo) undo();
    this.#undo = [];
    this.leave(this.shown);
    this.shown = null;
  }

  readonly #visibility = (): void => this.seen(document.visibilityState !== "hidden");
}

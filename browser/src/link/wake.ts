/** Notices that the page wakes: it was asleep, hidden or offline, and may have missed something. */

export interface WakeOptions {
  /** The page may have missed something. */
  readonly woke: () => void;
  /** The page is visible again; `long`: it was hidden for so long that the connection may be dead. */
  readonly seen: (long: boolean) => void;
  /** The browser says that it is offline. */
  readonly offline: () => void;
}

/** Milliseconds after which a hidden page's connection may be dead. */
const HIDDEN_FOR_LONG = 15_000;

export class Wake {
  readonly #options: WakeOptions;
  #hiddenAt: number | null = null;

  constructor(options: WakeOptions) {
    this.#options = options;
  }

  open(): void {
    this.#listen("addEventListener");
  }

  close(): void {
    this.#listen("removeEventListener");
  }

  #listen(verb: "addEventListener" | "removeEventListener"): void {
    globalThis.window?.[verb]("online", this.#options.woke);
    globalThis.window?.[verb]("offline", this.#options.offline);
    globalThis.window?.[verb]("pageshow", this.#shown);
    globalThis.document?.[verb]("visibilitychange", this.#visibility);
  }

  readonly #shown = (event: globalThis.Event): void => {
    if ((event as PageTransitionEvent).persisted) this.#options.woke();
  };

  readonly #visibility = (): void => {
    if (document.visibilityState === "hidden") {
      this.#hiddenAt = Date.now();
      return;
    }
    const long = this.#hiddenAt !== null && Date.now() - this.#hiddenAt > HIDDEN_FOR_LONG;
    this.#hiddenAt = null;
    this.#options.seen(long);
  };
}

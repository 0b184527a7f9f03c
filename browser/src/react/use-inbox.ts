/** `useInbox`: the notices of the logged-in person's finished tasks. */

import { useMemo } from "react";
import type { TaskClient } from "../client/client.js";
import type { InboxView } from "../inbox/inbox.js";
import type { Notice } from "../inbox/notices.js";
import type { LinkState } from "../link/link.js";
import type { Problem } from "../protocol/problem.js";
import { useClient, useGivenClient } from "./client.js";
import { shareView } from "./shared-views.js";
import { type Store, useKept, useStore } from "./store.js";

export interface InboxOptions {
  /** Whether to watch; true by default. */
  readonly enabled?: boolean | undefined;
  /** Instead of the client of `<PetioleProvider>`, or the one that the page shares. */
  readonly client?: TaskClient | undefined;
}

interface InboxValue {
  /** The newest notices, the newest first, without those that this page has acknowledged. */
  readonly notices: readonly Notice[];
  readonly unread: number;
  /** How many unread ones there are beside `notices`. */
  readonly earlier: number;
  /** Whether the server has answered. */
  readonly known: boolean;
  /** Why the server doesn't show the inbox, or why it has refused the last acknowledgement. */
  readonly problem: Problem | null;
  /** The state of the connection; null while the inbox isn't watched. */
  readonly link: LinkState | null;
}

export interface Inbox extends InboxValue {
  /** Remove these notices, or all, on every page. Rejects with `Refused` if the server refuses; they are back then. */
  readonly acknowledge: (tasksOrAll: readonly string[] | "all") => Promise<void>;
}

const EMPTY: InboxValue = { notices: [], unread: 0, earlier: 0, known: false, problem: null, link: null };

/** Watch the inbox of the person who is logged in. Any number of components share one view of it. */
export function useInbox({ enabled = true, client: own }: InboxOptions = {}): Inbox {
  const client = useClient(own);
  const store = useKept(() => new InboxStore(client), [useGivenClient(own)]);
  const value = useStore(store, enabled);
  return useMemo(() => ({ ...value, acknowledge: (tasks) => store.acknowledge(tasks) }), [store, value]);
}

class InboxStore implements Store<InboxValue> {
  readonly initial = EMPTY;
  value: InboxValue = EMPTY;
  readonly #client: () => TaskClient;
  #view: InboxView | null = null;

  constructor(client: () => TaskClient) {
    this.#client = client;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    const client = this.#client();
    const { view, leave } = shareView(client, "inbox", () => client.inbox());
    const set = (changes: Partial<InboxValue>): void => {
      this.value = { ...this.value, ...changes };
      listener();
    };
    const update = (): void => {
      const { notices, unread, earlier, feed, problem } = view;
      const known = this.value.known || feed !== null;
      set({ notices, unread, earlier, known, problem, link: problem ? null : view.link });
    };
    const undo = [
      view.on("change", update),
      view.on("read", update),
      view.on("refused", update),
      view.on("link", (link) => set({ link })),
      view.on("undone", (problem) => set({ problem })),
    ];
    this.#view = view;
    // Until a view that was just opened is answered, this store knows more.
    if (view.feed !== null || view.problem) update();
    else set({ link: view.link });
    return () => {
      for (const each of undo) each();
      this.#view = null;
      this.value = { ...this.value, link: null };
      leave();
    };
  };

  async acknowledge(tasksOrAll: readonly string[] | "all"): Promise<void> {
    await (this.#view ?? this.#client()).acknowledge(tasksOrAll);
  }
}

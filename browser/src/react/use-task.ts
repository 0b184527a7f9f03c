/** `useTask`: one task, live. */

import { useInsertionEffect, useMemo } from "react";
import type { TaskClient } from "../client/client.js";
import type { Document, Event } from "../protocol/events.js";
import type { Snapshot } from "../protocol/reading.js";
import { useClient, useGivenClient } from "./client.js";
import { useKept, useStore } from "./store.js";
import { TaskStore, type TaskValue } from "./task-store.js";

export interface TaskOptions {
  /** Whether to watch; while false nothing is asked, and the last value stays. True by default. */
  readonly enabled?: boolean | undefined;
  /** Whether to read what the task writes, into `texts`; false by default. */
  readonly texts?: boolean | undefined;
  /** The task has ended. Called once for each task that this hook watches; of a group, at the end of each run. */
  readonly onEnd?: ((value: TaskValue) => void) | undefined;
  /** One fact or counter, in order; every fact once, from the first one or from the snapshot on. */
  readonly onEvent?: ((event: Event) => void) | undefined;
  /** Instead of the client of `<PetioleProvider>`, or the one that the page shares. */
  readonly client?: TaskClient | undefined;
}

export interface WatchedTask extends TaskValue {
  /** Ask the task to stop, as `TaskView.cancel`. */
  readonly cancel: (options?: { readonly force?: boolean }) => Promise<Document>;
  /** Start the task again after its end. Resolves to the new task, which has an id of its own; a group keeps its id. */
  readonly retry: () => Promise<Snapshot>;
  /** Remove the notice of this task's end from its owner's inbox: somebody has seen it here. */
  readonly acknowledge: () => Promise<void>;
}

/**
 * Watch a task by its id, or from the snapshot that the 202 or the server's page has brought; null: none yet.
 *
 * A snapshot is shown in the first render, on a server too. Later ones of the same task change nothing: the hook itself knows more.
 * Nothing is asked after the task has ended.
 */
export function useTask(task: string | Snapshot | null | undefined, options: TaskOptions = {}): WatchedTask {
  const { enabled = true, texts = false, onEnd, onEvent } = options;
  const store = useTaskStore(task ?? null, { client: options.client, texts, alone: onEvent !== undefined });
  useInsertionEffect(() => {
    store.handlers = { onEnd, onEvent };
  });
  const value = useStore(store, enabled);
  return useMemo(
    () => ({
      ...value,
      cancel: (force) => store.cancel(force),
      retry: () => store.retry(),
      acknowledge: () => store.acknowledge(),
    }),
    [store, value],
  );
}

/** Keep the store of a task for as long as the same one is named. */
export function useTaskStore(
  task: string | Snapshot | null,
  { client: own, texts, alone }: { readonly client: TaskClient | undefined; readonly texts: boolean; readonly alone: boolean },
): TaskStore {
  const client = useClient(own);
  const name = task === null || typeof task === "string" ? task : task.feed;
  return useKept(() => new TaskStore({ client, task, texts, alone }), [useGivenClient(own), name, texts, alone]);
}

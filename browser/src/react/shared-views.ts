/** Views that components share: those that watch the same task alike watch it once. */

import type { TaskClient } from "../client/client.js";

interface Closable {
  close(): void;
}

interface Used {
  readonly view: Closable;
  users: number;
}

/** By client, so that a client that nobody holds takes its views with it. */
const clients = new WeakMap<TaskClient, Map<unknown, Used>>();

/**
 * Return the client's view of this key, opened if nobody uses it yet, and the undo.
 *
 * The last undo closes the view at the end of this turn, unless somebody uses it again by then: React runs effects twice in its
 * strict mode, and a page may move a task from one component to another.
 */
export function shareView<View extends Closable>(
  client: TaskClient,
  key: unknown,
  open: () => View,
): { readonly view: View; readonly leave: () => void } {
  const views = clients.get(client) ?? new Map<unknown, Used>();
  clients.set(client, views);
  const used = views.get(key) ?? { view: open(), users: 0 };
  views.set(key, used);
  used.users += 1;
  const leave = (): void => {
    used.users -= 1;
    queueMicrotask(() => {
      if (used.users > 0 || views.get(key) !== used) return;
      views.delete(key);
      used.view.close();
    });
  };
  return { view: used.view as View, leave };
}

/** `useText`: one text of a task while it is written. */

import { useMemo } from "react";
import type { TaskClient } from "../client/client.js";
import type { LinkState } from "../link/link.js";
import type { Problem } from "../protocol/problem.js";
import type { Snapshot } from "../protocol/reading.js";
import type { TaskState } from "../protocol/states.js";
import { useStore } from "./store.js";
import { useTaskStore } from "./use-task.js";

export interface TextOptions {
  /** Which text, as the task calls it; `output` by default. */
  readonly name?: string | undefined;
  /** Whether to watch; true by default. */
  readonly enabled?: boolean | undefined;
  /** Instead of the client of `<PetioleProvider>`, or the one that the page shares. */
  readonly client?: TaskClient | undefined;
}

export interface TaskText {
  /** All that has arrived; empty before the first answer. */
  readonly text: string;
  /** The task's state; null before the first answer. */
  readonly state: TaskState | null;
  /** Whether the task has ended and all of the text is here. */
  readonly ended: boolean;
  /** Whether this is what the task has written; null before the end, and if it was lost and couldn't say. */
  readonly complete: boolean | null;
  /** How many bytes past the limit were omitted. */
  readonly omitted: number;
  /** Why the server doesn't show it, if it doesn't. */
  readonly problem: Problem | null;
  /** The state of the connection; null while the task isn't watched. */
  readonly link: LinkState | null;
}

/** Read a text of a task, named as for `useTask`. A component renders again for each chunk, at most 25 times a second. */
export function useText(
  task: string | Snapshot | null | undefined,
  { name = "output", enabled = true, client }: TextOptions = {},
): TaskText {
  const value = useStore(useTaskStore(task ?? null, { client, texts: true, alone: false }), enabled);
  const { state, ended, problem, link, receipt } = value;
  const text = value.texts[name] ?? "";
  const { complete = null, omitted = 0 } = receipt?.texts[name] ?? {};
  return useMemo(
    () => ({ text, state, ended, complete, omitted, problem, link }),
    [text, state, ended, complete, omitted, problem, link],
  );
}

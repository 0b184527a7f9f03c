/** `useStartTask`: what a button needs that starts a task. */

import { useCallback, useInsertionEffect, useMemo, useRef, useState } from "react";
import type { TaskClient } from "../client/client.js";
import { type Problem, Refused } from "../protocol/problem.js";
import type { Snapshot } from "../protocol/reading.js";
import { useClient } from "./client.js";

export interface StartOptions {
  /** Headers of the request, such as a CSRF token or an `Idempotency-Key`. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Instead of the client of `<PetioleProvider>`, or the one that the page shares. */
  readonly client?: TaskClient | undefined;
}

interface Started {
  /** The task that was started last, for `useTask`, `useText` and `<Task>`; null before. */
  readonly task: Snapshot | null;
  /** Whether the server hasn't answered yet. */
  readonly starting: boolean;
  /** Why the last start has failed, if it has. */
  readonly problem: Problem | null;
}

export interface StartTask extends Started {
  /** POST this as JSON. Resolves to the task; to null if the server refuses or can't be reached, and `problem` says why. */
  readonly start: (body?: unknown) => Promise<Snapshot | null>;
  /** Show this task, for example one that was started again; null: none. */
  readonly setTask: (task: Snapshot | null) => void;
}

const NONE: Started = { task: null, starting: false, problem: null };

/** Start tasks by a route of the application that answers 202 with a snapshot. If it is called again, the last call counts. */
export function useStartTask(url: string, { headers, client: own }: StartOptions = {}): StartTask {
  const client = useClient(own);
  const [started, setStarted] = useState(NONE);
  const latest = useRef(0);
  const setTask = useCallback((task: Snapshot | null) => {
    latest.current += 1;
    setStarted({ ...NONE, task });
  }, []);
  const start = async (body: unknown = {}): Promise<Snapshot | null> => {
    const number = (latest.current += 1);
    setStarted(({ task }) => ({ task, starting: true, problem: null }));
    const settle = (settled: Partial<Started>): void => {
      if (number === latest.current) setStarted(({ task }) => ({ ...NONE, task, ...settled }));
    };
    try {
      const task = await client().post(url, body, headers && { headers: { ...headers } });
      settle({ task });
      return task;
    } catch (error) {
      settle({ problem: problemOf(error) });
      return null;
    }
  };
  // A function that stays the same, with the last rendering's headers.
  const present = useRef(start);
  useInsertionEffect(() => {
    present.current = start;
  });
  const begin = useCallback((body?: unknown) => present.current(body), []);
  return useMemo(() => ({ ...started, start: begin, setTask }), [started, begin, setTask]);
}

function problemOf(error: unknown): Problem {
  if (error instanceof Refused) return error.problem;
  const why = error instanceof Error ? ` (${error.message})` : "";
  return { title: "The server can't be reached.", status: 0, detail: `The server can't be reached${why}. Try again.` };
}

/** What a page sends beside a cursor: the filter of a list of tasks, and acknowledgements. */

import type { Snapshot } from "./reading.js";
import type { TaskState } from "./states.js";

export interface TaskFilter {
  /** Tasks in this state only. */
  readonly state?: TaskState;
  /** Tasks of this name only, as Celery knows it. */
  readonly name?: string;
  /** Tasks on one page, 1 to 100. Default: the server's. */
  readonly limit?: number;
}

/** Tasks, newest first, and the cursor of the next page; null on the last one. */
export interface TaskPage {
  readonly tasks: readonly Snapshot[];
  readonly next: string | null;
}

/** What one message acknowledges: these tasks, or everything in the inbox. */
export type Acknowledgement = { readonly tasks: readonly string[] } | { readonly all: true };

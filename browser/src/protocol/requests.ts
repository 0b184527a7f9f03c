/** What a page asks of the server beside a reading: a list of tasks, and to acknowledge notices. */

import type { Snapshot } from "./reading.js";
import type { TaskState } from "./states.js";

export interface TaskFilter {
  /** Tasks in this state only. */
  readonly state?: TaskState;
  /** Tasks of this name only, as Celery knows it. */
  readonly name?: string;
  /** Tasks of one page, 1 to 100; the server's default without it. */
  readonly limit?: number;
}

/** Tasks, the newest first, and where the further ones begin; null if there are none. */
export interface TaskPage {
  readonly tasks: readonly Snapshot[];
  readonly next: string | null;
}

/** What one message acknowledges: these tasks, or all that wait in the inbox. */
export type Acknowledgement = { readonly tasks: readonly string[] } | { readonly all: true };

/** The notices in an inbox's document. Pure. */

import { type Artifact, type Document, feedId } from "../protocol/events.js";
import { isTerminal, type TaskState } from "../protocol/states.js";

/** One finished task that nobody has seen yet. `at` in milliseconds since 1970. */
export interface Notice {
  /** The task's id, or the group's. */
  readonly id: string;
  readonly title: string;
  readonly state: TaskState;
  readonly at: number;
  readonly artifact: Artifact | null;
  readonly reason: string | null;
}

/** The fields that are notices have the names of feeds. */
const FEED = /^(task|group):/;

/** Return the notices in the document, newest first. */
export function noticesOf(document: Document): Notice[] {
  const notices: Notice[] = [];
  for (const [field, value] of Object.entries(document)) {
    const { title, state, at, artifact, reason } = (value ?? {}) as Partial<Notice>;
    if (!FEED.test(field) || !isTerminal({ ...(state && { state }) }) || typeof at !== "number") continue;
    notices.push({
      id: feedId(field),
      title: typeof title === "string" && title ? title : "Task",
      state: state as TaskState,
      at,
      artifact: typeof artifact === "object" ? artifact : null,
      // After a success the reason is that of an earlier run.
      reason: typeof reason === "string" && state !== "succeeded" ? reason : null,
    });
  }
  return notices.sort((one, other) => other.at - one.at || (one.id < other.id ? 1 : -1));
}

/** Return the document without these notices and without this many of the earlier ones. */
export function without(document: Document, taken: (task: string, at: number) => boolean, earlier: number): Document {
  const left: Record<string, unknown> = { ...document };
  let gone = Math.min(earlier, count(document, "earlier"));
  left["earlier"] = count(document, "earlier") - gone;
  for (const [field, value] of Object.entries(document)) {
    if (!FEED.test(field) || !taken(feedId(field), (value as Partial<Notice> | null)?.at ?? 0)) continue;
    delete left[field];
    gone += 1;
  }
  left["unread"] = Math.max(count(document, "unread") - gone, 0);
  return left;
}

/** Return how many notices are unread, or how many of those are `earlier`: counted, but no longer in the document. */
export function count(document: Document, field: "unread" | "earlier"): number {
  const value = document[field];
  return typeof value === "number" && value > 0 ? value : 0;
}

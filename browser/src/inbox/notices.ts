/** What an inbox's document says: its notices, read and put into words. Pure; every clock is a parameter. */

import { type Artifact, type Document, isTerminal, type TaskState } from "../protocol/events.js";
import { formatDay, formatNumber, JOINED } from "../words/format.js";

/** One finished task that nobody has seen yet. `at` in milliseconds since 1970. */
export interface Notice {
  /** The task's id. */
  readonly id: string;
  readonly title: string;
  readonly state: TaskState;
  readonly at: number;
  readonly artifact: Artifact | null;
  readonly reason: string | null;
}

const TASK = "task:";

/** Return the notices that the document has, the newest first. */
export function noticesOf(document: Document): Notice[] {
  const notices: Notice[] = [];
  for (const [field, value] of Object.entries(document)) {
    const { title, state, at, artifact, reason } = (value ?? {}) as Partial<Notice>;
    if (!field.startsWith(TASK) || !isTerminal({ ...(state && { state }) }) || typeof at !== "number") continue;
    notices.push({
      id: field.slice(TASK.length),
      title: typeof title === "string" && title ? title : "Task",
      state: state as TaskState,
      at,
      artifact: typeof artifact === "object" ? artifact : null,
      // Of a task that has succeeded it says why an earlier run did not.
      reason: typeof reason === "string" && state !== "succeeded" ? reason : null,
    });
  }
  return notices.sort((one, other) => other.at - one.at || (one.id < other.id ? 1 : -1));
}

/** Return the document without these notices and without this many of the earlier ones. */
export function without(document: Document, taken: (task: string) => boolean, earlier: number): Document {
  const left: Record<string, unknown> = { ...document };
  let gone = Math.min(earlier, count(document, "earlier"));
  left["earlier"] = count(document, "earlier") - gone;
  for (const field of Object.keys(document)) {
    if (!field.startsWith(TASK) || !taken(field.slice(TASK.length))) continue;
    delete left[field];
    gone += 1;
  }
  left["unread"] = Math.max(count(document, "unread") - gone, 0);
  return left;
}

/** Return how many notices wait, or how many of those are `earlier` than the ones that the document has. */
export function count(document: Document, field: "unread" | "earlier"): number {
  const value = document[field];
  return typeof value === "number" && value > 0 ? value : 0;
}

/** Return how a task ended, in a word: "Finished". */
export function describeNotice({ state }: Notice): string {
  const word = ENDINGS[state] ?? state;
  return word.slice(0, 1).toUpperCase() + word.slice(1);
}

/** Return "3 finished, 1 failed". */
export function describeSum(notices: readonly Notice[], locale = "en"): string {
  const sums = Object.entries(ENDINGS).map(([state, words]) => {
    const sum = notices.filter((notice) => notice.state === state).length;
    return sum > 0 ? `${formatNumber(sum, locale)}${JOINED}${words}` : "";
  });
  return sums.filter(Boolean).join(", ");
}

/** Return the one line about what came while nobody looked; null if nothing did. */
export function describeAway(notices: readonly Notice[], earlier: number, locale = "en"): string | null {
  const sum = notices.length + earlier;
  if (sum === 0) return null;
  // How the earlier ones ended isn't told.
  const words = earlier > 0 ? `${formatNumber(sum, locale)} tasks ended` : describeSum(notices, locale);
  return `While you were away: ${words}`;
}

/** Return what a screen reader is told of what has just come, of which these are the newest; null if nothing did. */
export function describeNew(notices: readonly Notice[], earlier: number, locale = "en"): string | null {
  const [first] = notices;
  const sum = notices.length + earlier;
  if (!first) return null;
  if (sum === 1) return `1 new: ${first.title}, ${ENDINGS[first.state] ?? first.state}`;
  return `${formatNumber(sum, locale)} new${earlier > 0 ? "" : `: ${describeSum(notices, locale)}`}`;
}

/** Return how long ago an instant was: "just now", "5 min ago", "30 Nov". */
export function describeAge(at: number, now: number, locale = "en"): string {
  const minutes = Math.floor((now - at) / 60_000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${formatNumber(minutes, locale)}${JOINED}min ago`;
  const hours = Math.floor(minutes / 60);
  return hours < 24 ? `${formatNumber(hours, locale)}${JOINED}h ago` : formatDay(at, locale);
}

const ENDINGS: Readonly<Partial<Record<TaskState, string>>> = {
  succeeded: "finished",
  failed: "failed",
  lost: "lost",
  cancelled: "cancelled",
};

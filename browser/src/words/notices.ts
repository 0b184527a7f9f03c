/** What a person reads about notices: what has ended, and how long ago. Pure; every clock is a parameter. */

import type { Notice } from "../inbox/notices.js";
import type { TaskState } from "../protocol/states.js";
import { formatDay, formatNumber, JOINED } from "./format.js";

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

/** Return the line about what arrived while nobody was looking; null if nothing did. */
export function describeAway(notices: readonly Notice[], earlier: number, locale = "en"): string | null {
  const sum = notices.length + earlier;
  if (sum === 0) return null;
  // How the earlier ones ended isn't known.
  const words = earlier > 0 ? `${formatNumber(sum, locale)} tasks ended` : describeSum(notices, locale);
  return `While you were away: ${words}`;
}

/** Return what a screen reader says about new notices, of which these are the newest; null without any. */
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

/** What a person reads about a text, beside the text itself. Pure. */

import type { Document } from "../protocol/events.js";
import type { TextReceipt } from "../protocol/reader.js";
import type { TaskState } from "../protocol/states.js";
import { formatNumber, formatSize } from "./format.js";

const PARTIAL: Readonly<Partial<Record<TaskState, string>>> = {
  retrying: "Incomplete: the task is to be run again.",
  cancelled: "Incomplete: the task was cancelled.",
  failed: "Incomplete: the task failed.",
  lost: "Incomplete: the worker disappeared.",
};

/** Return a text's name as its heading: "build_log" is "Build log". */
export function describeTextName(name: string): string {
  const words = name.replace(/[_-]+/g, " ").trim();
  return words.slice(0, 1).toUpperCase() + words.slice(1);
}

/** Return why a text isn't all that the task meant to write, or all that it has written; null if nothing is known of that. */
export function describePartial({ state }: Document, receipt: TextReceipt | undefined, locale = "en"): string | null {
  const { complete = null, omitted = 0 } = receipt ?? {};
  const sentences = [
    (state && PARTIAL[state]) ?? "",
    omitted > 0 ? `${formatSize(omitted, locale)} past the limit were omitted.` : "",
    complete === false ? "A part of it is missing on this page. Reload the page." : "",
  ];
  return sentences.filter(Boolean).join(" ") || null;
}

/** What a screen reader is told of a text that has ended and isn't partial. */
export const COMPLETE = "The text is complete.";

/** Return what to say once a later run has begun a text anew. */
export function describeBegun(run: number, locale = "en"): string {
  return `Run ${formatNumber(run, locale)} begins anew.`;
}

/** What a person reads about the receipt. Pure. */

import type { Receipt } from "../protocol/reader.js";
import { formatNumber } from "./format.js";

/** Return the receipt in words, of a task that has ended. */
export function describeReceipt({ facts, shown, complete, texts }: Receipt, locale = "en"): string {
  const counts = `${formatNumber(shown, locale)} of ${formatNumber(facts, locale)} events`;
  if (complete) return `${counts}, none missing`;
  const torn = Object.values(texts).some((text) => text.complete === false);
  const events = torn && shown === facts ? ", none missing" : "; earlier ones were read as a summary";
  return `${counts}${events}${torn ? "; a part of a text is missing on this page" : ""}`;
}

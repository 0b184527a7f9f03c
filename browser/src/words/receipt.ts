/** What a person reads about the receipt. Pure. */

import type { Receipt } from "../protocol/reader.js";
import { formatNumber } from "./format.js";

/** Return the receipt in words, of a task that has ended. */
export function describeReceipt({ facts, shown, complete }: Receipt, locale = "en"): string {
  const counts = `${formatNumber(shown, locale)} of ${formatNumber(facts, locale)} events`;
  return complete ? `${counts}, none missing` : `${counts}; earlier ones were read as a summary`;
}

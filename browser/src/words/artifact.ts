/** What a person reads about a file that a task has made. Pure; the clock is a parameter. */

import type { Artifact } from "../protocol/events.js";
import { formatDay, formatNumber, formatSize } from "./format.js";

/** Return the words about a file: "1,000,000 rows · 15.2 MB · kept until 30 Nov". */
export function describeArtifact(artifact: Artifact, now: number, locale = "en"): string {
  const { rows, size, expires_at: expiresAt } = artifact;
  if (isExpired(artifact, now)) return `File removed on ${formatDay(expiresAt ?? now, locale)}`;
  const parts = [
    rows === undefined ? null : `${formatNumber(rows, locale)} ${rows === 1 ? "row" : "rows"}`,
    size === undefined ? null : formatSize(size, locale),
    expiresAt === undefined ? null : `kept until ${formatDay(expiresAt, locale)}`,
  ];
  return parts.filter((part) => part !== null).join(" · ");
}

export function isExpired({ expires_at: expiresAt }: Artifact, now: number): boolean {
  return expiresAt !== undefined && expiresAt <= now;
}

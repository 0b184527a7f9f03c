/** What a person reads about one fact, as a line of a task's log. Pure. */

import type { JSONValue } from "../protocol/encoding.js";
import type { Document, Event } from "../protocol/events.js";
import { cut, formatNumber } from "./format.js";
import { GONE, SILENT } from "./task.js";

export type Level = "plain" | "info" | "warning" | "error";

export interface Line {
  readonly text: string;
  /** `plain`: said by Petiole itself; the others are the levels of the task's own lines. */
  readonly level: Level;
}

/** The most characters of a line. */
const LONGEST = 2000;
const LEVELS: Readonly<Record<string, Level>> = { warning: "warning", warn: "warning", error: "error", critical: "error" };

/** Return the line of this fact. Whatever it carries becomes text. */
export function describeFact(event: Event, locale = "en"): Line {
  const { kind, data, progress } = event;
  if (kind === "log") {
    const { message, level } = members(data);
    return { text: cut(textOf(message), LONGEST), level: LEVELS[textOf(level).toLowerCase()] ?? "info" };
  }
  if (kind === "custom") {
    const { name, data: carried } = members(data);
    return plain([textOf(name), carried === undefined ? "" : textOf(carried)].filter(Boolean).join(": "));
  }
  if (kind === "stage") return plain(textOf(progress?.stage ?? event.patch["stage"] ?? "Stage"));
  if (kind === "artifact") return plain(["File", fileOf(event)].filter(Boolean).join(": "));
  return kind === "state" ? stateOf(event, locale) : plain(kind);
}

function stateOf({ patch, progress, run }: Event, locale: string): Line {
  const { state, reason, error, forced } = patch as Document;
  const because = typeof reason === "string" && reason !== "" ? `: ${reason}` : "";
  // A group counts its runs from 0.
  const nth = progress?.children ? run + 1 : run;
  switch (state) {
    case "queued":
      return plain("Queued");
    case "running":
      return plain(nth > 1 ? `Run ${formatNumber(nth, locale)} started${because}` : `Started${because}`);
    case "retrying":
      return warned(`To be run again${because}`);
    case "stalled":
      return warned(once(SILENT, reason, because));
    case "cancelling":
      return plain(forced === true ? "Asked to stop, by force" : "Asked to stop");
    case "cancelled":
      return plain(`Cancelled${because}`);
    case "failed":
      return failed(`Failed${whyOf(error) || because}`);
    case "lost":
      return failed(once(GONE, reason, because));
    case "succeeded":
      return plain("Finished");
    default: {
      // What is told of a group may bring several errors.
      const errors = Object.entries(patch).filter(([name, value]) => /^error\d/.test(name) && value);
      const lines = errors.map(([, value]) => `A task failed${whyOf(members(value))}`);
      return lines.length > 0 ? failed(lines.join("\n")) : plain(textOf(state ?? "Changed"));
    }
  }
}

/** Return ": The disk is full. Reference 7F3A", as far as it is known. */
function whyOf({ message, reference }: { readonly message?: unknown; readonly reference?: unknown } = {}): string {
  return `${message ? `: ${message}` : ""}${reference ? ` Reference ${reference}` : ""}`;
}

/** Join words and a reason, which may begin with the same words. */
function once(words: string, reason: string | undefined, because: string): string {
  return reason?.startsWith(words) ? reason.replace(/\.$/, "") : words + because;
}

function fileOf({ patch }: Event): string {
  const all = patch["artifacts"];
  const newest = Array.isArray(all) ? all[all.length - 1] : undefined;
  return textOf(members(newest)["name"]);
}

const plain = (text: string): Line => ({ text: cut(text, LONGEST), level: "plain" });
const warned = (text: string): Line => ({ text: cut(text, LONGEST), level: "warning" });
const failed = (text: string): Line => ({ text: cut(text, LONGEST), level: "error" });

function members(value: JSONValue | undefined): { readonly [name: string]: JSONValue | undefined } {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value : {};
}

function textOf(value: JSONValue | undefined): string {
  if (value === undefined || value === null) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}

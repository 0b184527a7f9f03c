/** What a person reads about a task's result. Pure. */

import type { JSONValue } from "../protocol/encoding.js";
import { cut } from "./format.js";

/** The most characters of a result. */
const LONGEST = 200;
/** The members that may hold a result's sentence, and the most members that are listed by name. */
const SAID = ["message", "status", "description", "detail"] as const;
const MOST_MEMBERS = 6;

/** Return a task's result as a person reads it; null if there is none. Numbers stay as they are: one may be a year. */
export function describeResult(result: JSONValue | undefined): string | null {
  if (result === undefined || result === null || result === "") return null;
  if (typeof result === "string") return cut(result, LONGEST);
  if (typeof result !== "object") return `Result: ${String(result)}`;
  if (Array.isArray(result)) return result.length === 0 ? null : cut(`Result: ${JSON.stringify(result)}`, LONGEST);
  const said = SAID.map((name) => result[name]).find((value) => typeof value === "string" && value !== "");
  // What Celery's users return beside a sentence: `{"status": "Task completed!", "result": 42}`.
  if (said !== undefined) return [cut(String(said), LONGEST), describeResult(result["result"])].filter(Boolean).join(" · ");
  const members = Object.entries(result);
  const isFlat = members.length <= MOST_MEMBERS && members.every(([, value]) => typeof value !== "object");
  const text = isFlat ? members.map(([name, value]) => `${name}: ${String(value)}`).join(" · ") : JSON.stringify(result);
  return members.length === 0 ? null : cut(text, LONGEST);
}

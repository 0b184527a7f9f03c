/** The states of a task. */

export type TaskState =
  | "queued"
  | "running"
  | "retrying"
  | "stalled"
  | "cancelling"
  | "succeeded"
  | "failed"
  | "cancelled"
  | "lost";

const TERMINAL: readonly string[] = ["succeeded", "failed", "cancelled", "lost"];

/** Return whether a task with this document has ended. */
export function isTerminal({ state }: { readonly state?: TaskState }): boolean {
  return TERMINAL.includes(state ?? "");
}

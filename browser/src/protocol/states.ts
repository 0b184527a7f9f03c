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

/** Say whether a task in this document takes no more events. */
export function isTerminal({ state }: { readonly state?: TaskState }): boolean {
  return TERMINAL.includes(state ?? "");
}

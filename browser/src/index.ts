/** Petiole in the browser. `defineElements()` makes the elements known; everything else works without a page. */

export { Announcer } from "./announce.js";
export { type ClientEvents, type ClientOptions, TaskClient, type WatchOptions } from "./client.js";
export { defineElements } from "./elements/define.js";
export { PetioleInbox } from "./elements/inbox.js";
export { PetioleTask } from "./elements/task.js";
export { PetioleTasks } from "./elements/tasks.js";
export {
  advance,
  type Artifact,
  type Cursor,
  type Document,
  type Event,
  formatCursor,
  isTerminal,
  type JSONValue,
  type Links,
  parseCursor,
  type Problem,
  type Progress,
  type Reading,
  type Snapshot,
  type TaskState,
} from "./events.js";
export { describeFact, type Level, type Line } from "./facts.js";
export { type Action, judge, Reader, type Verdict } from "./feed.js";
export { Refused } from "./http.js";
export type { InboxEvents, InboxView } from "./inbox.js";
export type { LinkState } from "./link.js";
export {
  describeAge,
  describeAway,
  describeNew,
  describeNotice,
  describeSum,
  type Notice,
  noticesOf,
} from "./notices.js";
export { sharedClient } from "./shared.js";
export type { ListEvents, TaskFilter, TaskListView, TaskPage } from "./tasklist.js";
export { DEFAULT_TIMING, type Timing } from "./timing.js";
export type { TokenSource } from "./tokens.js";
export type { Receipt, TaskView, ViewEvents } from "./view.js";
export { type Bar, describe, describeArtifact, describeLink, describeReceipt, type Moment, type Words } from "./words.js";

/** Petiole in the browser. `defineElements()` makes the elements known; everything else works without a page. */

export { Announcer } from "./words/announcer.js";
export { type ClientEvents, type ClientOptions, TaskClient, type WatchOptions } from "./client/client.js";
export { defineElements } from "./elements/define.js";
export { PetioleInbox } from "./elements/inbox/inbox.js";
export { PetioleTask } from "./elements/task/task.js";
export { PetioleTasks } from "./elements/tasks/tasks.js";
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
} from "./protocol/events.js";
export { describeFact, type Level, type Line } from "./words/facts.js";
export { type Action, judge, Reader, type Verdict } from "./protocol/reader.js";
export { Refused } from "./link/http.js";
export type { InboxEvents, InboxView } from "./inbox/inbox.js";
export type { LinkState } from "./link/link.js";
export {
  describeAge,
  describeAway,
  describeNew,
  describeNotice,
  describeSum,
  type Notice,
  noticesOf,
} from "./inbox/notices.js";
export { sharedClient } from "./client/shared.js";
export type { ListEvents, TaskFilter, TaskListView, TaskPage } from "./tasks/list.js";
export { DEFAULT_TIMING, type Timing } from "./link/timing.js";
export type { TokenSource } from "./link/tokens.js";
export type { Receipt, TaskView, ViewEvents } from "./tasks/view.js";
export { type Bar, describe, describeArtifact, describeLink, describeReceipt, type Moment, type Words } from "./words/task.js";

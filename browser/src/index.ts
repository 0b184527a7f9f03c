/** Petiole in the browser without its elements: `TaskClient`, and the words for what it shows. */

export { type ClientEvents, type ClientOptions, TaskClient, type WatchOptions } from "./client/client.js";
export { sharedClient } from "./client/shared.js";
export type { InboxEvents, InboxView } from "./inbox/inbox.js";
export { type Notice, noticesOf } from "./inbox/notices.js";
export type { Moment } from "./link/clock.js";
export type { LinkState } from "./link/link.js";
export { DEFAULT_TIMING, type Timing } from "./link/timing.js";
export type { TokenSource } from "./link/tokens.js";
export { advance, type Cursor, formatCursor, parseCursor } from "./protocol/cursor.js";
export type { Child, ChildCounts, ChildError, ChildFilter, ChildPage, ChildState } from "./protocol/children.js";
export type { JSONValue } from "./protocol/encoding.js";
export type { Artifact, Document, Event, Progress, WrittenText } from "./protocol/events.js";
export { type Problem, Refused } from "./protocol/problem.js";
export { type Action, judge, Reader, type Receipt, type TextReceipt, type Verdict } from "./protocol/reader.js";
export type { Links, Reading, Snapshot } from "./protocol/reading.js";
export type { TaskFilter, TaskPage } from "./protocol/requests.js";
export { isTerminal, type TaskState } from "./protocol/states.js";
export type { Chunk, Texts } from "./protocol/texts.js";
export type { ListEvents, TaskListView } from "./tasks/list.js";
export type { TaskView, ViewEvents } from "./tasks/view.js";
export { Announcer } from "./words/announcer.js";
export { describeArtifact } from "./words/artifact.js";
export { describeFact, type Level, type Line } from "./words/facts.js";
export { describeLink } from "./words/link.js";
export { describeAge, describeAway, describeNew, describeNotice, describeSum } from "./words/notices.js";
export { describeReceipt } from "./words/receipt.js";
export { type Bar, describe, type Words } from "./words/task.js";

"use client";

/** Petiole for React: hooks over the client, and `<Task>` over `<petiole-task>`. Frameworks with server components: for the client. */

export { PetioleProvider, type PetioleProviderProps } from "./react/client.js";
export type { ElementTags } from "./react/jsx.js";
export { Task, type TaskEnd, type TaskProps, type TaskRetry } from "./react/task.js";
export type { TaskValue } from "./react/task-store.js";
export { useInbox, type Inbox, type InboxOptions } from "./react/use-inbox.js";
export { type StartOptions, type StartTask, useStartTask } from "./react/use-start-task.js";
export { type TaskOptions, useTask, type WatchedTask } from "./react/use-task.js";
export { type TaskText, type TextOptions, useText } from "./react/use-text.js";

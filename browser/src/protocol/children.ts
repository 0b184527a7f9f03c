/** The children of a group: the tasks that it is made of, as the server lists them. */

import { isObject } from "./encoding.js";

/** `skipped`: it can't run any more, because one that it follows has ended without success. */
export type ChildState = "queued" | "running" | "retrying" | "succeeded" | "failed" | "cancelled" | "lost" | "skipped";

/** How many children of a group are in each state. */
export type ChildCounts = Readonly<Record<ChildState, number>>;

/** Why a child, or a group's first ones, failed. */
export interface ChildError {
  readonly message?: string;
  readonly reference?: string;
  readonly type?: string;
  /** The child's Celery id; of the errors in a group's document. */
  readonly id?: string;
}

/** One child. Only a child with a feed of its own has links. */
export interface Child {
  /** Its place in the group, from 0. */
  readonly number: number;
  /** Its Celery id. */
  readonly id: string;
  readonly state: ChildState;
  /** How often Celery has retried it. */
  readonly attempt: number;
  /** How much of it is done, 0 to 1; null unless it runs. */
  readonly fraction: number | null;
  /** When it began, in milliseconds since 1970; null before. */
  readonly since: number | null;
  readonly error: ChildError | null;
  readonly links?: Readonly<Record<string, string>>;
}

export interface ChildFilter {
  /** Children in this state, or in one of these; without: all. */
  readonly state?: ChildState | readonly ChildState[];
  /** Children on one page, 1 to 500. Default: the server's. */
  readonly limit?: number;
}

/** Children by number, and the cursor of the next page, null on the last one. With a state a page may be short, or empty. */
export interface ChildPage {
  readonly children: readonly Child[];
  readonly next: string | null;
}

/** Return the page, or null if the object isn't one. */
export function parseChildPage(wire: unknown): ChildPage | null {
  if (!isObject(wire)) return null;
  const { children, next } = wire;
  const valid = Array.isArray(children) && children.every(isObject) && (next === null || typeof next === "string");
  return valid ? (wire as unknown as ChildPage) : null;
}

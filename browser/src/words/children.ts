/** What a person reads about the children of a group. Pure; every clock is a parameter. */

import type { Child, ChildCounts, ChildError } from "../protocol/children.js";
import type { Document } from "../protocol/events.js";
import { formatDuration, formatNumber, formatPercent } from "./format.js";

/** Which children a list shows. */
export type Shown = "running" | "failed" | "all";

export interface ChildWords {
  readonly name: string;
  /** How it is doing: "Running for 40 s · 45 %". */
  readonly sentence: string;
  /** Why it failed, with what its type is called. */
  readonly error: string | null;
  readonly reference: string | null;
}

/** Return what to say of a child. People count from 1. */
export function describeChild(child: Child, now: number, locale = "en"): ChildWords {
  const { number, state, attempt, fraction, since, error } = child;
  const running = since === null ? "Running" : `Running for ${formatDuration((now - since) / 1000, locale)}`;
  const sentences: Readonly<Record<Child["state"], string>> = {
    queued: "Waiting for a worker",
    running: fraction ? `${running} · ${formatPercent(fraction, locale)}` : running,
    retrying: "To be run again",
    succeeded: "Finished",
    failed: "Failed",
    cancelled: "Cancelled",
    lost: "The worker disappeared",
    skipped: "Skipped: a task before it has not succeeded",
  };
  const run = attempt > 0 && (state === "running" || state === "failed") ? `Run ${formatNumber(attempt + 1, locale)} · ` : "";
  const sentence = sentences[state] ?? state;
  const reason = error && describeError(error);
  return {
    name: `Task ${formatNumber(number + 1, locale)}`,
    sentence: run + sentence,
    error: reason?.startsWith(sentence) ? null : reason,
    reference: error?.reference ?? null,
  };
}

/** Return an error as a person reads it: its message, or else its type. */
export function describeError({ message, type }: ChildError): string {
  return message || type || "The task failed.";
}

export interface FirstError {
  readonly text: string;
  readonly references: string | null;
}

/** Return a group's first errors, each sentence once. */
export function describeErrors(document: Document): FirstError[] {
  const { error1, error2, error3, error4, error5 } = document;
  const references = new Map<string, string[]>();
  for (const error of [error1, error2, error3, error4, error5]) {
    if (!error) continue;
    const text = describeError(error);
    references.set(text, [...(references.get(text) ?? []), ...(error.reference ? [error.reference] : [])]);
  }
  return Array.from(references, ([text, all]) => ({
    text,
    references: all.length > 0 ? `${all.length > 1 ? "References" : "Reference"} ${all.join(", ")}` : null,
  }));
}

/** Return how many children each list shows. */
export function countShown(counts: ChildCounts, total: number): Readonly<Record<Shown, number>> {
  return { running: counts.running + counts.retrying, failed: counts.failed + counts.lost, all: total };
}

export interface Step {
  readonly text: string;
  readonly is: "done" | "current" | "ahead" | "failed";
}

/** The most steps that are named. */
const NAMED = 6;

/** Return the steps of a group that has any, in order: those far from the current one are counted instead of named. */
export function describeSteps({ steps = [], state, progress }: Document, locale = "en"): Step[] {
  const current = state === "succeeded" ? steps.length : (progress?.step ?? 1) - 1;
  const begun = state !== undefined && state !== "queued";
  const broken = state === "failed" || state === "lost" || state === "cancelled";
  const all = steps.map((text, index): Step => {
    const here = broken ? "failed" : begun ? "current" : "ahead";
    return { text, is: index < current ? "done" : index > current ? "ahead" : here };
  });
  if (all.length <= NAMED) return all;
  const first = Math.min(Math.max(current - 2, 0), all.length - NAMED + 1);
  const end = Math.min(first + NAMED - 1, all.length);
  const counted = (number: number, word: string, is: Step["is"]): Step[] =>
    number > 0 ? [{ text: `${formatNumber(number, locale)} ${word}`, is }] : [];
  return [
    ...counted(first, "done", "done"),
    ...all.slice(first, end),
    ...counted(all.length - end, "more", "ahead"),
  ];
}

/** What a person reads about a task: a document and an instant in, words out. Pure; every clock is a parameter. */

import type { Moment } from "../link/clock.js";
import type { Document } from "../protocol/events.js";
import type { TaskState } from "../protocol/states.js";
import { describeArtifact, isExpired } from "./artifact.js";
import { formatDuration, formatNumber, formatPercent } from "./format.js";
import { ProgressWords } from "./progress.js";
import { describeResult } from "./result.js";

/** Every state in a word, to choose one from. */
export const STATES: Readonly<Record<TaskState, string>> = {
  queued: "Waiting",
  running: "Running",
  retrying: "To be run again",
  stalled: "Without news",
  cancelling: "Stopping",
  succeeded: "Finished",
  failed: "Failed",
  cancelled: "Cancelled",
  lost: "Lost",
};

/** How the bar looks. `waiting` and `unknown` have no value; `over` is full though the task isn't done; `none`: no bar. */
export type Bar = "waiting" | "unknown" | "filling" | "over" | "frozen" | "stalled" | "retrying" | "broken" | "full" | "none";

export interface Words {
  /** The task's state; null before anything is known of it. */
  readonly state: TaskState | null;
  readonly title: string;
  /** How the task is doing, in one sentence. */
  readonly sentence: string;
  /** "about 45 s left", or null if it would be a guess. */
  readonly left: string | null;
  /** Smaller print: the stage and the rate, or a reason. */
  readonly detail: string | null;
  /** "Run 2, started again: database unavailable": how the detail of a later run begins; null in the first run. */
  readonly again: string | null;
  /** Whether a forced stop may be requested now. */
  readonly forcible: boolean;
  /** "45 %"; null while unknown. Only a task that has succeeded has "100 %". */
  readonly percent: string | null;
  /** How much of the bar is filled, 0 to 1; null while unknown. */
  readonly fraction: number | null;
  readonly bar: Bar;
  /** The label for starting it again, after it came to nothing or its file expired; else null. */
  readonly offer: string | null;
  /** Whether its file has been removed. */
  readonly expired: boolean;
  /** What a person can quote to support after a failure. */
  readonly reference: string | null;
}

/** What is said when the worker is silent, or gone. The server's reason often begins with the same words. */
export const SILENT = "No news from the worker";
export const GONE = "The worker disappeared";

/** Return what to say of this document at this moment. */
export function describe(document: Document, moment: Moment, locale = "en"): Words {
  const task = new TaskWords(document, moment, locale);
  return {
    state: document.state ?? null,
    title: document.title ?? document.task ?? "Task",
    sentence: task.sentence(),
    left: task.left(),
    detail: task.detail(),
    again: task.again(),
    forcible: task.forcible(),
    percent: task.percent(),
    fraction: task.fraction(),
    bar: task.bar(),
    offer: task.offer(),
    expired: task.expired(),
    reference: document.state === "failed" ? (document.error?.reference ?? null) : null,
  };
}

class TaskWords {
  readonly #document: Document;
  readonly #progress: ProgressWords;
  readonly #moment: Moment;
  readonly #locale: string;

  constructor(document: Document, moment: Moment, locale: string) {
    this.#document = document;
    this.#progress = new ProgressWords(document.progress ?? {}, locale);
    this.#moment = moment;
    this.#locale = locale;
  }

  sentence(): string {
    const document = this.#document;
    switch (document.state) {
      case undefined:
        return "Looking for the task…";
      case "queued":
        return "Waiting for a worker";
      case "running":
        return (this.#run() > 1 && !document.reason ? `Run ${this.#number(this.#run())} · ` : "") + this.#progress.work();
      case "stalled":
        return `${SILENT}${this.#silence()}`;
      case "retrying":
        return `Run ${this.#number(this.#run() + 1)} ${this.#countdown()}${colon(document.reason)}`;
      case "cancelling":
        return document.forced ? "Stopping by force…" : "Stopping…";
      case "cancelled":
        return `Cancelled${this.#place()}`;
      case "failed":
        return document.error?.message ?? this.#reason() ?? "The task failed.";
      case "lost":
        return `${GONE}${this.#place()}`;
      case "succeeded":
        return this.#outcome();
      default:
        return document.state;
    }
  }

  detail(): string | null {
    const { state, reason, unheard, error, artifacts } = this.#document;
    switch (state) {
      case "running":
        // A group in which nothing happens says so.
        return unheard ?? ([this.again(), this.#progress.stage(), this.#progress.rate()].filter(Boolean).join(" · ") || null);
      case "queued":
      case "retrying":
        return unheard ?? null;
      case "cancelling":
        return this.forcible() ? "It has not stopped by itself yet." : null;
      case "stalled":
        return beyond(SILENT, reason, "It is ");
      case "lost":
        return beyond(GONE, reason);
      case "failed":
        return error?.message === undefined || error.message === reason ? null : (reason ?? null);
      case "succeeded":
        return artifacts?.length || this.#isGroup() ? this.#took() : describeResult(this.#document.result);
      default:
        return null;
    }
  }

  again(): string | null {
    const { state, reason } = this.#document;
    if (state !== "running" || !reason || this.#run() < 2) return null;
    return `Run ${this.#number(this.#run())}, started again: ${reason.replace(/\.$/, "")}`;
  }

  forcible(): boolean {
    const { state, forcible, forced, force_after: after } = this.#document;
    const due = typeof after === "number" && after <= this.#moment.now;
    return state === "cancelling" && forcible === true && forced !== true && due;
  }

  left(): string | null {
    return this.#document.state === "running" ? this.#progress.left(this.#moment) : null;
  }

  fraction(): number | null {
    const { state, progress } = this.#document;
    if (state === "succeeded") return 1;
    const { children, total } = progress ?? {};
    // A group's fraction is of what has ended. What was cancelled or has failed isn't done.
    return children && state !== "running" ? this.#progress.share(children.succeeded, total) : this.#progress.fraction();
  }

  percent(): string | null {
    const fraction = this.fraction();
    return fraction === null || (fraction === 1 && this.#document.state !== "succeeded")
      ? null
      : formatPercent(fraction, this.#locale);
  }

  bar(): Bar {
    switch (this.#document.state) {
      case "running":
        return this.#progress.exceeded() ? "over" : this.fraction() === null ? "unknown" : "filling";
      case "stalled":
        return "stalled";
      case "retrying":
        return "retrying";
      case "cancelling":
      case "cancelled":
        return "frozen";
      case "failed":
      case "lost":
        return "broken";
      case "succeeded":
        return this.expired() ? "none" : "full";
      default:
        return "waiting";
    }
  }

  offer(): string | null {
    const failed = this.#progress.failed();
    const again = failed > 0 ? `Start the ${failed > 1 ? this.#number(failed) : "one"} that failed again` : null;
    switch (this.#document.state) {
      case "failed":
      case "lost":
        return again ?? "Retry";
      case "cancelled":
        return again ?? "Start again";
      case "succeeded":
        return this.expired() ? "Export again" : null;
      default:
        return null;
    }
  }

  expired(): boolean {
    const [artifact] = this.#document.artifacts ?? [];
    return this.#document.state === "succeeded" && artifact !== undefined && isExpired(artifact, this.#moment.now);
  }

  #run(): number {
    // A group counts its runs from 0.
    return this.#isGroup() ? (this.#document.run ?? 0) + 1 : (this.#document.run ?? 1);
  }

  /** A group's reason counts its tasks. */
  #reason(): string | undefined {
    const { reason } = this.#document;
    return this.#isGroup() ? reason?.replace(/\d{4,}/g, (number) => this.#number(Number(number))) : reason;
  }

  #isGroup(): boolean {
    return this.#document.progress?.children !== undefined;
  }

  #outcome(): string {
    const [artifact] = this.#document.artifacts ?? [];
    const file = artifact ? describeArtifact(artifact, this.#moment.now, this.#locale) : "";
    if (file && artifact && (artifact.rows !== undefined || isExpired(artifact, this.#moment.now))) return file;
    return [this.#progress.done(), file].filter(Boolean).join(" · ") || this.#took() || "Finished";
  }

  #took(): string | null {
    const { started_at: started, finished_at: finished } = this.#document;
    if (started === undefined || finished === undefined) return null;
    const seconds = (finished - started) / 1000;
    return seconds < 1 ? "Finished in less than a second" : `Finished in ${formatDuration(seconds, this.#locale)}`;
  }

  #silence(): string {
    const { now, heardAt } = this.#moment;
    if (typeof heardAt !== "number") return "";
    return ` for ${formatDuration((now - heardAt) / 1000, this.#locale)}`;
  }

  #countdown(): string {
    const { retry_at: instant } = this.#document;
    const seconds = instant === undefined ? 0 : Math.ceil((instant - this.#moment.now) / 1000);
    return seconds > 0 ? `starts in ${formatDuration(seconds, this.#locale)}` : "is about to start";
  }

  /** " at 45 %", where that is known. */
  #place(): string {
    const percent = this.percent();
    return percent === null ? "" : ` at ${percent}`;
  }

  #number(value: number): string {
    return formatNumber(value, this.#locale);
  }
}

/** Return what a reason adds to the words shown already; null if nothing. `is` goes before a name. */
function beyond(said: string, reason: string | undefined, is = ""): string | null {
  if (!reason?.startsWith(said)) return reason ?? null;
  const [, joint = "", rest = ""] = /^([.,:;\s]*(?:and )?)(.*)$/s.exec(reason.slice(said.length)) ?? [];
  if (rest === "") return null;
  return joint === " " ? is + rest : rest.slice(0, 1).toUpperCase() + rest.slice(1);
}

function colon(reason: string | undefined): string {
  return reason ? `: ${reason}` : "";
}


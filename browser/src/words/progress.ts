/** What a person reads about a task's counters. Pure; every clock is a parameter. */

import type { Moment } from "../link/clock.js";
import type { Progress } from "../protocol/events.js";
import { formatNumber, formatRate, formatSize, formatTimeLeft } from "./format.js";

/** The most that a bar and a percentage say before the task has succeeded. */
const NEARLY = 0.99;
/** Seconds after which an overdue estimate is no longer said. */
const OVERDUE = 10;

export class ProgressWords {
  readonly #progress: Progress;
  readonly #locale: string;

  constructor(progress: Progress, locale: string) {
    this.#progress = progress;
    this.#locale = locale;
  }

  /** "451,200 of 1,000,000 rows", "9,812 of 10,000 tasks · 14 failed", "Counting rows…". */
  work(): string {
    const { completed, total, unit } = this.#progress;
    const things = unit && unit !== "bytes" ? ` ${unit}` : "";
    if (typeof total !== "number") {
      const count = completed ? ` ${this.#amount(completed)} so far` : "";
      if (unit) return `Counting ${unit}…${count}`;
      return count ? `Counting…${count}` : "Running…";
    }
    if (this.exceeded()) return `${this.#amount(completed ?? 0)}${things} (expected ${this.#amount(total)})`;
    const failed = this.failed();
    const failures = failed > 0 ? ` · ${this.#amount(failed)} failed` : "";
    return `${this.#amount(completed ?? 0)} of ${this.#amount(total)}${things}${failures}`;
  }

  /** How many of a group's children have failed. */
  failed(): number {
    const { failed = 0, lost = 0 } = this.#progress.children ?? {};
    return failed + lost;
  }

  /** "1,000,000 rows"; "" without a unit, because a lone number says nothing. */
  done(): string {
    const { completed, unit } = this.#progress;
    return completed && unit ? this.#amount(completed) + (unit === "bytes" ? "" : ` ${unit}`) : "";
  }

  /** Whether more is completed than was expected. */
  exceeded(): boolean {
    const { completed, total } = this.#progress;
    return typeof total === "number" && (completed ?? 0) > total;
  }

  /** How much is done, 0 to 1; null while unknown. */
  fraction(): number | null {
    if (this.exceeded()) return 1;
    const { fraction, completed, total } = this.#progress;
    // A worker says null where it can't know how many loops or stages follow. Where it says nothing, the counters decide.
    const counted = typeof total === "number" && total > 0 ? (completed ?? 0) / total : null;
    const known = fraction === undefined ? counted : fraction;
    return known === null ? null : Math.min(Math.max(known, 0), NEARLY);
  }

  /** What part of the total this is; null for none. */
  share(part: number, total: number | null | undefined): number | null {
    return part && total ? Math.min(part / total, NEARLY) : null;
  }

  /** "about 45 s left": counted down from the newest estimate; null where there is none, or it is long overdue. */
  left({ now, progressAt }: Moment): string | null {
    const { time_left: estimate } = this.#progress;
    if (typeof estimate !== "number" || this.exceeded()) return null;
    const left = estimate - Math.max(now - (progressAt ?? now), 0) / 1000;
    return left < -OVERDUE ? null : formatTimeLeft(left, this.#locale);
  }

  /** The stage; null if `work` begins with the same words. */
  stage(): string | null {
    const stage = this.#progress.description ?? this.#progress.stage ?? null;
    return stage !== null && this.work().startsWith(stage) ? null : stage;
  }

  /** "75,000 rows/s". */
  rate(): string | null {
    const { rate, unit } = this.#progress;
    return typeof rate === "number" && rate > 0 ? formatRate(rate, unit ?? null, this.#locale) : null;
  }

  #amount(value: number): string {
    const format = this.#progress.unit === "bytes" ? formatSize : formatNumber;
    return format(value, this.#locale);
  }
}

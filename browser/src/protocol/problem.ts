/** What the server refuses, and why: RFC 9457. */

import { isObject } from "./encoding.js";

/** What was refused, and why: an RFC 9457 object. */
export interface Problem {
  readonly type?: string;
  readonly title: string;
  readonly status: number;
  readonly detail?: string;
}

/** The server refused a request: `problem` says what and why. `again`: the seconds after which to ask again, if it named any. */
export class Refused extends Error {
  readonly problem: Problem;
  readonly again: number | null;

  constructor(problem: Problem, again: number | null = null) {
    super(reasonOf(problem));
    this.name = "Refused";
    this.problem = problem;
    this.again = again;
  }
}

/** Return the problem. Anything else becomes one without a reason, so that every refusal can be shown. */
export function parseProblem(wire: unknown, status = 500): Problem {
  if (isObject(wire) && typeof wire["title"] === "string") {
    return { ...wire, title: wire["title"], status: typeof wire["status"] === "number" ? wire["status"] : status };
  }
  return { title: "The server refused this without saying why.", status };
}

/** Return whether asking again is pointless: 408, 425, 429 and the server's own errors are temporary. */
export function isFinal(problem: Problem): boolean {
  return problem.status >= 400 && problem.status < 500 && ![408, 425, 429].includes(problem.status);
}

/** Return the problem as a person reads it; null without one. */
export function reasonOf(problem: Problem): string;
export function reasonOf(problem: Problem | null | undefined): string | null;
export function reasonOf(problem: Problem | null | undefined): string | null {
  return problem ? (problem.detail ?? problem.title) : null;
}

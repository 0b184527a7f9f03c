/** The segments of a group's bar, as wide as there are children: each kind with a colour and a pattern of its own. */

import type { ChildCounts, ChildState } from "../../protocol/children.js";
import { make } from "../nodes.js";

/** In the order in which they stand; what is left of the bar waits. */
const KINDS: Readonly<Record<string, readonly ChildState[]>> = {
  done: ["succeeded"],
  failed: ["failed", "lost"],
  stopped: ["cancelled", "skipped"],
  running: ["running"],
  waiting: ["queued", "retrying"],
};

export class Segments {
  readonly #root = make("div", "segments");
  readonly #kinds = Object.entries(KINDS).map(([kind, states]) => {
    const node = make("div", "segment", { "data-kind": kind });
    this.#root.append(node);
    return { node, states, width: -1 };
  });

  /** Put the segments into this bar. There are none before a child has begun. */
  show(bar: HTMLElement, counts: ChildCounts | undefined): void {
    if (this.#root.parentNode !== bar) bar.append(this.#root);
    this.#root.hidden = !counts || Object.entries(counts).every(([state, count]) => state === "queued" || count === 0);
    for (const kind of counts ? this.#kinds : []) {
      const width = kind.states.reduce((sum, state) => sum + (counts?.[state] ?? 0), 0);
      if (width === kind.width) continue;
      kind.width = width;
      kind.node.hidden = width === 0;
      kind.node.style.flexGrow = String(width);
    }
  }
}

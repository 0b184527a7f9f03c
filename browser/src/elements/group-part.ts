/** What a card and the part of it that only a group has know of each other: they are in different files when served. */

import type { TaskView } from "../tasks/view.js";

export const GROUP_ELEMENT = "petiole-group";

/** The element of that name; until its class is there, the card shows the group as it shows a task. */
export interface GroupPart extends HTMLElement {
  /** Show this view's group, with segments in this bar; null: it is none. */
  show?(view: TaskView | null, bar: HTMLElement, locale: string): void;
}

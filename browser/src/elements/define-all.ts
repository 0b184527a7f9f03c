/** Registers the elements, with what the served file loads on demand. */

import { defineElements as defineServed } from "./define.js";
import { defineGroup } from "./group/define.js";

/** Register `<petiole-task>`, `<petiole-tasks>`, `<petiole-text>` and `<petiole-inbox>` with the page. A second call does nothing. */
export function defineElements(): void {
  defineServed();
  defineGroup();
}

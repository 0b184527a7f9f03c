/** Registers what only the card of a group needs. */

import { GROUP_ELEMENT } from "../group-part.js";
import { PetioleGroup } from "./group.js";

/** Register `<petiole-group>` with the page. A second call does nothing. */
export function defineGroup(): void {
  if (!customElements.get(GROUP_ELEMENT)) customElements.define(GROUP_ELEMENT, PetioleGroup);
}

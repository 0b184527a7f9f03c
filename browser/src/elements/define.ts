/** Registers the elements. */

import { PetioleInbox } from "./inbox/inbox.js";
import { PetioleTask } from "./task/task.js";
import { PetioleTasks } from "./tasks/tasks.js";
import { PetioleText } from "./text/text.js";

/** Register `<petiole-task>`, `<petiole-tasks>`, `<petiole-text>` and `<petiole-inbox>` with the page. A second call does nothing, nor does a server's. */
export function defineElements(): void {
  if (!globalThis.customElements) return;
  if (!customElements.get("petiole-task")) customElements.define("petiole-task", PetioleTask);
  if (!customElements.get("petiole-tasks")) customElements.define("petiole-tasks", PetioleTasks);
  if (!customElements.get("petiole-text")) customElements.define("petiole-text", PetioleText);
  if (!customElements.get("petiole-inbox")) customElements.define("petiole-inbox", PetioleInbox);
}

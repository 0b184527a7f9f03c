/** Registers the elements. On a server, which has no page, nothing is registered. */

import { PetioleInbox } from "./inbox/inbox.js";
import { PetioleTask } from "./task/task.js";
import { PetioleTasks } from "./tasks/tasks.js";
import { PetioleText } from "./text/text.js";

/** Register `<petiole-task>`, `<petiole-tasks>`, `<petiole-text>` and `<petiole-inbox>` with the page. A second call does nothing. */
export function defineElements(): void {
  defineTask();
  define("petiole-tasks", PetioleTasks);
  define("petiole-text", PetioleText);
  define("petiole-inbox", PetioleInbox);
}

/** Register `<petiole-task>` alone. */
export function defineTask(): void {
  define("petiole-task", PetioleTask);
}

function define(name: string, kind: CustomElementConstructor): void {
  const registry = globalThis.customElements as CustomElementRegistry | undefined;
  if (registry && !registry.get(name)) registry.define(name, kind);
}

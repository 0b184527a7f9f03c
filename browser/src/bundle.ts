/**
 * The file that the wheel serves: everything, as the global `Petiole`, with the elements defined. What only groups need is in a
 * second file, which it loads with the first group.
 */

import { defineElements } from "./elements/define.js";

export * from "./index.js";
export { PetioleInbox } from "./elements/inbox/inbox.js";
export { PetioleTask } from "./elements/task/task.js";
export { PetioleTasks } from "./elements/tasks/tasks.js";
export { PetioleText } from "./elements/text/text.js";
export { defineElements };

defineElements();

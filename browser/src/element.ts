/** The elements, registered with the page by the import. On a server, which has no page, the import does nothing. */

import { defineElements } from "./elements/define.js";

export { PetioleInbox } from "./elements/inbox/inbox.js";
export { PetioleTask } from "./elements/task/task.js";
export { PetioleTasks } from "./elements/tasks/tasks.js";
export { PetioleText } from "./elements/text/text.js";

defineElements();

/** The one file that the wheel serves: everything, as the global `Petiole`, with the elements defined. */

import { defineElements } from "./elements/define.js";

export * from "./index.js";

defineElements();

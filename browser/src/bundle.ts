/**
 * The file that the wheel serves: everything, as the global `Petiole`, with the elements defined. What only groups need is in a
 * second file, which it loads with the first group.
 */

import { defineElements } from "./elements/define.js";

export * from "./api.js";
export { defineElements };

defineElements();

/** The package with the elements defined. */

import { defineElements } from "./elements/define-all.js";

export * from "./index.js";

defineElements();

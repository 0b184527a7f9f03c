/** The second file that the wheel serves: what only the card of a group needs. */

import { defineGroup } from "./elements/group/define.js";

defineGroup();

/** Petiole in the browser. `defineElements()` registers the elements; everything else works without a page. */

export * from "./api.js";
export { defineElements } from "./elements/define-all.js";

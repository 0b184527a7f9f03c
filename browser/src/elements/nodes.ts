/** The nodes that the elements are built of. Text goes in as text, never as markup. */

import type { TaskClient } from "../client/client.js";
import { sharedClient } from "../client/shared.js";

export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  part: string,
  attributes: Readonly<Record<string, string>> = {},
): HTMLElementTagNameMap[Tag] {
  const node = document.createElement(tag);
  node.className = part;
  node.setAttribute("part", part);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

/** Set the text and hide what is empty; nodes that are right already are left alone. */
export function fill(node: HTMLElement, text: string | null): void {
  if (node.textContent !== (text ?? "")) node.textContent = text ?? "";
  node.hidden = text === null;
}

/** Return the address if it is one of the web and not of a lesser scheme than the page's; never `javascript:`. */
export function safeUrl(text: unknown): string | null {
  if (typeof text !== "string") return null;
  try {
    const { href, protocol } = new URL(text, document.baseURI);
    const allowed = location.protocol === "https:" ? ["https:"] : ["http:", "https:"];
    return allowed.includes(protocol) ? href : null;
  } catch {
    return null;
  }
}

// So that a server that renders pages can import the elements: it has no HTMLElement.
export const Base: typeof HTMLElement = globalThis.HTMLElement ?? (class {} as typeof HTMLElement);

/** Take the properties that a script set before the element's class was defined. */
export function adopt(element: HTMLElement, names: readonly string[]): void {
  const properties = element as unknown as Record<string, unknown>;
  for (const name of names) {
    if (!Object.prototype.hasOwnProperty.call(element, name)) continue;
    const value = properties[name];
    delete properties[name];
    properties[name] = value;
  }
}

/** Return the client that an element's attributes name. */
export function clientOf(element: HTMLElement): TaskClient {
  const prefix = element.getAttribute("prefix");
  const path = element.getAttribute("path");
  return sharedClient({ ...(prefix !== null && { prefix }), ...(path !== null && { path }) });
}

/** Return the language that numbers and dates of this element are written in. */
export function localeOf(element: HTMLElement): string {
  return element.closest<HTMLElement>("[lang]")?.lang || "en";
}

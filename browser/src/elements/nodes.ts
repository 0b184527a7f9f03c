/** The nodes that the elements are built of. Text goes in as text, never as markup. */

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

/** Set the text, or hide the node if it is null. A node that has the text already is left alone. */
export function fill(node: HTMLElement, text: string | null): void {
  if (node.textContent !== (text ?? "")) node.textContent = text ?? "";
  node.hidden = text === null;
}

/** Disable a button without taking the focus away from it, as the attribute `disabled` would. */
export function disable(button: HTMLButtonElement, disabled: boolean): void {
  if (disabled) button.setAttribute("aria-disabled", "true");
  else button.removeAttribute("aria-disabled");
}

/** What is said if a request did not arrive. */
export const UNREACHED = "That did not reach the server. Try again.";

/** Return the URL if it is http or https, and https on an https page; null for others, such as `javascript:`. */
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

/**
 * A paragraph that screen readers announce when its text appears. Not all of them announce an alert that was hidden: it stays in
 * the tree, and `.none` takes away its height.
 */
export class Alert {
  readonly root: HTMLElement;
  readonly #text: HTMLElement = document.createElement("span");

  constructor(part: string) {
    this.root = make("p", part, { role: "alert" });
    this.#text.dir = "auto";
    this.root.append(this.#text);
  }

  show(text: string | null): void {
    fill(this.#text, text);
    this.root.classList.toggle("none", text === null);
  }
}

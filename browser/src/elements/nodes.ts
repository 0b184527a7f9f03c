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

/** Set the text and hide what is empty; nodes that are right already are left alone. */
export function fill(node: HTMLElement, text: string | null): void {
  if (node.textContent !== (text ?? "")) node.textContent = text ?? "";
  node.hidden = text === null;
}

/** Disable a button without taking the focus away from it, as `disabled` would. */
export function disable(button: HTMLButtonElement, disabled: boolean): void {
  if (disabled) button.setAttribute("aria-disabled", "true");
  else button.removeAttribute("aria-disabled");
}

/** What is said where a request did not arrive. */
export const UNREACHED = "That did not reach the server. Try again.";

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

/**
 * A paragraph that is said when its text appears. An alert that comes out of hiding is not said everywhere: it stays in the tree,
 * and `.none` takes its height away.
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

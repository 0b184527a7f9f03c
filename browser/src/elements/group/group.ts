/** `<petiole-group>`: inside a card, what only a group has. It has no shadow of its own: its parts are parts of the card. */

import type { TaskView } from "../../tasks/view.js";
import { describeErrors, describeSteps } from "../../words/children.js";
import type { GroupPart } from "../group-part.js";
import { fill, make } from "../nodes.js";
import { Drawer } from "./drawer.js";
import { Segments } from "./segments.js";
import { GROUP_STYLE } from "./style.js";

// A server that renders pages can import the elements, though it has no HTMLElement.
const Base: typeof HTMLElement = globalThis.HTMLElement ?? (class {} as typeof HTMLElement);

export class PetioleGroup extends Base implements GroupPart {
  static #sheet: CSSStyleSheet | null = null;
  readonly #segments = new Segments();
  readonly #steps = make("ol", "steps", { role: "list", "aria-label": "Steps" });
  readonly #errors = make("ul", "errors", { role: "list", "aria-label": "First errors" });
  readonly #drawer = new Drawer();
  #saidSteps = "";
  #saidErrors = "";

  connectedCallback(): void {
    const root = this.getRootNode() as ShadowRoot | Document;
    const sheet = (PetioleGroup.#sheet ??= new CSSStyleSheet());
    if (sheet.cssRules.length === 0) sheet.replaceSync(GROUP_STYLE);
    if (!root.adoptedStyleSheets.includes(sheet)) root.adoptedStyleSheets = [...root.adoptedStyleSheets, sheet];
    if (!this.firstChild) this.append(this.#steps, this.#errors, this.#drawer.root);
  }

  disconnectedCallback(): void {
    this.#drawer.close();
  }

  show(view: TaskView | null, bar: HTMLElement, locale: string): void {
    this.hidden = view === null;
    this.closest(".task")?.toggleAttribute("data-group", view !== null);
    this.#segments.show(bar, view?.document.progress?.children);
    if (!view) {
      this.#drawer.close();
      return;
    }
    const { document } = view;
    const steps = describeSteps(document, locale);
    const said = JSON.stringify(steps);
    if (said !== this.#saidSteps) {
      this.#saidSteps = said;
      this.#steps.hidden = steps.length === 0;
      this.#steps.replaceChildren(
        ...steps.map(({ text, is }) => {
          const item = make("li", "step", { "data-is": is, ...(is === "current" && { "aria-current": "step" }) });
          const name = make("span", "step-name");
          name.textContent = text;
          name.dir = "auto";
          item.append(name);
          return item;
        }),
      );
    }
    this.#showErrors(document);
    this.#drawer.show(view, locale);
  }

  #showErrors(document: TaskView["document"]): void {
    const errors = describeErrors(document);
    const said = JSON.stringify(errors);
    if (said === this.#saidErrors) return;
    this.#saidErrors = said;
    this.#errors.hidden = errors.length === 0;
    this.#errors.replaceChildren(
      ...errors.map(({ text, references }) => {
        const item = make("li", "error");
        const words = make("span", "error-text");
        const reference = make("span", "error-reference");
        words.textContent = text;
        words.dir = "auto";
        fill(reference, references);
        item.append(words, " ", reference);
        return item;
      }),
    );
  }
}

/** `<petiole-text>`: one text of a task, as it is written. */

import { reasonOf } from "../../protocol/problem.js";
import { isTerminal } from "../../protocol/states.js";
import type { TaskView } from "../../tasks/view.js";
import { describe } from "../../words/task.js";
import { Alert, fill, make } from "../nodes.js";
import { styleSheets } from "../style.js";
import { TASK_ATTRIBUTES, TaskElement } from "../task-element.js";
import { TextBoxes } from "./boxes.js";
import { ELEMENT_STYLE } from "./style.js";

interface TextNodes {
  readonly boxes: TextBoxes;
  readonly failure: Alert;
  readonly link: HTMLElement;
}

/**
 * Attributes: `task` (its id), `name` (the text's, default `output`), `label` (instead of the name), and as for `<petiole-task>`
 * `cursor`, `prefix`, `path`, `url`, `token` and `snapshot`. Or set the properties `view` (for example the one of a
 * `<petiole-task>`), `snapshot`, `client` or `token`.
 *
 * Event: `petiole-end` (detail: `{document, receipt}`). It bubbles.
 */
export class PetioleText extends TaskElement<TextNodes> {
  static readonly observedAttributes: readonly string[] = [...TASK_ATTRIBUTES, "name", "label"];

  protected override build(shadow: ShadowRoot): TextNodes {
    shadow.adoptedStyleSheets = styleSheets(ELEMENT_STYLE);
    const nodes = { boxes: new TextBoxes(), failure: new Alert("failure"), link: make("p", "link", { dir: "auto" }) };
    const frame = make("div", "frame");
    frame.append(nodes.boxes.root, nodes.failure.root, nodes.link);
    shadow.append(frame);
    return nodes;
  }

  protected override follow(view: TaskView): readonly (() => void)[] {
    return [
      view.on("change", this.renderSoon),
      view.on("text", this.textChanged),
      view.on("link", this.linkChanged),
      view.on("refused", this.renderSoon),
      view.on("end", (receipt) => {
        this.renderSoon();
        this.tell("petiole-end", { document: view.document, receipt });
      }),
    ];
  }

  protected override leave(): void {
    this.nodes?.boxes.follow(null);
    super.leave();
  }

  protected override draw({ boxes, failure, link }: TextNodes): void {
    const { shown: view, locale } = this;
    const { document = {}, moment = { now: Date.now() } } = view ?? {};
    const refusal = this.misuse ?? reasonOf(view?.problem);
    boxes.follow(refusal === null ? view : null, this.getAttribute("name") ?? "output");
    const empty = isTerminal(document) ? "The task has written nothing here." : describe(document, moment, locale).sentence;
    boxes.show(locale, this.getAttribute("label"), empty);
    failure.show(refusal);
    fill(link, view && !view.ended && !view.closed ? this.describeLink(view.link) : null);
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "petiole-text": PetioleText;
  }
}

/** The nodes of `<petiole-task>`: built once, then only filled. Text goes in as text, never as markup. */

import { formatInstant } from "../../words/format.js";
import type { Words } from "../../words/task.js";
import { icon, type IconName } from "../icons.js";
import { Alert, fill, make } from "../nodes.js";
import { styleSheets } from "../style.js";
import { TextBoxes } from "../text/boxes.js";
import { GroupSlot } from "./group.js";
import { Log } from "./log.js";
import { TASK_STYLE } from "./style.js";

export class Panel {
  readonly root: HTMLElement = make("div", "task", { role: "group", "aria-labelledby": "title" });
  readonly title: HTMLElement = make("span", "title", { id: "title" });
  readonly percent: HTMLElement = make("span", "percent", { "aria-hidden": "true" });
  readonly #bar = make("div", "bar", {
    role: "progressbar",
    "aria-labelledby": "title",
    "aria-valuemin": "0",
    "aria-valuemax": "100",
  });
  readonly #filled = make("div", "fill");
  readonly #download = make("a", "download");
  readonly #file = make("span", "file");
  readonly #line = make("p", "line");
  readonly #sentence = make("span", "sentence");
  readonly #left = make("span", "left");
  readonly #separator = make("span", "separator");
  readonly #failure = new Alert("failure");
  readonly #reference = make("span", "reference");
  readonly #detail = make("span", "detail");
  readonly #link = make("span", "link");
  readonly #linkText = document.createElement("span");
  readonly #receipt = make("span", "receipt");
  readonly #status = make("div", "status");
  /** Of a compact card: when it ended. */
  readonly #age = make("time", "age");
  /** Of a compact card: opens the log, and everything else that one line has no room for. */
  readonly more: HTMLButtonElement = make("button", "more", { type: "button", "aria-describedby": "title", "aria-controls": "foot" });
  /** Present and empty from the start: screen readers announce what is put into it later. */
  readonly said: HTMLElement = make("div", "said", { role: "status" });
  readonly log: Log = new Log();
  readonly texts: TextBoxes = new TextBoxes();
  readonly group: GroupSlot = new GroupSlot(this.#bar);
  readonly #icon = make("span", "icon");
  #shown: IconName | null = null;

  constructor(shadow: ShadowRoot, action: HTMLElement) {
    shadow.adoptedStyleSheets = styleSheets(TASK_STYLE);
    const head = make("div", "head");
    const heading = make("span", "heading");
    const stage = make("div", "stage");
    const foot = make("div", "foot", { id: "foot" });
    const base = make("div", "base");
    // Text brings its own direction: an English sentence on an Arabic page, or a file's name in Hebrew.
    for (const text of [
      this.title,
      this.percent,
      this.#file,
      this.#sentence,
      this.#left,
      this.#detail,
      this.#linkText,
      this.#receipt,
      this.#age,
    ]) {
      text.dir = "auto";
    }
    const actions = document.createElement("slot");
    actions.name = "actions";
    const words = make("span", "words");
    words.textContent = "Download";
    this.#download.append(icon("download"), words);
    this.more.append(icon("more"));
    this.more.setAttribute("aria-label", "Details");
    this.more.addEventListener("click", () => (this.log.root.open = !this.log.root.open));
    this.log.root.addEventListener("toggle", () => this.#showMore());
    this.#showMore();
    heading.append(this.title);
    head.append(this.#icon, heading, this.percent, action, actions);
    this.#bar.append(this.#filled);
    stage.append(this.#bar, this.#download, this.#file);
    this.#line.append(this.#sentence, this.#separator, this.#left);
    this.#failure.root.append(this.#reference);
    this.#link.append(icon("unplugged"), this.#linkText);
    this.#status.append(this.#link, this.#receipt);
    base.append(this.log.root, this.#status);
    foot.append(this.#detail, this.group.root, base);
    this.root.append(head, stage, this.#line, this.#failure.root, this.texts.root, this.#age, this.more, foot, this.said);
    shadow.append(this.root);
  }

  showIcon(name: IconName): void {
    if (name === this.#shown) return;
    this.#shown = name;
    this.#icon.replaceChildren(icon(name));
  }

  /** Fill the bar; without a fraction it moves and has no value. `known`: whether the value may be announced. */
  showBar(look: string, fraction: number | null, known: boolean, text: string): void {
    this.root.dataset["bar"] = look;
    this.#filled.style.setProperty("--_filled", `${((fraction ?? 0) * 100).toFixed(2)}%`);
    if (fraction !== null && known) this.#bar.setAttribute("aria-valuenow", String(Math.floor(fraction * 100)));
    else this.#bar.removeAttribute("aria-valuenow");
    this.#bar.setAttribute("aria-valuetext", text);
  }

  /** Say how the task is doing: in a sentence, or in an alert if it failed. */
  showOutcome({ sentence, left, reference }: Words, failure: string | null): void {
    fill(this.#sentence, sentence);
    fill(this.#separator, left && " · ");
    fill(this.#left, left);
    this.#line.hidden = failure !== null;
    this.#failure.show(failure);
    fill(this.#reference, failure !== null && reference !== null ? ` Reference ${reference}` : null);
  }

  /** Show the smaller print; a compact card shows it only if it is a problem with what the person wanted. */
  showDetail(text: string | null, isProblem: boolean): void {
    fill(this.#detail, text);
    this.root.toggleAttribute("data-problem", isProblem);
  }

  /** Say how the link to the server is; null if there is nothing to say. */
  showLink(text: string | null): void {
    this.#link.hidden = text === null;
    fill(this.#linkText, text);
    this.root.toggleAttribute("data-unlinked", text !== null);
  }

  /** Show the receipt: inside the log if it is complete, else on the card. */
  showReceipt(text: string | null, complete: boolean): void {
    const home = complete ? this.log.root : this.#status;
    if (this.#receipt.parentNode !== home) home.append(this.#receipt);
    fill(this.#receipt, text);
    this.root.toggleAttribute("data-incomplete", text !== null && !complete);
  }

  #showMore(): void {
    const { open } = this.log.root;
    this.root.toggleAttribute("data-open", open);
    this.more.setAttribute("aria-expanded", String(open));
  }

  /** Say in a compact card when the task ended; null while it goes on. */
  showAge(text: string | null, instant: number, locale: string): void {
    this.root.toggleAttribute("data-ended", text !== null);
    fill(this.#age, text);
    if (text === null) return;
    this.#age.dateTime = new Date(instant).toISOString();
    this.#age.title = formatInstant(instant, locale);
  }

  /** Show the link in place of the bar, at the same height. Without a URL show the bar, unless the file has expired. */
  showDownload(url: string | null, name: string | null, expired: boolean): void {
    this.#bar.hidden = url !== null || expired;
    this.#download.hidden = url === null;
    fill(this.#file, url === null && !expired ? null : name);
    if (url === null) {
      this.#download.removeAttribute("href");
    } else if (this.#download.getAttribute("href") !== url) {
      this.#download.href = url;
      this.#download.setAttribute("aria-label", name ? `Download ${name}` : "Download");
    }
  }
}

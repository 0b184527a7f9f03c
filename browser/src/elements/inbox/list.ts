/** The nodes of `<petiole-inbox>`: one row for each notice, kept as long as the notice is, so that focus stays where it is. */

import type { Notice } from "../../inbox/notices.js";
import { isExpired } from "../../words/artifact.js";
import { formatInstant } from "../../words/format.js";
import { describeAge, describeNotice } from "../../words/notices.js";
import { icon, STATE_ICONS } from "../icons.js";
import { fill, make, safeUrl } from "../nodes.js";

export interface Setting {
  /** Milliseconds since 1970, by the server's clock. */
  readonly now: number;
  readonly locale: string;
  /** The URL of a task's page, with `{id}` in it; null without one. */
  readonly template: string | null;
}

class Row {
  readonly item: HTMLLIElement = make("li", "notice");
  readonly dismiss: HTMLButtonElement = make("button", "dismiss", { type: "button" });
  readonly #ending = make("span", "ending");
  readonly #time = make("time", "time");
  readonly #reason = make("p", "reason");
  readonly #download = make("a", "download");
  #title: HTMLElement = make("span", "title");

  constructor(notice: Notice) {
    const text = make("div", "text");
    const sentence = make("p", "sentence");
    const actions = make("div", "actions");
    const image = make("span", "icon");
    const words = make("span", "words");
    this.item.dataset["state"] = notice.state;
    image.append(icon(STATE_ICONS[notice.state]));
    words.textContent = "Download";
    this.#download.append(icon("download"), words);
    this.dismiss.append(icon("dismiss"));
    this.dismiss.title = "Dismiss";
    this.dismiss.setAttribute("aria-label", `Dismiss ${notice.title}`);
    sentence.append(this.#ending, " · ", this.#time);
    this.#ending.textContent = describeNotice(notice);
    fill(this.#reason, notice.reason);
    this.#reason.dir = "auto";
    text.append(this.#title, sentence, this.#reason);
    actions.append(this.#download, this.dismiss);
    this.item.append(image, text, actions);
  }

  show(notice: Notice, { now, locale, template }: Setting): void {
    this.#showTitle(notice.title, safeUrl(template?.split("{id}").join(encodeURIComponent(notice.id))));
    fill(this.#time, describeAge(notice.at, now, locale));
    this.#title.dir = "auto";
    this.#time.dateTime = new Date(notice.at).toISOString();
    this.#time.title = formatInstant(notice.at, locale);
    const { artifact } = notice;
    const url = artifact && !isExpired(artifact, now) ? safeUrl(artifact.url) : null;
    this.#download.hidden = url === null;
    if (url === null) this.#download.removeAttribute("href");
    else if (this.#download.getAttribute("href") !== url) this.#download.href = url;
    this.#download.setAttribute("aria-label", `Download ${artifact?.name ?? notice.title}`);
  }

  #showTitle(text: string, url: string | null): void {
    const tag = url === null ? "span" : "a";
    if (this.#title.localName !== tag) {
      const title = make(tag, "title");
      this.#title.replaceWith(title);
      this.#title = title;
    }
    if (url !== null && this.#title.getAttribute("href") !== url) this.#title.setAttribute("href", url);
    fill(this.#title, text);
  }
}

export class List {
  readonly root: HTMLUListElement = make("ul", "list", { role: "list" });
  readonly #dismissed: (task: string) => void;
  #rows = new Map<string, Row>();

  constructor(dismissed: (task: string) => void) {
    this.#dismissed = dismissed;
  }

  /**
   * Show these notices. If the focus was in a row that is gone, it moves to the Dismiss of the next row, or of the last one.
   * Returns false if no row is left for it.
   */
  show(notices: readonly Notice[], setting: Setting, focused: Element | null): boolean {
    const before = [...this.#rows];
    const at = before.findIndex(([, row]) => focused !== null && row.item.contains(focused));
    const rows = new Map(notices.map((notice) => [notice.id, this.#rows.get(notice.id) ?? this.#row(notice)]));
    this.#rows = rows;
    for (const [task, row] of before) if (!rows.has(task)) row.item.remove();
    let next = this.root.firstElementChild;
    for (const notice of notices) {
      const row = rows.get(notice.id)!;
      row.show(notice, setting);
      // A row that is in its place stays there: moving a node would take the focus away from it.
      if (row.item === next) next = next.nextElementSibling;
      else this.root.insertBefore(row.item, next);
    }
    this.root.hidden = notices.length === 0;
    if (at < 0 || rows.has(before[at]![0])) return true;
    const following = before.slice(at).find(([task]) => rows.has(task))?.[1] ?? [...rows.values()].pop();
    following?.dismiss.focus();
    return following !== undefined;
  }

  #row(notice: Notice): Row {
    const row = new Row(notice);
    row.dismiss.addEventListener("click", () => this.#dismissed(notice.id));
    return row;
  }
}

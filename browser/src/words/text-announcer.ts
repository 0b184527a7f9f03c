/** What a screen reader is told of a text that grows: whole sentences and lines, now and then. Pure. */

/** The shortest time between two announcements, in milliseconds. */
const APART = 5000;
/** The most characters of one: a text may grow faster than anyone can listen. */
const MOST = 300;
/** Everything up to the end of a sentence or a line. */
const ENDED = /^.*(?:[.!?…]["')\]”’»]*\s|[。！？\n])/s;

export class TextAnnouncer {
  #waiting = "";
  #skipped = false;
  #at = Number.NEGATIVE_INFINITY;

  /** Take what was appended. */
  add(chunk: string): void {
    const waiting = this.#waiting + chunk;
    this.#skipped ||= waiting.length > 2 * MOST;
    this.#waiting = waiting.slice(-2 * MOST);
  }

  /** Forget what hasn't been said yet. */
  clear(): void {
    this.#waiting = "";
    this.#skipped = false;
  }

  /** Return what to say, or null. `now` is in milliseconds of any clock; `over`: the text grows no more. */
  take(now: number, over: boolean): string | null {
    if (now - this.#at < APART) return null;
    const whole = over ? this.#waiting : (ENDED.exec(this.#waiting)?.[0] ?? "");
    const ended = whole === "" && this.#waiting.length > MOST ? this.#waiting : whole;
    const said = ended.trim();
    this.#waiting = this.#waiting.slice(ended.length);
    if (said === "") return null;
    this.#at = now;
    const skipped = this.#skipped || said.length > MOST;
    this.#skipped = false;
    // The newest part, from the beginning of a word.
    return skipped ? `… ${said.slice(-MOST).replace(/^\S*\s+/, "")}` : said;
  }
}

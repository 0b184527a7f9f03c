/** Numbers, sizes, durations and dates as a person reads them. Pure. */

/** A space that keeps a number and its unit on one line. */
export const JOINED = "\u00a0";

const SIZES = ["bytes", "kB", "MB", "GB", "TB", "PB"] as const;
const DAY = 86_400;

/** At most this many characters; "…" marks a cut. */
export function cut(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most)}…` : text;
}

/** A count, whole, with the locale's separators: 451,200. */
export function formatNumber(value: number, locale: string): string {
  return new Intl.NumberFormat(locale, { maximumFractionDigits: 0 }).format(value);
}

/** Bytes in decimal units, three figures at most: 15.2 MB. */
export function formatSize(bytes: number, locale: string): string {
  let value = bytes;
  let unit = 0;
  while (Math.round(value * 10) / 10 >= 1000 && unit < SIZES.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return new Intl.NumberFormat(locale, { maximumFractionDigits: digits }).format(value) + JOINED + SIZES[unit];
}

/** Units per second; below 10 with one decimal, because "0 rows/s" would be false. */
export function formatRate(rate: number, unit: string | null, locale: string): string {
  if (unit === "bytes") return `${formatSize(rate, locale)}/s`;
  const figures = new Intl.NumberFormat(locale, { maximumFractionDigits: rate < 10 ? 1 : 0 }).format(rate);
  return unit ? `${figures}${JOINED}${unit}/s` : `${figures}${JOINED}per${JOINED}second`;
}

/** A fraction of 0 to 1, always rounded down: 99 % is not done. */
export function formatPercent(fraction: number, locale: string): string {
  return `${formatNumber(Math.floor(fraction * 100), locale)}${JOINED}%`;
}

/** Seconds that have passed or are awaited: 40 s, 3 min, 2 h 5 min, 3 days. */
export function formatDuration(seconds: number, locale: string): string {
  const whole = Math.max(Math.round(seconds), 0);
  if (whole <= 90) return `${formatNumber(whole, locale)}${JOINED}s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 60) return `${formatNumber(minutes, locale)}${JOINED}min`;
  if (whole >= 2 * DAY) return `${formatNumber(Math.round(whole / DAY), locale)}${JOINED}days`;
  const hours = `${formatNumber(Math.floor(minutes / 60), locale)}${JOINED}h`;
  return minutes % 60 === 0 ? hours : `${hours} ${formatNumber(minutes % 60, locale)}${JOINED}min`;
}

/** Seconds left, rounded so that it doesn't flicker: to 5 s under 90 s, to minutes under an hour, then to 5 minutes. */
export function formatTimeLeft(seconds: number, locale: string): string {
  if (seconds < 10) return "a few seconds left";
  const step = seconds < 90 ? 5 : seconds < 3600 ? 60 : 300;
  return `about ${formatDuration(Math.round(seconds / step) * step, locale)} left`;
}

/** A time of day, by the reader's own clock: 14:05:09. */
export function formatClock(instant: number, locale: string): string {
  return new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" }).format(instant);
}

/** A day and a time of day, by the reader's own calendar: 30 Nov 2026, 14:05. */
export function formatInstant(instant: number, locale: string): string {
  return new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" }).format(instant);
}

/** A day, by the reader's own calendar: 30 Nov. The instant is in milliseconds since 1970. */
export function formatDay(instant: number, locale: string): string {
  const tongue = locale === "en" ? "en-GB" : locale;
  return new Intl.DateTimeFormat(tongue, { day: "numeric", month: "short" }).format(instant);
}

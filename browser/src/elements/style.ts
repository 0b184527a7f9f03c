/**
 * The style that all elements share. Every colour and measure is a custom property that a page can set. Derived ones have names of
 * their own, with an underscore: a page's `--petiole-accent: var(--accent)` must not refer to itself.
 */

const BASE = `
:host {
  --_accent: var(--petiole-accent, #0a7557);
  --_on-accent: var(--petiole-on-accent, #ffffff);
  --_surface: var(--petiole-surface, #ffffff);
  --_text: var(--petiole-text, #1b1f24);
  --_muted: var(--petiole-muted, #5b6570);
  --_line: var(--petiole-line, #dfe3e8);
  --_track: var(--petiole-track, #e8ebef);
  --_warn: var(--petiole-warn, #a15c00);
  --_warn-fill: var(--petiole-warn, #bf7000);
  --_bad: var(--petiole-bad, #bd2a41);
  --_tone: var(--_muted);
  display: block;
  container-type: inline-size;
  color: var(--_text);
  font: 400 0.9375rem/1.4 var(--petiole-font, system-ui, sans-serif);
  font-variant-numeric: tabular-nums;
  text-align: start;
}
:host([hidden]) { display: none; }
@media (prefers-color-scheme: dark) {
  :host {
    --_accent: var(--petiole-accent, #4cc9a0);
    --_on-accent: var(--petiole-on-accent, #05261b);
    --_surface: var(--petiole-surface, #171a1e);
    --_text: var(--petiole-text, #e9ecef);
    --_muted: var(--petiole-muted, #9ba5b0);
    --_line: var(--petiole-line, #2b3037);
    --_track: var(--petiole-track, #2d333b);
    --_warn: var(--petiole-warn, #edb04a);
    --_warn-fill: var(--petiole-warn, #edb04a);
    --_bad: var(--petiole-bad, #ff8390);
  }
}
* { box-sizing: border-box; margin: 0; }
[hidden] { display: none !important; }
svg {
  inline-size: 1.25rem; block-size: 1.25rem;
  fill: none; stroke: currentColor; stroke-width: 1.6; stroke-linecap: round; stroke-linejoin: round;
}

button, .download {
  display: inline-flex; align-items: center; justify-content: center; gap: 0.5rem; flex: none;
  min-block-size: 2rem; padding: 0 0.75rem; font: inherit; font-weight: 500; cursor: pointer;
  color: var(--_text); background: transparent; border: 1px solid var(--_line); border-radius: 0.5rem;
  text-decoration: none; transition: background-color 0.15s, border-color 0.15s;
}
button:hover, .download:hover { border-color: var(--_muted); background: color-mix(in srgb, var(--_text) 5%, transparent); }
button[aria-disabled="true"] {
  color: color-mix(in srgb, var(--_muted) 60%, transparent); border-color: transparent; background: none; cursor: not-allowed;
}
:focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; }
.said {
  position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden;
  clip-path: inset(50%); white-space: nowrap;
}
@media (prefers-reduced-motion: reduce) {
  * { transition: none !important; animation: none !important; }
}
@media (forced-colors: active) {
  a { border-color: LinkText; }
  button[aria-disabled="true"] { color: GrayText; border-color: GrayText; }
}
`;

const sheets = new Map<string, CSSStyleSheet>();

/** Return the shared sheets of one kind of element: unlike a style tag, they need no exception in a strict policy. */
export function styleSheets(own: string): CSSStyleSheet[] {
  return [BASE, own].map((text) => {
    const sheet = sheets.get(text) ?? new CSSStyleSheet();
    if (!sheets.has(text)) sheet.replaceSync(text);
    sheets.set(text, sheet);
    return sheet;
  });
}

/**
 * The look of `<petiole-task>`. Every colour and measure is a custom property that a page can set. What is derived from them
 * has a name of its own, with an underscore: a page that sets `--petiole-accent: var(--accent)` must not meet itself.
 */

const TEXT = `
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

.task {
  padding: var(--petiole-padding, 1rem 1.25rem);
  background: var(--_surface);
  border: 1px solid var(--_line);
  border-radius: var(--petiole-radius, 0.75rem);
}
.task[data-bar="filling"], .task[data-bar="over"], .task[data-bar="unknown"], .task[data-bar="full"] { --_tone: var(--_accent); }
.task[data-bar="stalled"], .task[data-bar="retrying"] { --_tone: var(--_warn-fill); }
.task[data-bar="broken"] { --_tone: var(--_bad); }

.head { display: flex; align-items: center; gap: 0.625rem; min-block-size: 2rem; }
.icon { display: grid; flex: none; color: var(--_tone); }
svg {
  inline-size: 1.25rem; block-size: 1.25rem;
  fill: none; stroke: currentColor; stroke-width: 1.6; stroke-linecap: round; stroke-linejoin: round;
}
.heading { flex: 1; min-inline-size: 0; font-weight: 600; overflow-wrap: anywhere; }
.percent { flex: none; color: var(--_muted); }

.stage { display: flex; align-items: center; gap: 0.75rem; block-size: 3rem; }
.bar {
  position: relative; flex: 1; block-size: 0.5rem; overflow: hidden; contain: strict;
  background: var(--_track); border-radius: 1rem;
}
.fill {
  position: absolute; inset-block: 0; inset-inline-start: 0; inline-size: var(--_filled, 0%);
  background: var(--_tone); border-radius: inherit; transition: inline-size 0.3s ease-out;
}
[data-bar="frozen"] .fill, [data-bar="broken"] .fill, [data-bar="stalled"] .fill { transition: none; }
[data-bar="retrying"] .fill {
  background: repeating-linear-gradient(-45deg, var(--_tone) 0 0.375rem, var(--_track) 0.375rem 0.625rem);
}
[data-bar="unknown"] .fill, [data-bar="waiting"] .fill { inline-size: 30%; animation: pass 1.8s ease-in-out infinite; }
[data-bar="waiting"] .fill { opacity: 0.55; animation-duration: 3s; }
[data-bar="unknown"] .icon svg, [data-bar="filling"] .icon svg, [data-bar="over"] .icon svg { animation: turn 1.4s linear infinite; }
@keyframes pass { from { inset-inline-start: -30%; } to { inset-inline-start: 100%; } }
@keyframes turn { to { transform: rotate(1turn); } }

button, a {
  display: inline-flex; align-items: center; justify-content: center; gap: 0.5rem; flex: none;
  min-block-size: 2rem; padding: 0 0.75rem; font: inherit; font-weight: 500; cursor: pointer;
  color: var(--_text); background: transparent; border: 1px solid var(--_line); border-radius: 0.5rem;
  text-decoration: none; transition: background-color 0.15s, border-color 0.15s;
}
button:hover { border-color: var(--_muted); background: color-mix(in srgb, var(--_text) 5%, transparent); }
button[aria-disabled="true"] { color: var(--_muted); border-color: var(--_line); background: none; cursor: default; }
a { min-block-size: 2.25rem; padding: 0 1rem; color: var(--_on-accent); background: var(--_accent); border-color: transparent; }
a:hover { background: color-mix(in srgb, var(--_accent) 88%, var(--_text)); }
a svg { inline-size: 1.125rem; block-size: 1.125rem; stroke-width: 1.8; }
button:focus-visible, a:focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; }
.file { min-inline-size: 0; overflow: hidden; color: var(--_muted); text-overflow: ellipsis; white-space: nowrap; }

.sentence, .failure { min-block-size: 1.4em; overflow-wrap: anywhere; }
.failure { color: var(--_bad); }
.failure.none { min-block-size: 0; }
.separator, .left { color: var(--_muted); }
.left { display: inline-block; }
.foot {
  display: flex; flex-wrap: wrap; justify-content: space-between; column-gap: 1rem;
  min-block-size: 1.5em; margin-block-start: 0.125rem; color: var(--_muted); font-size: 0.8125rem; line-height: 1.5;
}
.link { color: var(--_warn); }
.said {
  position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden;
  clip-path: inset(50%); white-space: nowrap;
}

@container (max-width: 26rem) {
  .task { padding: var(--petiole-padding, 0.75rem 0.875rem); }
  .foot { flex-direction: column; }
}
@container (max-width: 22rem) {
  .percent { display: none; }
}
@media (prefers-reduced-motion: reduce) {
  .fill, svg, button, a { transition: none !important; animation: none !important; }
  [data-bar="unknown"] .fill, [data-bar="waiting"] .fill { inline-size: 100%; opacity: 0.3; }
}
@media (forced-colors: active) {
  .bar { border: 1px solid CanvasText; }
  .fill { background: Highlight; forced-color-adjust: none; }
  [data-bar="retrying"] .fill { background: repeating-linear-gradient(-45deg, Highlight 0 0.375rem, Canvas 0.375rem 0.625rem); }
  a { border-color: LinkText; }
}
`;

let sheet: CSSStyleSheet | null = null;

/** Return the one sheet that all elements adopt: unlike a style tag, it needs no exception in a strict policy. */
export function styleSheet(): CSSStyleSheet {
  if (!sheet) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(TEXT);
  }
  return sheet;
}

/** The look of `<petiole-task>`. Every colour and measure is a custom property that a page can set. */

const TEXT = `
:host {
  --accent: var(--petiole-accent, #0a7557);
  --on-accent: var(--petiole-on-accent, #ffffff);
  --surface: var(--petiole-surface, #ffffff);
  --text: var(--petiole-text, #1b1f24);
  --muted: var(--petiole-muted, #5b6570);
  --line: var(--petiole-line, #dfe3e8);
  --track: var(--petiole-track, #e8ebef);
  --warn: var(--petiole-warn, #a15c00);
  --warn-fill: var(--petiole-warn, #bf7000);
  --bad: var(--petiole-bad, #bd2a41);
  --tone: var(--muted);
  display: block;
  container-type: inline-size;
  color: var(--text);
  font: 400 0.9375rem/1.4 var(--petiole-font, system-ui, sans-serif);
  font-variant-numeric: tabular-nums;
  text-align: start;
}
:host([hidden]) { display: none; }
@media (prefers-color-scheme: dark) {
  :host {
    --accent: var(--petiole-accent, #4cc9a0);
    --on-accent: var(--petiole-on-accent, #05261b);
    --surface: var(--petiole-surface, #171a1e);
    --text: var(--petiole-text, #e9ecef);
    --muted: var(--petiole-muted, #9ba5b0);
    --line: var(--petiole-line, #2b3037);
    --track: var(--petiole-track, #2d333b);
    --warn: var(--petiole-warn, #edb04a);
    --warn-fill: var(--petiole-warn, #edb04a);
    --bad: var(--petiole-bad, #ff8390);
  }
}
* { box-sizing: border-box; margin: 0; }
[hidden] { display: none !important; }

.task {
  padding: var(--petiole-padding, 1rem 1.25rem);
  background: var(--surface);
  border: 1px solid var(--line);
  border-radius: var(--petiole-radius, 0.75rem);
}
.task[data-bar="filling"], .task[data-bar="over"], .task[data-bar="unknown"], .task[data-bar="full"] { --tone: var(--accent); }
.task[data-bar="stalled"], .task[data-bar="retrying"] { --tone: var(--warn-fill); }
.task[data-bar="broken"] { --tone: var(--bad); }

.head { display: flex; align-items: center; gap: 0.625rem; min-block-size: 2rem; }
.icon { display: grid; flex: none; color: var(--tone); }
svg {
  inline-size: 1.25rem; block-size: 1.25rem;
  fill: none; stroke: currentColor; stroke-width: 1.6; stroke-linecap: round; stroke-linejoin: round;
}
.heading { flex: 1; min-inline-size: 0; font-weight: 600; overflow-wrap: anywhere; }
.percent { flex: none; color: var(--muted); }

.stage { display: flex; align-items: center; gap: 0.75rem; block-size: 3rem; }
.bar {
  position: relative; flex: 1; block-size: 0.5rem; overflow: hidden; contain: strict;
  background: var(--track); border-radius: 1rem;
}
.fill {
  position: absolute; inset-block: 0; inset-inline-start: 0; inline-size: var(--filled, 0%);
  background: var(--tone); border-radius: inherit; transition: inline-size 0.3s ease-out;
}
[data-bar="frozen"] .fill, [data-bar="broken"] .fill, [data-bar="stalled"] .fill { transition: none; }
[data-bar="retrying"] .fill {
  background: repeating-linear-gradient(-45deg, var(--tone) 0 0.375rem, var(--track) 0.375rem 0.625rem);
}
[data-bar="unknown"] .fill, [data-bar="waiting"] .fill { inline-size: 30%; animation: pass 1.8s ease-in-out infinite; }
[data-bar="waiting"] .fill { opacity: 0.55; animation-duration: 3s; }
[data-bar="unknown"] .icon svg, [data-bar="filling"] .icon svg, [data-bar="over"] .icon svg { animation: turn 1.4s linear infinite; }
@keyframes pass { from { inset-inline-start: -30%; } to { inset-inline-start: 100%; } }
@keyframes turn { to { transform: rotate(1turn); } }

button, a {
  display: inline-flex; align-items: center; justify-content: center; gap: 0.5rem; flex: none;
  min-block-size: 2rem; padding: 0 0.75rem; font: inherit; font-weight: 500; cursor: pointer;
  color: var(--text); background: transparent; border: 1px solid var(--line); border-radius: 0.5rem;
  text-decoration: none; transition: background-color 0.15s, border-color 0.15s;
}
button:hover { border-color: var(--muted); background: color-mix(in srgb, var(--text) 5%, transparent); }
button[aria-disabled="true"] { color: var(--muted); border-color: var(--line); background: none; cursor: default; }
a { min-block-size: 2.25rem; padding: 0 1rem; color: var(--on-accent); background: var(--accent); border-color: transparent; }
a:hover { background: color-mix(in srgb, var(--accent) 88%, var(--text)); }
a svg { inline-size: 1.125rem; block-size: 1.125rem; stroke-width: 1.8; }
button:focus-visible, a:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.file { min-inline-size: 0; overflow: hidden; color: var(--muted); text-overflow: ellipsis; white-space: nowrap; }

.sentence, .failure { min-block-size: 1.4em; overflow-wrap: anywhere; }
.failure { color: var(--bad); }
.failure.none { min-block-size: 0; }
.separator, .left { color: var(--muted); }
.left { display: inline-block; }
.foot {
  display: flex; flex-wrap: wrap; justify-content: space-between; column-gap: 1rem;
  min-block-size: 1.5em; margin-block-start: 0.125rem; color: var(--muted); font-size: 0.8125rem; line-height: 1.5;
}
.link { color: var(--warn); }
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

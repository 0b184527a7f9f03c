/** The style of `<petiole-task>`. */

import { TEXT_STYLE } from "../text/style.js";
import { COMPACT_STYLE } from "./compact-style.js";

export const TASK_STYLE: string = `
:host { margin-block: 0.75rem; }
.task {
  padding: var(--petiole-padding, 1rem 1.25rem);
  background: var(--_surface);
  border: 1px solid var(--_line);
  border-radius: var(--petiole-radius, 0.75rem);
}
.task[data-bar="filling"], .task[data-bar="over"], .task[data-bar="unknown"], .task[data-bar="full"] { --_tone: var(--_accent); }
.task[data-bar="none"] .title, .task[data-bar="none"] .file { color: var(--_muted); }
.task[data-bar="none"] .file { text-decoration: line-through; }
.task[data-bar="stalled"], .task[data-bar="retrying"] { --_tone: var(--_warn-fill); }
.task[data-bar="broken"] { --_tone: var(--_bad); }

.head { display: flex; align-items: center; gap: 0.625rem; min-block-size: 2rem; }
.icon { display: grid; flex: none; color: var(--_tone); }
.heading { flex: 1; min-inline-size: 0; font-weight: 600; overflow-wrap: anywhere; }
.percent { flex: none; color: var(--_muted); }

.stage { display: flex; align-items: center; gap: 0.75rem; block-size: 3.25rem; }
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

.download { min-block-size: 2.25rem; padding: 0 1rem; color: var(--_on-accent); background: var(--_accent); border-color: transparent; }
.download:hover { background: color-mix(in srgb, var(--_accent) 88%, var(--_text)); border-color: transparent; }
.file { min-inline-size: 0; overflow: hidden; color: var(--_muted); text-overflow: ellipsis; white-space: nowrap; }

.sentence, .failure { min-block-size: 1.4em; overflow-wrap: anywhere; }
.failure { color: var(--_bad); }
.failure.none { min-block-size: 0; }
.failure > :first-child { margin-inline-end: 0.35em; }
.reference { display: inline-block; }
.separator, .left { color: var(--_muted); }
.left { display: inline-block; }
.foot { margin-block-start: 0.125rem; color: var(--_muted); font-size: 0.8125rem; line-height: 1.5; }
.detail { display: block; min-block-size: 1.5em; overflow-wrap: anywhere; }
.detail[hidden] { display: block !important; }
.base { position: relative; margin-block-start: 0.375rem; }
.status {
  position: absolute; inset-block-start: 0; inset-inline-end: 0; max-inline-size: calc(100% - 3.5rem);
  display: flex; block-size: 1.75rem; align-items: center; line-height: 1.25;
}
.link { display: flex; align-items: center; gap: 0.375rem; color: var(--_warn); }
.link svg { flex: none; inline-size: 1rem; block-size: 1rem; }

.log-summary {
  display: inline-flex; align-items: center; gap: 0.375rem; min-block-size: 1.75rem;
  color: var(--_muted); cursor: pointer; list-style: none; border-radius: 0.25rem;
}
.log-summary::-webkit-details-marker { display: none; }
.log-summary::before {
  content: ""; inline-size: 0.375rem; block-size: 0.375rem; margin-inline: 0.125rem;
  border: solid currentColor; border-width: 0 1.5px 1.5px 0; transform: rotate(-45deg); transition: transform 0.15s;
}
:dir(rtl) .log-summary::before { transform: rotate(135deg); }
.log[open] .log-summary::before { transform: rotate(45deg); }
.log-summary:hover { color: var(--_text); }
.log-lines {
  max-block-size: 12rem; margin-block-start: 0.25rem; padding: 0.5rem 0.75rem; overflow: auto; overscroll-behavior: contain;
  background: color-mix(in srgb, var(--_track) 40%, transparent); border-radius: 0.5rem; line-height: 1.6;
}
.receipt { display: block; }
.log .receipt { margin-block-start: 0.375rem; }
.log-note { color: var(--_muted); }
.log-list { padding: 0; list-style: none; }
.log-line { display: flex; gap: 0.75rem; }
.log-time { flex: none; color: var(--_muted); }
.log-text { min-inline-size: 0; overflow-wrap: anywhere; white-space: pre-wrap; }
.log-line[data-level="plain"] .log-text { color: var(--_muted); }
.log-line[data-level="warning"] .log-text { color: var(--_warn); }
.log-line[data-level="error"] .log-text { color: var(--_bad); }

@container (max-width: 26rem) {
  .task { padding: var(--petiole-padding, 0.75rem 0.875rem); }
}
@container (max-width: 30rem) {
  .task:not([data-bar="frozen"], [data-bar="broken"], [data-bar="none"]) .line { min-block-size: 2.8em; }
  .separator { display: none; }
  .left { display: block; }
}
@container (max-width: 22rem) {
  .percent { display: none; }
}
@media (prefers-reduced-motion: reduce) {
  [data-bar="unknown"] .fill, [data-bar="waiting"] .fill { inline-size: 100%; opacity: 0.3; }
}
@media (forced-colors: active) {
  .bar { border: 1px solid CanvasText; }
  .fill { background: Highlight; forced-color-adjust: none; }
  [data-bar="retrying"] .fill { background: repeating-linear-gradient(-45deg, Highlight 0 0.375rem, Canvas 0.375rem 0.625rem); }
}
${TEXT_STYLE}${COMPACT_STYLE}`;

/** The style of what only a group's card has. The card's own style has the colours. */

export const GROUP_STYLE = `
petiole-group { display: block; }
.bar:has(> .segments:not([hidden])) > .fill { display: none; }
.segments { position: absolute; inset: 0; display: flex; gap: 1px; }
.segment { flex: 0 1 0; min-inline-size: 3px; }
.segment[data-kind="waiting"] { min-inline-size: 0; }
[data-kind] { --_a: transparent; --_b: var(--_a); background: repeating-linear-gradient(-45deg, var(--_a) 0 0.1875rem, var(--_b) 0.1875rem 0.3125rem); }
[data-kind="done"] { --_a: var(--petiole-done, var(--_accent)); }
[data-kind="failed"] { --_a: var(--petiole-failed, var(--_bad)); --_b: color-mix(in srgb, var(--_a) 55%, var(--_surface)); }
[data-kind="stopped"] { --_a: var(--petiole-stopped, var(--_muted)); background: radial-gradient(circle, var(--_a) 0.0625rem, transparent 0.09375rem) 0 0 / 0.25rem 0.25rem; }
[data-kind="running"] { --_a: var(--petiole-running, color-mix(in srgb, var(--_accent) 60%, var(--_track))); --_b: color-mix(in srgb, var(--_a) 45%, var(--_track)); }
:host(:not([compact])) [data-group][data-bar="broken"] .action:not([aria-disabled="true"]) { color: var(--_on-accent); background: var(--_accent); border-color: transparent; }
[data-group] .head { flex-wrap: wrap; }
[data-group] .heading { flex-basis: 8rem; }

.steps { display: flex; flex-wrap: wrap; gap: 0.125rem 0.5rem; padding: 0; margin-block: 0.25rem 0.375rem; list-style: none; }
.step { display: inline-flex; align-items: center; gap: 0.375rem; max-inline-size: 100%; }
.step-name { min-inline-size: 0; overflow-wrap: anywhere; }
.step::before { content: ""; flex: none; inline-size: 0.625rem; block-size: 0.625rem; border: 1.5px solid currentColor; border-radius: 50%; }
.step[data-is="done"]::before { border: 0; border-radius: 0; inline-size: 0.375rem; block-size: 0.6875rem; margin-inline: 0.125rem; border: solid var(--_accent); border-width: 0 2px 2px 0; transform: translateY(-0.0625rem) rotate(45deg); }
.step[data-is="current"] { color: var(--_text); font-weight: 600; }
.step[data-is="current"]::before { inline-size: 0.4375rem; block-size: 0.4375rem; border: 0.1875rem solid var(--_accent); }
.step[data-is="failed"] { color: var(--_bad); }
.step[data-is="failed"]::before { content: "✕" / ""; border: 0; font-size: 0.875rem; line-height: 0.625rem; font-weight: 700; }
.step + .step { padding-inline-start: 1.25rem; position: relative; }
.step + .step::after { content: ""; position: absolute; inset-inline-start: 0; inset-block-start: 50%; inline-size: 0.75rem; border-block-start: 1px solid var(--_line); }

.errors { padding: 0; margin-block: 0.25rem 0.375rem; list-style: none; color: var(--_text); }
.error { display: -webkit-box; overflow: hidden; -webkit-box-orient: vertical; -webkit-line-clamp: 3; padding-inline-start: 0.625rem; border-inline-start: 2px solid var(--_bad); overflow-wrap: anywhere; }
.error + .error { margin-block-start: 0.25rem; }
.error-reference { color: var(--_muted); }

.children-summary { display: inline-flex; align-items: center; gap: 0.375rem; min-block-size: 1.75rem; color: var(--_muted); cursor: pointer; list-style: none; border-radius: 0.25rem; }
.children-summary::-webkit-details-marker { display: none; }
.children-summary::before { content: ""; inline-size: 0.375rem; block-size: 0.375rem; margin-inline: 0.125rem; border: solid currentColor; border-width: 0 1.5px 1.5px 0; transform: rotate(-45deg); transition: transform 0.15s; }
:dir(rtl) .children-summary::before { transform: rotate(135deg); }
.children[open] .children-summary::before { transform: rotate(45deg); }
.children-summary:hover { color: var(--_text); }
.children-filter { display: flex; flex-wrap: wrap; gap: 0.375rem; margin-block: 0.25rem 0.5rem; }
.children-show { min-block-size: 1.75rem; padding: 0 0.625rem; gap: 0.375rem; font-weight: 500; border-radius: 1rem; color: var(--_muted); }
.children-show[aria-pressed="true"] { color: var(--_text); border-color: var(--_text); }
.children-number { color: var(--_muted); font-weight: 400; }
.swatch { inline-size: 0.75rem; block-size: 0.75rem; border-radius: 0.1875rem; }
.children-note { color: var(--_muted); }
.children-rows { --_row: 3rem; max-block-size: var(--petiole-children-height, 18rem); overflow: auto; overscroll-behavior: contain; background: color-mix(in srgb, var(--_track) 40%, transparent); border-radius: 0.5rem; }
.children-list { position: relative; block-size: calc(var(--_row) * var(--_rows, 0)); padding: 0; list-style: none; contain: strict; }
.child { position: absolute; inset-inline: 0; inset-block-start: calc(var(--_row) * var(--_place)); display: flex; align-items: center; gap: 0.625rem; block-size: var(--_row); padding-inline: 0.75rem; }
.child + .child { border-block-start: 1px solid var(--_line); }
.child-icon { display: grid; flex: none; }
.child-icon svg { inline-size: 1rem; block-size: 1rem; }
.child[data-state="running"] .child-icon, .child[data-state="succeeded"] .child-icon { color: var(--_accent); }
.child[data-state="retrying"] .child-icon { color: var(--_warn); }
.child[data-state="failed"] .child-icon, .child[data-state="lost"] .child-icon { color: var(--_bad); }
.child-words { flex: 1; min-inline-size: 0; }
.child-line { display: flex; gap: 0.5rem; }
.child-name { flex: none; color: var(--_text); }
.child-sentence { flex: 1; min-inline-size: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.child-reference { flex: none; }
.child-error { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; color: var(--_text); text-align: -webkit-match-parent; text-align: match-parent; }

@container (max-width: 26rem) {
  .children-filter { gap: 0.25rem; }
  .children-show { padding: 0 0.5rem; gap: 0.25rem; }
  .child { padding-inline: 0.5rem; gap: 0.5rem; }
  .child-prefix { position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
}
:host([compact]) .task:not([data-open]) petiole-group { display: none; }
@media (forced-colors: active) {
  .segments, .swatch { forced-color-adjust: none; }
  [data-kind="done"] { --_a: Highlight; }
  [data-kind="failed"] { --_a: CanvasText; --_b: Canvas; }
  [data-kind="stopped"] { --_a: GrayText; }
  [data-kind="running"] { --_a: Highlight; --_b: Canvas; }
  .children-show[aria-pressed="true"] { border-color: Highlight; outline: 1px solid Highlight; }
}
`;

/** The style of a compact `<petiole-task>`: one line, or two where it is narrow; a button shows the rest. */

export const COMPACT_STYLE = `
.age, .more { display: none; }
:host([compact]) .task {
  position: relative; display: grid; align-items: center; gap: 0 0.5rem; min-block-size: 2.75rem; padding: var(--petiole-padding, 0.25rem 0.5rem 0.25rem 0.875rem);
  grid-template: "icon title acts own more" auto "icon line line pct pct" auto / 1.25rem minmax(0, 1fr) auto auto 2rem;
}
:host([compact]) :is(.head, .stage) { display: contents; }
:host([compact]) .icon { grid-area: icon; }
:host([compact]) .heading { grid-area: title; }
:host([compact]) :is(.line, .failure) { grid-area: line; min-block-size: 0; color: var(--_muted); font-size: 0.875rem; }
:host([compact]) .failure { color: var(--_bad); }
:host([compact]) .task:not([data-open]) :is(.heading, .line) { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
:host([compact]) .task:not([data-open]) .failure { display: -webkit-box; overflow: hidden; -webkit-box-orient: vertical; -webkit-line-clamp: 2; }
:host([compact]) .separator { display: inline; }
:host([compact]) .left { display: inline; }
:host([compact]) .bar { position: absolute; inset-inline: 0.875rem; inset-block-end: 0; block-size: 0.1875rem; }
:host([compact]) [data-ended] .bar { display: none; }
:host([compact]) :is(.percent, .age) { display: block; grid-area: pct; color: var(--_muted); font-size: 0.875rem; text-align: end; white-space: nowrap; }
:host([compact]) :is(.action, .download) { grid-area: acts; justify-self: end; padding: 0 0.5rem; gap: 0.375rem; font-size: 0.875rem; white-space: nowrap; border-color: transparent; }
:host([compact]) .download { min-block-size: 2rem; color: var(--_accent); background: none; }
:host([compact]) .task:not([data-idle]) .download { justify-self: start; }
:host([compact]) .task:not([data-idle]) .words, :host([compact]) .file { display: none; }
:host([compact]) slot { display: flex; grid-area: own; gap: 0.25rem; }
:host([compact]) .more { display: flex; grid-area: more; padding: 0; color: var(--_muted); border-color: transparent; }
:host([compact]) [data-open] .more svg { transform: rotate(0.5turn); }
:host([compact]) :is([data-ended] .percent, .task:not([data-ended]) .age) { display: none; }
:host([compact]) .foot { grid-column: 1 / -1; margin: 0; padding-inline: 1.75rem 0.375rem; }
:host([compact]) .detail { min-block-size: 0; }
:host([compact]) .detail[hidden], :host([compact]) .log-summary, :host([compact]) .task:not([data-open], [data-problem]) .detail { display: none !important; }
:host([compact]) .base { margin: 0; }
:host([compact]) .status { position: static; max-inline-size: none; block-size: auto; }
:host([compact]) [data-open] .foot { padding-block-end: 0.5rem; }
@container (max-width: 34rem) {
  :host([compact]) .words { display: none; }
}
@container (min-width: 34rem) {
  :host([compact]) .task { grid-template: "icon title line pct acts own more" auto / 1.25rem minmax(0, 4fr) minmax(0, 6fr) 4.875rem 6.75rem auto 2rem; }
}
@container (min-width: 46rem) {
  :host([compact]) .task { grid-template-columns: 1.25rem minmax(0, 4fr) minmax(0, 7fr) 7.25rem 6.75rem auto 2rem; }
  :host([compact]) .bar { position: relative; inset: auto; grid-area: pct; inline-size: 4.5rem; block-size: 0.375rem; }
}
`;

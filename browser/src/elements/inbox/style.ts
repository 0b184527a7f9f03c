/** The style of `<petiole-inbox>`. */

export const INBOX_STYLE = `
.inbox {
  overflow: clip;
  background: var(--_surface);
  border: 1px solid var(--_line);
  border-radius: var(--petiole-radius, 0.75rem);
}
.head, .summary, .empty, .earlier, .problem, .link, .notice { padding: var(--petiole-padding, 0.875rem 1.25rem); }
.head { display: flex; align-items: center; gap: 0.75rem; min-block-size: 3.5rem; padding-block: 0.625rem; }
.heading { flex: 1; min-inline-size: 0; font-size: 1rem; font-weight: 600; overflow-wrap: anywhere; border-radius: 0.25rem; }
.count { margin-inline-start: 0.5rem; color: var(--_muted); font-weight: 400; }
.all { min-block-size: 2rem; font-size: 0.875rem; }
.summary { padding-block: 0.625rem; border-block-start: 1px solid var(--_line); background: color-mix(in srgb, var(--_accent) 7%, transparent); }
.list { padding: 0; list-style: none; }
.notice {
  display: flex; align-items: flex-start; gap: 0.625rem;
  padding-block: 0.75rem; border-block-start: 1px solid var(--_line);
}
.icon { display: grid; flex: none; padding-block-start: 0.0625rem; color: var(--_muted); }
.notice[data-state="succeeded"] .icon { color: var(--_accent); }
.notice[data-state="failed"] .icon, .notice[data-state="lost"] .icon { color: var(--_bad); }
.text { flex: 1; min-inline-size: 0; }
.title { display: block; inline-size: fit-content; max-inline-size: 100%; font-weight: 600; color: inherit; overflow-wrap: anywhere; }
a.title { text-decoration: none; border-radius: 0.25rem; }
a.title:hover { text-decoration: underline; text-underline-offset: 0.2em; }
.sentence, .reason { color: var(--_muted); font-size: 0.875rem; overflow-wrap: anywhere; }
.notice[data-state="failed"] .ending, .notice[data-state="lost"] .ending { color: var(--_bad); }
.reason { margin-block-start: 0.125rem; color: var(--_text); }
.time { white-space: nowrap; }
.actions { display: flex; flex: none; align-items: center; gap: 0.25rem; margin-block-start: -0.25rem; margin-inline-end: -0.375rem; }
.download { font-size: 0.875rem; }
.download svg { inline-size: 1rem; block-size: 1rem; }
.dismiss { inline-size: 2rem; padding: 0; color: var(--_muted); border-color: transparent; }
.dismiss:focus-visible { outline-offset: -2px; }
.dismiss:hover { color: var(--_text); border-color: transparent; }
.dismiss svg { inline-size: 1.125rem; block-size: 1.125rem; }
.earlier, .empty, .link { border-block-start: 1px solid var(--_line); color: var(--_muted); font-size: 0.875rem; }
.earlier, .link { padding-block: 0.625rem; }
.empty { padding-block: 1.25rem; }
.link { color: var(--_warn); }
.problem { color: var(--_bad); font-size: 0.875rem; border-block-start: 1px solid var(--_line); }
.problem.none { padding: 0; border: 0; }

@container (max-width: 26rem) {
  .head, .summary, .empty, .earlier, .problem, .link, .notice { padding-inline: 0.875rem; }
  .problem.none { padding: 0; }
  .download { inline-size: 2rem; padding: 0; }
  .download .words { display: none; }
}
`;

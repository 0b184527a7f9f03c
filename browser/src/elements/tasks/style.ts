/** The style of `<petiole-tasks>`: one surface, a line for each task. */

export const TASKS_STYLE = `
:host { margin-block: 0.75rem; }
.tasks { overflow: clip; background: var(--_surface); border: 1px solid var(--_line); border-radius: var(--petiole-radius, 0.75rem); }
.head, .empty, .problem, .link, .foot { padding: var(--petiole-padding, 0.625rem 0.875rem); }
.head { display: flex; align-items: center; gap: 0.75rem; min-block-size: 3rem; padding-block: 0.375rem; }
.heading { flex: 1; min-inline-size: 0; font-size: 1rem; font-weight: 600; overflow-wrap: anywhere; border-radius: 0.25rem; }
.filter {
  min-block-size: 2rem; min-inline-size: 0; padding-inline: 0.375rem; font: inherit; font-size: 0.875rem; color: var(--_text);
  background: var(--_surface); border: 1px solid var(--_line); border-radius: 0.5rem;
}
.list { padding: 0; list-style: none; }
petiole-task { --petiole-radius: 0; margin: 0; }
petiole-task::part(task) { border: 0; border-block-start: 1px solid var(--_line); }
petiole-task::part(link) { display: none; }
.empty, .link, .foot { border-block-start: 1px solid var(--_line); color: var(--_muted); font-size: 0.875rem; }
.empty { padding-block: 1.25rem; }
.link { color: var(--_warn); }
.problem { color: var(--_bad); font-size: 0.875rem; border-block-start: 1px solid var(--_line); }
.problem.none { padding: 0; border: 0; }
.foot { padding-block: 0.375rem; text-align: center; }
.load { color: var(--_muted); border-color: transparent; }
`;

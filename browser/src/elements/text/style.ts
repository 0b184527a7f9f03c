/** The style of texts, in a card and in `<petiole-text>`. */

export const TEXT_STYLE: string = `
.text { position: relative; margin-block-start: 0.5rem; }
.text-head { display: flex; align-items: center; gap: 0.75rem; margin-block-end: 0.25rem; }
.text-label { flex: 1; min-inline-size: 0; color: var(--_muted); font-size: 0.8125rem; overflow-wrap: anywhere; }
.copy { min-block-size: 1.75rem; padding: 0 0.625rem; color: var(--_muted); font-size: 0.8125rem; }
.text-lines {
  min-block-size: 2.75rem; max-block-size: var(--petiole-text-height, 20rem); padding: 0.5rem 0.75rem; overflow: auto;
  overscroll-behavior: contain; background: color-mix(in srgb, var(--_track) 40%, transparent); border-radius: 0.5rem;
  font: inherit; line-height: 1.6; white-space: pre-wrap; overflow-wrap: anywhere; tab-size: 4;
}
.text-lines > div { unicode-bidi: plaintext; }
.text-note { margin-block: 0.25rem; color: var(--_muted); font-size: 0.8125rem; }
@media (forced-colors: active) {
  .text-lines { border: 1px solid CanvasText; }
}
`;

export const ELEMENT_STYLE: string = `${TEXT_STYLE}
:host { margin-block: 0.75rem; }
.frame {
  padding: var(--petiole-padding, 0.5rem 1.25rem); background: var(--_surface); border: 1px solid var(--_line);
  border-radius: var(--petiole-radius, 0.75rem);
}
.text { margin-block-start: 0; }
.text-lines { padding-inline: 0; background: none; }
.failure { color: var(--_bad); }
.failure.none { min-block-size: 0; }
.link { color: var(--_warn); font-size: 0.8125rem; }
`;

"""A followed task in a notebook: a bar that moves, in any front end of IPython and without widgets."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any, Final

from petiole.protocol.events import Document
from petiole.protocol.lines import printable, progress_of

# In seconds; the last is drawn always.
DRAWN_EVERY: Final = 0.2


def bundle_of(document: Document, *, refused: str | None = None) -> dict[str, str]:
    """Return a task as a notebook shows it, by media type."""
    title = printable(document.get("title") or "Task")
    parts = [refused or document.get("state") or "connecting", progress_of(document), document.get("reason")]
    said = printable(", ".join(str(part) for part in parts if part))
    progress = document.get("progress")
    fraction = progress.get("fraction") if isinstance(progress, dict) else None
    value = "" if fraction is None else f' value="{fraction}"'
    bar = f'<progress max="1"{value} aria-label="{html.escape(title)}"></progress>'
    if refused is not None:
        bar = ""
    return {
        "text/plain": f"{title}: {said}",
        "text/html": f"<div><b>{html.escape(title)}</b> {bar} <span>{html.escape(said)}</span></div>",
    }


class NotebookBar:
    """What a notebook shows of one task, drawn anew as it changes. `bundle` returns it; `later` has a call be made later."""

    def __init__(self, bundle: Callable[[], dict[str, str]], later: Callable[[float, Callable[[], None]], Any]) -> None:
        from IPython.display import display

        self._bundle = bundle
        self._later = later
        self._is_due = False
        self._drawn = bundle()
        self._handle: Any = display(self._drawn, raw=True, display_id=True)  # type: ignore[no-untyped-call]

    def change(self) -> None:
        """Take note of a change; several are drawn together."""
        if not self._is_due:
            self._is_due = True
            self._later(DRAWN_EVERY, self._draw)

    def _draw(self) -> None:
        self._is_due = False
        bundle = self._bundle()
        if bundle != self._drawn and self._handle is not None:
            self._drawn = bundle
            self._handle.update(bundle, raw=True)

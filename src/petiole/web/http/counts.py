"""How many tasks of a group are in which state, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from petiole.journal.groups import SKIPPED, UNSUCCESSFUL
from petiole.protocol import states
from petiole.protocol.events import Document

_WORDS: Final = (
    (UNSUCCESSFUL, "failed"),
    ((states.CANCELLED,), "cancelled"),
    ((SKIPPED,), "skipped"),
    ((states.RUNNING,), "running"),
    ((states.RETRYING,), "tried again"),
)


def counts_in_words(document: Document) -> str | None:
    """Return how far a group is, such as "9,812 of 10,000 · 14 failed"; `None` for a single task."""
    if _counts(document) is None:
        return None
    progress: Mapping[str, Any] = document["progress"]
    words = [f"{progress.get('completed') or 0:,} of {progress.get('total') or 0:,}"]
    for chosen, word in _WORDS:
        number = number_of(document, chosen)
        if number:
            words.append(f"{number:,} {word}")
    return " · ".join(words)


def number_of(document: Document, chosen: Sequence[str]) -> int:
    """Return how many tasks of a group are in one of these states; 0 for a single task."""
    counts = _counts(document) or {}
    return sum(int(counts.get(state) or 0) for state in chosen)


def _counts(document: Document) -> Mapping[str, Any] | None:
    progress = document.get("progress")
    counts = progress.get("children") if isinstance(progress, Mapping) else None
    return counts if isinstance(counts, Mapping) else None

"""What the end of a task is to the group that it is part of. Pure."""

from __future__ import annotations

from typing import Final

from petiole.dispatch.outcome import REFERENCE_DIGITS
from petiole.journal.groups import UNSUCCESSFUL, Contribution
from petiole.protocol.events import Document
from petiole.protocol.values import words

# A group's document has up to five of them, beside its title and its steps.
ERROR_CHARACTERS: Final = 300
ERROR_BYTES: Final = 600


def end_of(child: int, task_id: str, attempt: int, patch: Document, *, stops: bool = False) -> Contribution:
    """Return the end of a child, by the last patch of its own document; `stops`: Celery doesn't begin what follows it."""
    state = str(patch["state"])
    error: Document | None = None
    if state in UNSUCCESSFUL:
        given = patch.get("error") or {"type": state.capitalize()}
        message = words(
            given.get("message") or patch.get("reason") or "", characters=ERROR_CHARACTERS, size=ERROR_BYTES
        )
        error = {"message": message, "reference": task_id[:REFERENCE_DIGITS], "type": given["type"]}
    return Contribution(child, state, attempt, stops=stops, error=error)

"""A text of a followed task, piece by piece."""

from __future__ import annotations

from petiole.errors import PetioleError


class TextVoided(PetioleError):
    """What was given of a text is void: another run of the task writes it anew, or the journal has lost its end."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"What was given of the text {name!r} is void: a later run of the task writes it anew, or a part of it was lost. "
            "Discard it, and call chunks() again."
        )


class GivenText:
    """How much of a text was given to an iterator, and of which run."""

    def __init__(self, name: str) -> None:
        self.name = name
        # What follows what was given before; empty at the end.
        self.fresh = ""
        self._given = ""
        self._run = 0

    def look(self, text: str, *, run: int, ended: bool) -> bool:
        """Take what a reader has of the text; says whether something is `fresh`, or nothing will be.

        A reader whose text was cleared reads it again, from its start up to where it was: meanwhile nothing is fresh. `run` is
        0 until it knows whose text it is.

        Raises:
            TextVoided: the text doesn't begin with what was given.
        """
        void = run not in (0, self._run) or not _agree(text, self._given) or (ended and len(text) < len(self._given))
        if self._given and void:
            raise TextVoided(self.name)
        self.fresh = text[len(self._given) :]
        if self.fresh:
            self._given, self._run = text, run
        return bool(self.fresh) or ended


def _agree(text: str, given: str) -> bool:
    """Say whether one of the two begins with the other."""
    return text.startswith(given) if len(text) >= len(given) else given.startswith(text)

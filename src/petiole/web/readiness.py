"""Whether this process can serve just now: asked by load balancers, and before a new connection is let in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from petiole.errors import PetioleError
from petiole.journal import Journal
from petiole.journal.trial import try_write
from petiole.loop import Loop

FRESH_FOR: Final = 1.0

LEAVING: Final = "This process is shutting down."
AWAY: Final = "The journal doesn't answer, or takes nothing."
DEAF: Final = "The bus doesn't ring; events arrive late."


class Readiness:
    """Writes to the journal at most once a second, whoever wants to know. `deaf` says whether the bus has been found deaf.

    `loops` is the process's work in the background, which is looked at as well.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        deaf: Callable[[], bool],
        loops: Sequence[Loop] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._deaf = deaf
        self._loops = loops
        self._clock = clock
        self._asking = threading.Lock()
        self._asked_at: float | None = None
        self._away = False
        self._leaving = False

    def leave(self) -> None:
        """This process ends: it isn't ready from here on."""
        self._leaving = True

    def degraded(self) -> str | None:
        """Return in a sentence what is worse than it should be, or `None`: it serves all the same, for all may be so."""
        troubles = [trouble for loop in self._loops if (trouble := loop.trouble()) is not None]
        return " ".join([DEAF] * self._deaf() + troubles) or None

    def closed(self) -> str | None:
        """Return in a sentence why this process isn't ready, so that no new connection is let in, or `None`."""
        if self._leaving:
            return LEAVING
        return AWAY if self._journal_is_away() else None

    def _journal_is_away(self) -> bool:
        # Who comes while somebody asks takes the last answer: a dead journal holds up one caller, not all of them.
        if self._asking.acquire(blocking=self._asked_at is None):
            try:
                if self._asked_at is None or self._clock() - self._asked_at >= FRESH_FOR:
                    self._away = not self._answers()
                    self._asked_at = self._clock()
            finally:
                self._asking.release()
        return self._away

    def _answers(self) -> bool:
        try:
            try_write(self._journal)
        except PetioleError:
            return False
        return True

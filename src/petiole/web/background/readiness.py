"""Whether this process can serve: asked by load balancers, and before a new connection is accepted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from petiole.errors import MissingRight, PetioleError
from petiole.journal import Journal
from petiole.journal.trial import try_write
from petiole.logs import logger
from petiole.loop import Loop

log = logger(__name__)

FRESH_FOR: Final = 1.0

LEAVING: Final = "This process is shutting down."
AWAY: Final = "The journal doesn't answer, or takes nothing."
DEAF: Final = "The bus doesn't ring; events arrive late."


class Readiness:
    """Writes to the journal at most once a second, whoever wants to know. `deaf` says whether the bus has been found deaf, and
    `bus_trouble` why it can't be heard at all.

    `loops` is the process's work in the background, which is looked at as well.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        deaf: Callable[[], bool],
        bus_trouble: Callable[[], str | None] = lambda: None,
        loops: Sequence[Loop] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._deaf = deaf
        self._bus_trouble = bus_trouble
        self._loops = tuple(loops)
        self._clock = clock
        self._asking = threading.Lock()
        self._asked_at: float | None = None
        self._away: str | None = None
        self._leaving = False

    def watch(self, loops: Sequence[Loop]) -> None:
        """Look at these loops, too."""
        self._loops += tuple(loops)

    def leave(self) -> None:
        """This process ends: it isn't ready from here on."""
        self._leaving = True

    def degraded(self) -> str | None:
        """Return in sentences what is degraded, or `None`. The process stays ready: all processes may be in that state."""
        troubles = [trouble for loop in self._loops if (trouble := loop.trouble()) is not None]
        bus = self._bus_trouble()
        if bus is not None:
            troubles.insert(0, f"{bus} Events arrive late.")
        elif self._deaf():
            troubles.insert(0, DEAF)
        return " ".join(troubles) or None

    def closed(self) -> str | None:
        """Return in a sentence why this process isn't ready, so that no new connection is let in, or `None`."""
        if self._leaving:
            return LEAVING
        return self._why_away()

    def _why_away(self) -> str | None:
        # Callers that come meanwhile take the last answer: a dead journal holds up one caller, not all of them.
        if self._asking.acquire(blocking=self._asked_at is None):
            try:
                if self._asked_at is None or self._clock() - self._asked_at >= FRESH_FOR:
                    self._away = self._ask()
                    self._asked_at = self._clock()
            finally:
                self._asking.release()
        return self._away

    def _ask(self) -> str | None:
        try:
            try_write(self._journal)
        except PetioleError as error:
            if self._away is None:  # once for each outage
                log.warning("not_ready", extra={"error": str(error)})
            return error.missing if isinstance(error, MissingRight) else AWAY
        if self._away is not None:
            log.info("ready_again")
        return None

"""How long one feed may be refused while the journal serves others."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from petiole.errors import PetioleError, Refusal, Unavailable
from petiole.journal import Journal
from petiole.journal.trial import try_write
from petiole.logs import logger

log = logger(__name__)

# Longer than a provider's outage, a rotation of credentials or a failover.
REFUSED_FOR: Final = 60.0


class Patience:
    """Measures how long the calls for one feed have been refused. One thread at a time; `clock` in seconds."""

    def __init__(self, journal: Journal, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._journal = journal
        self._clock = clock
        self._since: float | None = None
        self._others_work = self._begun_anew = False

    def is_over(self, error: Exception) -> bool:
        """Note a failed call; true if this feed alone has been refused for a minute.

        A trial write shows whether others are served, and the next call decides: an outage may have ended in between.
        """
        if isinstance(error, Unavailable) and not isinstance(error, Refusal):
            self.reset()
            return False
        if self._since is None:
            self._since = self._clock()
        if self._others_work:
            return True
        if self._clock() - self._since < REFUSED_FOR:
            return False
        try:
            try_write(self._journal)
        except Unavailable:
            self.reset()
            return False
        self._others_work = True
        return False

    def begin_anew(self, feed: str, error: Exception) -> None:
        """Delete a feed that alone is refused, because something has damaged its keys; its readers get a `reset`.

        Raises:
            PetioleError: it was deleted before, or can't be: the journal refuses this feed for good.
        """
        if self._begun_anew:
            raise PetioleError(
                f"The journal serves others and refuses {feed} ({error}). Look for what else writes its keys, or denies access."
            ) from error
        log.error("feed_begun_anew", extra={"feed": feed, "error": str(error)})
        self._begun_anew = True
        try:
            self._journal.forget(feed)
        except Unavailable as away:
            if isinstance(away, Refusal):
                raise
            self._begun_anew = False  # an outage at this moment
            self.reset()

    def reset(self) -> None:
        """Note a call that was answered, or an outage."""
        self._since, self._others_work = None, False

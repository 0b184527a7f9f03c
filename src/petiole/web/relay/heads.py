"""Heals what the bus has lost: compares feeds that were not heard of for a while with the journal."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from petiole.errors import PetioleError, Unavailable
from petiole.journal import Journal
from petiole.journal.answers import Gone
from petiole.logs import logger
from petiole.protocol.events import Cursor, partition
from petiole.protocol.reader import Action, Read, Reader
from petiole.settings import Settings
from petiole.web.relay.followed import Followed
from petiole.web.relay.idle import IdleTracker

log = logger(__name__)

# Heads are compared so many at a time, with a pause in which events go on: a thousand in one go would hold them up.
AT_ONCE: Final = 100
BETWEEN: Final = 0.02
# The writer of a feed that the journal has lost opens it again: it asks at each heartbeat. After so many of them it won't.
UNKNOWN_FOR: Final = 1.5


class HeadCheck:
    """Compares `feeds`. `act` does what a feed's reader decides; called with its lock held.

    `gone` is called with a watched feed that was removed, or that the journal doesn't know any more. One thread calls `turn`,
    `include` and `compare`; any thread may call `hear`.
    """

    def __init__(
        self,
        journal: Journal,
        settings: Settings,
        feeds: Mapping[str, Followed],
        *,
        tick: float,
        act: Callable[[Followed, list[Action]], None],
        gone: Callable[[str, Gone], object],
        closed: threading.Event,
        clock: Callable[[], float],
    ) -> None:
        self._journal = journal
        self._heartbeat = settings.heartbeat
        self._feeds = feeds
        self._act = act
        self._gone = gone
        self._closed = closed
        self._clock = clock
        # A feed that was heard of within `head_check` needs no comparison.
        self._idle = IdleTracker(math.ceil(settings.head_check / tick))
        self.hear = self._idle.hear
        self._due: set[str] = set()
        self._away = False
        self._unknown_since: dict[str, float] = {}

    def turn(self) -> None:
        """Begin a turn: feeds that have become idle are compared next."""
        self._due |= self._idle.turn()

    def include(self, feeds: Iterable[str]) -> None:
        """Compare these feeds next, too."""
        self._due.update(feeds)

    def has_work(self) -> bool:
        """Whether a feed that is still followed is to be compared next."""
        self._due &= self._feeds.keys()
        return bool(self._due)

    def forget(self, feed: str) -> None:
        """Nobody watches a feed any more."""
        self._unknown_since.pop(feed, None)

    def compare(self) -> bool:
        """Heal every feed that isn't where the journal is; says whether the journal answered."""
        feeds = sorted(self._due & self._feeds.keys(), key=partition)
        for at in range(0, len(feeds), AT_ONCE):
            if at and self._closed.wait(BETWEEN):
                return False
            if not self._compare({feed: self._feeds[feed] for feed in feeds[at : at + AT_ONCE]}):
                return False
        return True

    def _compare(self, watched: dict[str, Followed]) -> bool:
        known = {feed: _known(followed.reader) for feed, followed in watched.items()}
        try:
            changed = self._journal.changed_heads(known)
        except Unavailable as error:
            if not self._away:
                log.warning("heads_unavailable", extra={"error": str(error)})
            self._away = True
            return False
        except PetioleError:
            log.exception("heads_refused")
            changed = {}
        self._away = False
        for feed in watched:
            self._idle.ask(feed)
        self._due.difference_update(watched)
        self._report_unknown({feed for feed in watched if changed.get(feed) is Gone.UNKNOWN}, among=watched)
        for feed, head in changed.items():
            followed = watched[feed]
            asked = known[feed]
            if head is Gone.REMOVED:
                self._gone(feed, head)
            if isinstance(head, Gone):
                continue
            with followed.lock:
                if followed.reader.reading:
                    self._act(followed, [Read(followed.reader.cursor)])
                elif asked is not None:
                    self._act(followed, followed.reader.head(head, asked=asked))
        return True

    def _report_unknown(self, unknown: set[str], *, among: Collection[str]) -> None:
        """Report watched feeds that the journal has lost, unless their writers open them again soon."""
        now = self._clock()
        for feed in among:
            if feed not in unknown:
                self._unknown_since.pop(feed, None)
            elif now - self._unknown_since.setdefault(feed, now) >= UNKNOWN_FOR * self._heartbeat:
                del self._unknown_since[feed]
                if self._feeds[feed].watchers > 0:
                    self._gone(feed, Gone.UNKNOWN)
            else:
                self._due.add(feed)


def _known(reader: Reader) -> Cursor | None:
    """Return where a reader stands, without the lengths, which heads don't have.

    `None` while it reads: then the head is asked for wherever the reader stands.
    """
    return None if reader.reading or reader.cursor is None else reader.cursor.place

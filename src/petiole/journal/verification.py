"""Checks a feed against its own receipt: every fact there, in order, by number and hash."""

from __future__ import annotations

from dataclasses import dataclass

from petiole.journal.contract import Feeds
from petiole.protocol.events import check_feed
from petiole.protocol.reader import Read, Reader
from petiole.protocol.states import is_terminal

PAGE = 1000


@dataclass(frozen=True, slots=True)
class Verification:
    """What a reading of the whole feed came to. `complete`: all `facts` were read, and their chain is the feed's."""

    feed: str
    state: str | None
    facts: int
    read: int
    chain: str
    complete: bool

    @property
    def ended(self) -> bool:
        """Whether the receipt is final."""
        return is_terminal(self.state)


def verify(journal: Feeds, feed: str) -> Verification | None:
    """Read a feed from its first fact by the reader's rule; `None` if the journal doesn't know it.

    Raises:
        InvalidName: that isn't the name of a feed.
        Unavailable: the journal didn't answer.
    """
    reader = Reader(check_feed(feed))
    actions = reader.start()
    while actions and isinstance(actions[-1], Read):
        reading = journal.read(feed, reader.cursor, limit=PAGE)
        if reading is None:
            return None
        actions = reader.answer(reading)
    cursor = reader.cursor
    facts, chain = (cursor.facts, cursor.chain) if cursor else (0, "")
    return Verification(
        feed=feed,
        state=reader.document.get("state"),
        facts=facts,
        read=reader.shown,
        chain=chain,
        complete=reader.complete and reader.shown == facts,
    )

"""Checks a feed against its own receipt: every fact there, in order, by number and hash, and every text by length and hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from petiole.journal.contract import Feeds
from petiole.protocol.events import check_feed
from petiole.protocol.reader import Read, Reader
from petiole.protocol.receipts import TextReceipt, text_receipts
from petiole.protocol.states import is_terminal
from petiole.protocol.texts import size_of

PAGE = 1000


@dataclass(frozen=True, slots=True)
class Verification:
    """What a reading of the whole feed came to. `complete`: all `facts` were read, and their chain is the feed's.

    `lengths`: how many bytes of each text were read. `texts`: what the receipt says of it.
    """

    feed: str
    state: str | None
    facts: int
    read: int
    chain: str
    complete: bool
    lengths: Mapping[str, int]
    texts: Mapping[str, TextReceipt]

    @property
    def ended(self) -> bool:
        """Whether the receipt is final."""
        return is_terminal(self.state)

    @property
    def wrong_texts(self) -> list[str]:
        """The texts that aren't what their run wrote."""
        return [name for name, text in self.texts.items() if not text.complete]


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
        lengths={name: size_of(text) for name, text in reader.texts.items()},
        texts=text_receipts(reader.document, reader.texts),
    )

"""Checks a feed against its own receipt: every fact there, in order, by number and hash, and every text by length and hash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from petiole.journal.contract import Feeds, Groups
from petiole.protocol.events import Document, check_feed, is_group
from petiole.protocol.reader import Read, Reader
from petiole.protocol.receipts import TextReceipt, text_receipts
from petiole.protocol.states import is_terminal
from petiole.protocol.texts import size_of

PAGE: Final = 1000
# How many tasks of a group are read at once.
CHILDREN: Final = 5000


@dataclass(frozen=True, slots=True)
class Verification:
    """What a reading of the whole feed came to. `complete`: all `facts` were read, and their chain is the feed's.

    `lengths`: how many bytes of each text were read. `texts`: what the receipt says of it. `counts`: how many tasks of a group
    are in each state, counted one by one; `said`: what its document says.
    """

    feed: str
    state: str | None
    facts: int
    read: int
    chain: str
    complete: bool
    lengths: Mapping[str, int]
    texts: Mapping[str, TextReceipt]
    counts: Mapping[str, int]
    said: Mapping[str, int]

    @property
    def ended(self) -> bool:
        """Whether the receipt is final."""
        return is_terminal(self.state)

    @property
    def miscounted(self) -> bool:
        """Whether the document of a group that has ended says other numbers than its tasks do."""
        return self.ended and self.counts != self.said

    @property
    def wrong_texts(self) -> list[str]:
        """The texts that aren't what their run wrote."""
        return [name for name, text in self.texts.items() if not text.complete]


class _Readable(Feeds, Groups, Protocol):
    """What a verification reads."""


def verify(journal: _Readable, feed: str) -> Verification | None:
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
        counts=_counted(journal, feed) if is_group(feed) else {},
        said=_said(reader.document) if is_group(feed) else {},
    )


def _counted(journal: Groups, feed: str) -> dict[str, int]:
    counted: Counter[str] = Counter()
    after: int | None = -1
    while after is not None:
        found = journal.children(feed, after=after, limit=CHILDREN)
        if found is None:
            break
        children, after = found
        counted.update(child.state for child in children)
    return dict(counted)


def _said(document: Document) -> dict[str, int]:
    """Return a group's counts by its document, without the states that no task is in."""
    progress = document.get("progress")
    counts = progress.get("children") if isinstance(progress, dict) else None
    return {state: number for state, number in counts.items() if number} if isinstance(counts, dict) else {}

"""A feed's row in the database, as a step changes it."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Text,
    type_coerce,
)

from petiole.errors import Refusal
from petiole.journal import rules
from petiole.journal.sql import schema
from petiole.protocol.events import ZERO_CHAIN, Cursor, Document
from petiole.protocol.texts import NO_TEXTS, Texts


@dataclass(slots=True)
class Feed:
    """A feed's row. Instants are in milliseconds of the server's clock; `cancel`: 1 if it was asked for, 2 by force."""

    id: int
    name: str
    owner: str
    epoch: str
    goes_at: int
    seq: int = 0
    facts: int = 0
    chain: str = ZERO_CHAIN
    state: str | None = None
    document: str = "{}"
    run: int = 0
    fact: int = 0
    counter: int = 0
    live: bool = False
    cancel: int = 0
    retries: int = 0
    silent: int = 0
    delivery: str = ""
    publication: str = ""
    spent: str = ""
    worker: str = ""
    first: int = 1
    written: int = 0
    dropped: int = 0
    removed: bool = False
    waits: bool = False
    texts: Texts = NO_TEXTS
    lease_ends: int | None = None
    pending_since: int | None = None

    @classmethod
    def of(cls, row: Any) -> Feed:
        """Return the feed of a row that has `COLUMNS`.

        Raises:
            Refusal: somebody else has written over it.
        """
        feed = cls(**{name: getattr(row, name) for name in _NAMES})
        check_numbers(feed.name, feed.seq, feed.facts, feed.run, feed.fact, feed.counter, feed.retries, feed.first)
        for name, read in _READ.items():
            setattr(feed, name, read(getattr(feed, name)))
        return feed

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.epoch, self.seq, self.facts, self.chain)

    @property
    def fields(self) -> Document:
        """The document, read anew each time.

        Raises:
            Refusal: somebody else has written over it.
        """
        try:
            document = json.loads(self.document)
        except (ValueError, RecursionError) as error:
            raise Refusal(
                f"The document of {self.name} can't be read ({error}). Look for what else writes there."
            ) from error
        if not isinstance(document, dict):
            raise Refusal(
                f"The document of {self.name} can't be read: it is no object. Look for what else writes there."
            )
        return document

    def left(self, now: int) -> float | None:
        """Return for how many seconds its lease still lasts; `None` without one."""
        return None if self.lease_ends is None else (self.lease_ends - now) / 1000

    def succeed(self, publication: str) -> None:
        """End the present publication, and go on with another."""
        self.spent = rules.succeed(self.publication, self.spent, publication)
        self.publication = publication

    def end_run(self) -> None:
        self.live, self.lease_ends = False, None


_NAMES: Final = tuple(field.name for field in fields(Feed))


_READ: Final[Mapping[str, Callable[[Any], object]]] = {
    **{name: schema.read_text for name in _NAMES if isinstance(schema.feeds.c[name].type, schema.AnyText)},
    "texts": schema.read_lengths,
}


def as_kept(column: Column[Any]) -> ColumnElement[str]:
    """Return a column as the database stores it, to be read row by row: one unreadable row doesn't hide the others."""
    return type_coerce(column, Text).label(column.name)


def check_numbers(feed: str, *numbers: int) -> None:
    """Check that they are numbers: SQLite stores any type in any column.

    Raises:
        Refusal: somebody else has written over one of them.
    """
    try:
        operator.index(sum(numbers))
    except TypeError as error:
        raise Refusal(f"The numbers of {feed} can't be read ({error}). Look for what else writes there.") from error


# Without `message`, which is long and rarely read.
COLUMNS: Final = tuple(as_kept(schema.feeds.c[name]) if name in _READ else schema.feeds.c[name] for name in _NAMES)


def values_of(feed: Feed) -> dict[str, Any]:
    """Return a feed's row by its columns."""
    return {name: getattr(feed, name) for name in _NAMES}

"""What every part of the SQL journal stands on: a server, and steps that ring once they are committed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import ColumnElement, Connection, select

from petiole.bus.contract import Ring
from petiole.journal.sql.row import COLUMNS, Feed
from petiole.journal.sql.schema import feeds, now_ms
from petiole.journal.sql.server import Mode, Server
from petiole.journal.sql.step import Step
from petiole.settings import Settings

T = TypeVar("T")


class SqlStore:
    """The database behind a journal, and how a step is run there. `ring` must return at once and never raise."""

    def __init__(self, settings: Settings, *, ring: Ring | None = None) -> None:
        self._settings = settings
        self._ring = ring or (lambda _feed, _text: None)
        self._server = Server(settings)

    def look_at_tables(self) -> None:
        """Check that the tables are there.

        Raises:
            SetupError: there are none, or they are of another version.
            Unavailable: the server doesn't answer.
        """
        self._server.check()

    def close(self) -> None:
        self._server.close()

    def _write(self, action: Callable[[Step], T]) -> T:
        """Run one step, and ring once it is committed."""

        def transaction(connection: Connection) -> tuple[T, list[tuple[str, str]]]:
            step = Step(connection, self._settings)
            return action(step), step.rings

        answer, rings = self._server.run(transaction, mode=Mode.WRITE)
        for feed, event in rings:
            self._ring(feed, event)
        return answer

    def _find(self, feed: str) -> Feed | None:
        found = select(*COLUMNS).where(self._kept(feed))
        row = self._server.run(lambda connection: connection.execute(found).one_or_none(), mode=Mode.QUERY)
        return None if row is None else Feed.of(row)

    def _named(self, *names: str) -> ColumnElement[bool]:
        chosen = feeds.c.name == names[0] if len(names) == 1 else feeds.c.name.in_(names)
        return (feeds.c.prefix == self._settings.key_prefix) & chosen

    def _kept(self, *names: str) -> ColumnElement[bool]:
        return self._named(*names) & (feeds.c.goes_at > now_ms())


def now() -> ColumnElement[int]:
    # As a query of its own it is asked once, and an index can be searched by it.
    return select(now_ms()).scalar_subquery()


def ms(seconds: float) -> int:
    return round(seconds * 1000)

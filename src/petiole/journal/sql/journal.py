"""The journal in a database: each verb one transaction under the feed's row lock, so that numbers are in commit order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from sqlalchemy import select

from petiole.errors import PetioleError
from petiole.journal.sql.feeds import SqlFeeds
from petiole.journal.sql.groups import SqlGroups
from petiole.journal.sql.inboxes import SqlInboxes, SqlNotes
from petiole.journal.sql.inspection import inspect
from petiole.journal.sql.runs import SqlRuns
from petiole.journal.sql.server import Mode


class SqlJournal(SqlFeeds, SqlRuns, SqlInboxes, SqlNotes, SqlGroups):
    """`Journal` in PostgreSQL or SQLite. After the commit it calls `ring`, which must return at once and never raise."""

    def ping(self) -> None:
        self._server.run(lambda connection: connection.scalar(select(1)), mode=Mode.QUERY)

    def inspect(self) -> Sequence[str]:
        try:
            if self._server.is_sqlite:
                self.ping()
                return ()
            return self._server.run(partial(inspect, where=self._server.where), mode=Mode.QUERY)
        except PetioleError as error:
            return (str(error),)

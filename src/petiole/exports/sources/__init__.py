"""The databases that an export reads. The rest of `petiole.exports` imports it."""

from __future__ import annotations

from collections.abc import Callable

from petiole.errors import SetupError
from petiole.exports.database import Database
from petiole.exports.sources.source import Source, SourceUnavailable


def open_source(
    database: Database, *, check: Callable[[], object] | None = None, patience: float | None = None
) -> Source:
    """Return the source for this database; nothing is opened before it is entered.

    `check` is called from time to time, from another thread in this context, while the database works; what it raises ends
    the query and is raised in its place. `patience`: for how many seconds SQLite waits for a lock, 5 by default; PostgreSQL
    does for 5 in any case.

    Raises:
        SetupError: the driver isn't installed, or the URL isn't one.
    """
    if database.path is not None:
        from petiole.exports.sources.sqlite import PATIENCE, SqliteSource

        return SqliteSource(database.path, check=check, patience=PATIENCE if patience is None else patience)
    try:
        from petiole.exports.sources.postgres import PostgresSource
    except ImportError as error:
        if (error.name or "psycopg").partition(".")[0] not in ("psycopg", "psycopg_binary", "psycopg_c"):
            raise
        raise SetupError(
            "Exports from PostgreSQL need psycopg, which isn't installed or can't be loaded. "
            "Run: pip install 'petiole[postgres]'"
        ) from error
    return PostgresSource(database.url, check=check)


__all__ = ["Source", "SourceUnavailable", "open_source"]

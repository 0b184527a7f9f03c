"""The SQLite source: counts and reads a selection in one read transaction, a batch at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pyarrow as pa

from petiole.exports.catalog import Catalog, Column, quote
from petiole.exports.selection import Filter, Selection
from petiole.exports.sources.columns import to_batch
from petiole.exports.sources.source import SourceUnavailable, escape_like
from petiole.exports.sources.sqlite_catalog import read_catalog

_BUSY_TIMEOUT: Final = 5.0


class SqliteSource:
    """A SQLite database, opened read-only, as it is at one instant.

    Entering begins a read transaction and reads the catalog; catalog, count and rows agree with each other until the
    exit, whatever others write. Those others can write meanwhile only if the database is in WAL mode; in the rollback
    modes their commits wait for the exit. Memory is bounded by one batch. For the thread that enters it.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._connection: sqlite3.Connection | None = None
        self._catalog = Catalog(())

    def __enter__(self) -> Self:
        """Open the database; waits at most 5 s if another process has locked it.

        Raises:
            SourceUnavailable: there is no database, or it can't be read.
        """
        with _explained():
            connection = sqlite3.connect(
                f"{self._database.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=_BUSY_TIMEOUT
            )
            try:
                # SQLite does not check that text is valid UTF-8. One bad byte must not end an export.
                connection.text_factory = partial(str, encoding="utf-8", errors="replace")
                connection.execute("BEGIN")
                self._catalog = read_catalog(connection)
            except BaseException:
                connection.close()
                raise
        self._connection = connection
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def catalog(self) -> Catalog:
        """The catalog as of the instant of entry."""
        return self._catalog

    def count(self, selection: Selection) -> int:
        """Return how many rows `batches` gives for this selection.

        Raises:
            SourceUnavailable: the database can't be read.
        """
        condition, values = _where(selection)
        with _explained():
            counted = self._open().execute(f"SELECT count(*) FROM {selection.table.identifier}{condition}", values)
            return int(counted.fetchone()[0])

    def batches(self, selection: Selection, *, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows in the order of their row ids, `rows` at a time; nothing at all if there are none.

        A column whose values in a batch don't fit its declared kind is of type `petiole.exports.sources.columns.MIXED` in that
        batch. Text that isn't valid UTF-8 has U+FFFD in place of what is wrong.

        Raises:
            SourceUnavailable: the database can't be read (any more).
        """
        condition, values = _where(selection)
        names = ", ".join(_name(selection, column) for column in selection.columns)
        order = f" ORDER BY {', '.join(selection.table.order)}" if selection.table.order else ""
        query = f"SELECT {names} FROM {selection.table.identifier}{condition}{order}"
        with _explained():
            cursor = self._open().execute(query, values)
            try:
                while chunk := cursor.fetchmany(rows):
                    yield to_batch(selection.columns, chunk)
            finally:
                cursor.close()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise SourceUnavailable("The database isn't open. Use the source in a with block.")
        return self._connection


def _name(selection: Selection, column: Column) -> str:
    # Qualified by the table: SQLite reads a quoted name of a missing column as a text, and would export that.
    return f"{selection.table.identifier}.{quote(column.name)}"


def _where(selection: Selection) -> tuple[str, list[int | float | str]]:
    conditions, values = [], []
    for entry in selection.filters:
        condition, value = _condition(_name(selection, entry.column), entry)
        conditions.append(condition)
        values += value
    return (f" WHERE {' AND '.join(conditions)}" if conditions else ""), values


def _condition(name: str, entry: Filter) -> tuple[str, list[int | float | str]]:
    """Return one SQL condition and its values.

    An empty cell (NULL) differs from every value; `contains` ignores the case of ASCII letters; NULL and the empty text
    are both empty.
    """
    if entry.value is None:
        return (f"({name} IS NULL OR {name} = '')" if entry.operator == "is_empty" else f"{name} <> ''"), []
    # A column without affinity keeps numbers as numbers, which no text would ever equal.
    if entry.column.kind == "text" and (not entry.column.declared or "BLOB" in entry.column.declared.upper()):
        name = f"CAST({name} AS TEXT)"
    if entry.operator == "contains":
        return f"{name} LIKE ? ESCAPE '\\'", [f"%{escape_like(str(entry.value))}%"]
    operator = "IS NOT" if entry.operator == "!=" else entry.operator
    return f"{name} {operator} ?", [entry.value]


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_")
        if code.startswith(("BUSY", "LOCKED")):
            sentence = "The database is locked by another program. Try again in a moment."
        elif code.startswith("CANTOPEN"):
            sentence = "The database isn't there or can't be opened. Tell the operator of this site."
        elif code.startswith(("CORRUPT", "NOTADB")):
            sentence = "The database is damaged. Tell the operator of this site."
        else:
            sentence = "The database could not be read. Try again, and tell the operator of this site if it goes on."
        raise SourceUnavailable(sentence) from error

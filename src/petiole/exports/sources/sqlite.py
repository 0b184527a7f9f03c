"""The SQLite source: counts and reads a selection in one read transaction, a batch at a time."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pyarrow as pa

from petiole.exports.catalog import Catalog, Column, quote
from petiole.exports.selection import Filter, Selection
from petiole.exports.sources.columns import to_batch
from petiole.exports.sources.query_watch import QueryWatch
from petiole.exports.sources.source import SourceUnavailable, escape_like, undecoded_remark
from petiole.exports.sources.sqlite_catalog import read_catalog
from petiole.exports.sources.sqlite_rows import RowReader

PATIENCE: Final = 5.0
_RETRY_EVERY: Final = 0.05


class SqliteSource:
    """A SQLite database, opened read-only, as it is at one instant.

    Entering begins a read transaction and reads the catalog; catalog, count and rows agree with each other until the
    exit, whatever others write. Those others can write meanwhile only if the database is in WAL mode; in the rollback
    modes their commits wait for the exit. Memory is bounded by one batch, of a few MiB or one row. For the thread that enters
    it.

    `check` is called once a second from another thread while a query runs, and between two tries to get a lock; what it raises
    ends the query and is raised in its place. `patience`: for how many seconds to wait for a lock.
    """

    def __init__(
        self, database: Path, *, check: Callable[[], object] | None = None, patience: float = PATIENCE
    ) -> None:
        self._database = database
        self._check = check
        self._patience = patience
        self._connection: sqlite3.Connection | None = None
        self._catalog = Catalog(())
        self._reader: RowReader | None = None

    def __enter__(self) -> Self:
        """Open the database; waits for `patience` if another process has locked it.

        Raises:
            SourceUnavailable: there is no database, or it can't be read.
        """
        with _explained():
            # SQLite would wait for a lock within C, and stop every greenlet of a gevent process.
            connection = sqlite3.connect(
                f"{self._database.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=0
            )
            try:
                self._catalog = self._begin(connection)
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

    @property
    def remarks(self) -> tuple[str, ...]:
        """Says how many texts weren't valid UTF-8."""
        return undecoded_remark(0 if self._reader is None else self._reader.undecoded)

    def count(self, selection: Selection) -> int:
        """Return how many rows `batches` gives for this selection.

        Raises:
            SourceUnavailable: the database can't be read.
        """
        condition, values = _where(selection)
        connection = self._open()
        with _explained(), self._watch(connection):
            counted = connection.execute(f"SELECT count(*) FROM {selection.table.identifier}{condition}", values)
            return int(counted.fetchone()[0])

    def batches(self, selection: Selection, *, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows in the order of their row ids, at most `rows` at a time; nothing at all if there are none.

        A column whose values in a batch don't fit its declared kind is of type `petiole.exports.sources.columns.MIXED` in that
        batch. Text that isn't valid UTF-8 is given as its bytes, like a blob.

        Raises:
            SourceUnavailable: the database can't be read (any more).
        """
        condition, values = _where(selection)
        names = ", ".join(_name(selection, column) for column in selection.columns)
        order = f" ORDER BY {', '.join(selection.table.order)}" if selection.table.order else ""
        query = f"SELECT {names} FROM {selection.table.identifier}{condition}{order}"
        connection = self._open()
        self._reader = RowReader(connection, query, values, columns=len(selection.columns), rows=rows)
        with _explained(), self._watch(connection), closing(self._reader.chunks()) as chunks:
            for chunk in chunks:
                yield to_batch(selection.columns, chunk)

    def _begin(self, connection: sqlite3.Connection) -> Catalog:
        until = time.monotonic() + self._patience
        while True:
            try:
                connection.execute("BEGIN")
                return read_catalog(connection)
            except sqlite3.OperationalError as error:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                if not is_locked(error) or time.monotonic() >= until:
                    raise
            time.sleep(_RETRY_EVERY)
            if self._check is not None:
                self._check()

    def _watch(self, connection: sqlite3.Connection) -> QueryWatch:
        return QueryWatch(
            self._check, cancel=connection.interrupt, cut=connection.interrupt, interrupted=sqlite3.OperationalError
        )

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise SourceUnavailable("The database isn't open. Use the source in a with block.")
        return self._connection


def is_locked(error: sqlite3.Error) -> bool:
    """Say whether another program has locked the database."""
    return code_of(error).startswith(("BUSY", "LOCKED"))


def code_of(error: sqlite3.Error) -> str:
    """Return SQLite's name of an error, such as `BUSY`; empty for those of the driver itself."""
    return str(getattr(error, "sqlite_errorname", "")).removeprefix("SQLITE_")


def _name(selection: Selection, column: Column) -> str:
    # Qualified by the table: SQLite reads a quoted name of a missing column as a text, and would export that.
    return f"{selection.table.identifier}.{quote(column.name)}"


def _where(selection: Selection) -> tuple[str, Sequence[Any]]:
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
        code = code_of(error)
        if is_locked(error):
            sentence = "The database is locked by another program. Try again in a moment."
        elif code.startswith("CANTOPEN"):
            sentence = "The database isn't there or can't be opened. Tell the operator of this site."
        elif code.startswith(("CORRUPT", "NOTADB")):
            sentence = "The database is damaged. Tell the operator of this site."
        elif code.startswith(("TOOBIG", "NOMEM")):
            sentence = "A value is too large to be read. Leave out the column with the largest values."
        else:
            sentence = "The database could not be read. Try again, and tell the operator of this site if it goes on."
        raise SourceUnavailable(sentence) from error

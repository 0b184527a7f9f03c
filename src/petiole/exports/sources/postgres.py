"""The PostgreSQL source: counts and reads a selection in one read-only transaction, by `COPY`, a batch at a time."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Final, Self

import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from petiole.errors import SetupError
from petiole.exports.catalog import Catalog
from petiole.exports.selection import Filter, Selection
from petiole.exports.sources.postgres_catalog import checks_nothing, read_catalog
from petiole.exports.sources.postgres_lines import TextCheck, to_batches
from petiole.exports.sources.postgres_plan import sorts_on_disk
from petiole.exports.sources.postgres_types import SESSION, compare, is_text, name_of, text_of, value_of
from petiole.exports.sources.query_watch import QueryWatch
from petiole.exports.sources.source import SourceUnavailable, escape_like, undecoded_remark

_CANCEL_TIMEOUT: Final = 2.0
# Defaults that a URL may override. An export notices a vanished server within half a minute.
_CONNECTION: Final = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "4",
    "tcp_user_timeout": "30000",
    "fallback_application_name": "petiole exports",
}
# The query of a dead client ends, and a lock is waited for as long as SQLite's.
_SESSION: Final = {**SESSION, "lock_timeout": "5s", "client_connection_check_interval": "2s"}
_OLDEST: Final = 140000  # client_connection_check_interval came with PostgreSQL 14

_AWAY: Final = "The database doesn't answer. Try again in a moment, and tell the operator of this site if it goes on."
_LOST: Final = "The connection to the database was lost. Export it again in a moment."
_REFUSED: Final = "The database refuses the login of this site, or isn't there. Tell the operator of this site."
_UNREADABLE: Final = "The database could not be read. Try again, and tell the operator of this site if it goes on."
_FOR_A_WHILE: Final = ("starting up", "shutting down", "recovery", "too many", "remaining connection slots")
# By the beginning of SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html
_SENTENCES: Final = {
    "08": _LOST,
    "22P05": "The database has no letters for the text of a filter. Choose another text.",
    "40": "The database has broken the export off for work of its own. Export it again.",
    "42501": "The database doesn't let this site read that. Tell the operator of this site.",
    "42": "The database has changed since the export was asked for. Export it again.",
    "54": "A row is too large for the database to send. Leave out the column with the largest values.",
    "53": "The database has no room for this. Try again in a moment, and tell the operator of this site if it goes on.",
    "55P03": "The database is locked by another program. Try again in a moment.",
    "57014": "The database has ended the query, because it took too long. Export fewer rows, or tell the operator.",
    "57P": _LOST,
    "XX": "The database is damaged. Tell the operator of this site.",
}


class PostgresSource:
    """A PostgreSQL database, read-only, as it is at one instant, in a transaction of isolation level repeatable read.

    `check` is called once a second from another thread while the server works; what it raises ends the server's query and
    is raised in its place. For the thread that enters it.
    """

    def __init__(self, url: str, *, check: Callable[[], object] | None = None) -> None:
        try:
            self._parameters: dict[str, Any] = {**_CONNECTION, **conninfo_to_dict(url), "client_encoding": "UTF8"}
        except psycopg.Error:
            # libpq's message repeats the URL with its password.
            raise SetupError(
                "The URL of the database that exports read isn't one of PostgreSQL. "
                "Give it as postgresql://user:password@host:5432/name, with %40 for an @ in the password."
            ) from None
        self._check = check
        self._connection: psycopg.Connection | None = None
        self._catalog = Catalog(())
        self._unordered: tuple[str, ...] = ()
        self._check_texts = TextCheck(by_server=True)

    def __enter__(self) -> Self:
        """Connect, begin the transaction and read the catalog.

        Raises:
            SourceUnavailable: the server doesn't answer within 5 s, or refuses.
        """
        try:
            connection = psycopg.connect(**self._parameters, prepare_threshold=None)
        except psycopg.Error as error:
            # libpq gives no SQLSTATE for a refused login, only a text.
            is_refused = "FATAL:" in str(error) and not any(words in str(error) for words in _FOR_A_WHILE)
            raise SourceUnavailable(_REFUSED if is_refused else _AWAY) from error
        try:
            with _explained():
                if connection.info.server_version < _OLDEST:
                    raise SourceUnavailable(
                        "The database is older than PostgreSQL 14, which exports need. Tell the operator of this site."
                    )
                connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                connection.read_only = True
                settings = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in _SESSION.items())
                connection.execute(f"SELECT {settings}, set_config('synchronize_seqscans', 'off', true)")
                self._catalog = read_catalog(connection)
                self._check_texts = TextCheck(by_server=not checks_nothing(connection))
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        # A server that sorts doesn't check its connection, so the query is cancelled.
        if connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=_CANCEL_TIMEOUT)
        connection.close()

    @property
    def catalog(self) -> Catalog:
        """The catalog as of the instant of entry."""
        return self._catalog

    @property
    def remarks(self) -> tuple[str, ...]:
        """Says if the rows weren't put into the order of their key, and how many texts weren't valid UTF-8."""
        return (*self._unordered, *undecoded_remark(self._check_texts.undecoded))

    def count(self, selection: Selection) -> int:
        """Return how many rows `batches` gives for this selection.

        Raises:
            SourceUnavailable: the database can't be read.
        """
        connection = self._open()
        with _explained(), self._watch(connection):
            counted = connection.execute(f"SELECT count(*) {_from(selection, connection)}").fetchone()
        return int(counted[0]) if counted else 0

    def batches(self, selection: Selection, *, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows, at most `rows` at a time; nothing if there are none.

        They are in the order of their key, unless PostgreSQL would have to sort them on its disk for that, or as it finds them.
        Numbers of arbitrary precision are of type `petiole.exports.sources.columns.EXACT`.

        Raises:
            SourceUnavailable: the database can't be read (any more).
        """
        connection = self._open()
        columns = list(enumerate(selection.columns))
        values = ", ".join(f"{value_of(column)} AS c{number}" for number, column in columns)
        query = self._ordered(f"SELECT {values} {_from(selection, connection)}", selection, connection)
        texts = ", ".join(f"c{number}" for number, column in columns if column.kind == "text")
        options = f"FORMAT csv, FORCE_QUOTE ({texts})" if texts else "FORMAT csv"
        # COPY, not a cursor: Arrow parses the server's CSV in C++; a cursor makes a Python object of each value.
        # The demo's 336,776 flights to a file, in turns, medians of 3: 187,567 rows/s against 120,715 of a named cursor.
        copy = f"COPY ({query}) TO STDOUT ({options})"
        with (
            _explained(),
            self._watch(connection),
            _as_stored(connection, self._check_texts),
            connection.cursor() as cursor,
            cursor.copy(copy.encode()) as lines,
        ):
            yield from to_batches(selection.columns, lines, rows=rows, check=self._check_texts)

    def _ordered(self, query: str, selection: Selection, connection: psycopg.Connection) -> str:
        """Return the query in an order that costs no sorting on the disk."""
        if selection.table.order:
            ordered = f"{query} ORDER BY {', '.join(selection.table.order)}"
            with _explained():
                if not sorts_on_disk(connection, ordered):
                    return ordered
            key = ", ".join(selection.table.ordered_by)
            self._unordered = (f"The rows aren't sorted by {key}: the database would need its disk for that.",)
        with _explained():
            # Several processes would send the rows in another order each time.
            connection.execute("SELECT set_config('max_parallel_workers_per_gather', '0', true)")
        return query

    def _watch(self, connection: psycopg.Connection) -> QueryWatch:
        def cancel() -> None:
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=_CANCEL_TIMEOUT)

        def cut() -> None:
            # A frozen or unreachable server cancels nothing: the wait is ended here.
            with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as wire:
                wire.shutdown(socket.SHUT_RDWR)

        return QueryWatch(self._check, cancel=cancel, cut=cut, interrupted=psycopg.Error)

    def _open(self) -> psycopg.Connection:
        if self._connection is None:
            raise SourceUnavailable("The database isn't open. Use the source in a with block.")
        return self._connection


def _from(selection: Selection, connection: psycopg.Connection) -> str:
    conditions = [_condition(entry, connection) for entry in selection.filters]
    return f"FROM {selection.table.identifier} AS t" + (f" WHERE {' AND '.join(conditions)}" if conditions else "")


def _condition(entry: Filter, connection: psycopg.Connection) -> str:
    """Return one SQL condition, equivalent to SQLite's.

    The value stands in it as a literal that libpq has quoted: `COPY` takes no parameters.
    """
    column = entry.column
    if entry.value is None:
        # Only a text can be empty without being NULL.
        empty = f"{text_of(column)} = ''" if is_text(column) else ""
        if entry.operator == "is_empty":
            return f"({name_of(column)} IS NULL OR {empty})" if empty else f"{name_of(column)} IS NULL"
        return f"{text_of(column)} <> ''" if empty else f"{name_of(column)} IS NOT NULL"
    value, operator = entry.value, entry.operator
    if isinstance(value, str) and "\0" in value:
        # No text in PostgreSQL has a NUL. The text up to it is less than this value; longer ones with that prefix are greater.
        if operator in ("=", "contains"):
            return "false"
        if operator == "!=":
            return "true"
        value, operator = value.partition("\0")[0], {"<": "<=", ">=": ">"}.get(operator, operator)
    if operator == "contains":
        return f"{text_of(column)} ILIKE {_literal(f'%{escape_like(str(value))}%', connection)}"
    return compare(
        column,
        "IS DISTINCT FROM" if operator == "!=" else operator,
        value,
        lambda value: _literal(value, connection),
    )


@contextmanager
def _as_stored(connection: psycopg.Connection, check: TextCheck) -> Iterator[None]:
    """Have texts sent as they are stored, where the database checks them only when it sends them."""
    if check.by_server:
        yield
        return
    connection.execute("SELECT set_config('client_encoding', 'SQL_ASCII', true)")
    yield
    connection.execute("SELECT set_config('client_encoding', 'UTF8', true)")


def _literal(value: int | float | str, connection: psycopg.Connection) -> str:
    # A number stays a decimal, so that 0.1 equals the numeric 0.1.
    return sql.Literal(value).as_string(connection)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        code = error.sqlstate or ""
        for beginning, sentence in _SENTENCES.items():
            if code.startswith(beginning):
                raise SourceUnavailable(sentence) from error
        is_lost = not code and isinstance(error, psycopg.OperationalError)
        raise SourceUnavailable(_LOST if is_lost else _UNREADABLE) from error

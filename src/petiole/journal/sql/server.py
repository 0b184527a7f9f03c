"""The database behind the SQL journal: its URL, its connections, its transactions, and what its errors mean.

A call ends within its timeout whatever the server does, and a connection that has gone stale is replaced within the same
call as long as nothing was committed on it.
"""

from __future__ import annotations

import os
import re
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from enum import Enum
from typing import Any, Final, TypeVar

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, select
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from petiole.errors import PetioleError, Refusal, SetupError, Unavailable
from petiole.journal.sql import schema
from petiole.journal.sql.deadline import deadline
from petiole.journal.sql.postgresql import SERVERS_SHARE, BoundedConnection, prepare_postgresql
from petiole.journal.sql.sqlite import begin_sqlite, forks, prepare_sqlite
from petiole.journal.sql.url import address, read_url
from petiole.settings import Settings

T = TypeVar("T")


POOL_SIZE: Final = 4
POOL_OVERFLOW: Final = 4
# Errors that come from other transactions; the connection itself is sound.
_BUSY_STATES: Final = (
    "40001",  # serialization failure
    "40P01",  # deadlock
    "55P03",  # lock not available
    "57014",  # exceeded its time limit
)
# libpq gives no SQLSTATE where a connection is refused, only the server's text; in another language it counts as an outage.
_REFUSALS: Final = re.compile(
    r'authentication failed|(database|role) ".*" does not exist|no pg_hba\.conf entry|no password supplied'
    r"|permission denied for database|SSL was required|certificate verify failed|root certificate file"
)
_BUSY_IN_SQLITE: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED_IN_SQLITE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Mode(Enum):
    """What a transaction is for: to write, to read by several queries of one instant, or for one statement."""

    WRITE = "write"
    INSTANT = "instant"
    QUERY = "query"


class Server:
    """Runs transactions on one database. Thread-safe; a forked process has connections of its own."""

    def __init__(self, settings: Settings) -> None:
        self._url = read_url(settings.journal_url)
        self._timeout = settings.journal_timeout
        self.is_sqlite = self._url.drivername == "sqlite"
        self.name = "SQLite" if self.is_sqlite else "PostgreSQL"
        self.where = f"{self.name} at {address(self._url)}"
        self._engine = self._make_engine()
        self._in = {mode: self._engine.execution_options(**self._options(mode)) for mode in Mode}
        self._checked = False
        self._checking = threading.Lock()
        # Pools of the parent process. They are kept, so that nothing here closes the parent's connections.
        self._inherited: list[object] = []
        this = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: Server._after_fork(this()))

    def check(self) -> None:
        """Check the tables before any work, on a connection that is closed at once.

        Raises:
            SetupError: there are none, or they are of another version; or the server refuses the connection.
            Unavailable: the server doesn't answer.
        """
        try:
            self.run(lambda _: None, mode=Mode.QUERY)
        except Unavailable as error:
            raise self._at_start(error) from error
        finally:
            self.close()

    def run(self, action: Callable[[Connection], T], *, mode: Mode) -> T:
        """Return what `action` returns, after its transaction was committed.

        Raises:
            Unavailable: not within the timeout, or the server refused (`Refusal`); its tables may be gone, or another's.
        """
        before = deadline.set(time.monotonic() + self._timeout)
        try:
            with forks.kept_out() if self.is_sqlite else nullcontext():
                if not self._checked:
                    self._check()
                return self._attempt(action, mode)
        except PoolTimeout as error:
            raise Unavailable(f"{self.where} is busy: no connection came free in time. Try again.") from error
        except DBAPIError as error:
            raise self._meaning(error) from error
        except SQLAlchemyError as error:
            raise Refusal(f"{self.where} could not be used: {error}") from error
        except SetupError as error:
            # It worked at the start, so this may be temporary: somebody restores the tables, or upgrades them.
            raise Refusal(str(error)) from error
        finally:
            deadline.reset(before)

    def close(self) -> None:
        """Give back connections."""
        self._engine.dispose()

    def _attempt(self, action: Callable[[Connection], T], mode: Mode) -> T:
        engine = self._in[mode]
        for last in (False, True):
            committing = False
            try:
                with (
                    engine.connect() as connection,
                    _replaced_if_refused(connection),
                    connection.begin() as transaction,
                ):
                    value = action(connection)
                    committing = mode is Mode.WRITE
                    transaction.commit()
                    return value
            except DBAPIError as error:
                # The connection was lost while it was idle in the pool; what wasn't committed can be repeated.
                stale = error.connection_invalidated and not committing
                if last or not stale or time.monotonic() >= deadline.get():
                    raise
        raise AssertionError("unreachable")

    def _check(self) -> None:
        with self._checking:
            if self._checked:
                return
            version = self._version()
            if version is None and self.is_sqlite:
                _, version = self._attempt(schema.upgrade, Mode.WRITE)
            trouble = schema.trouble(version, self.where)
            if trouble is not None:
                raise SetupError(trouble)
            self._checked = True

    def _version(self) -> int | None:
        # Without looking for the table first: that would be one more round trip in every process's first call.
        found = select(schema.versions.c.version)
        try:
            return self._attempt(lambda connection: connection.scalar(found), Mode.QUERY)
        except DBAPIError as error:
            if _is_missing(error):
                return None
            raise

    def _at_start(self, error: Unavailable) -> PetioleError:
        """Return what an error means at start: there a refusal is permanent. Later it may be temporary."""
        if isinstance(error.__cause__, SetupError):
            return error.__cause__
        said = " ".join(str(getattr(error.__cause__, "orig", "")).split())
        if not _REFUSALS.search(said):
            return error
        return SetupError(
            f"{self.where} refuses the connection ({said}). Correct user, password, database and sslmode in "
            "PETIOLE_JOURNAL_URL, or create what is missing."
        )

    def _meaning(self, error: DBAPIError) -> PetioleError:
        cause = error.orig
        said = " ".join(str(cause).split())
        state = getattr(cause, "sqlstate", None)
        code = getattr(cause, "sqlite_errorcode", None)
        if isinstance(cause, psycopg.OperationalError) and state is None:
            return Unavailable(f"{self.where} doesn't answer ({said}). Start it, or set PETIOLE_JOURNAL_URL.")
        if _is_missing(error):
            self._checked = False
            return Refusal(f"The tables of Petiole at {self.where} aren't as they should be. Run: {schema.COMMAND}")
        if code is not None and code & 0xFF in _DAMAGED_IN_SQLITE:
            return Refusal(f"{self.where} is damaged ({said}). Put a copy of it back, or take the file away.")
        if _is_busy(cause):
            return Unavailable(f"{self.where} is temporarily unavailable: {said}")
        return Refusal(f"{self.where} is temporarily unavailable: {said}")

    def _make_engine(self) -> Engine:
        pool = {"pool_size": POOL_SIZE, "max_overflow": POOL_OVERFLOW, "pool_timeout": self._timeout}
        if self.is_sqlite:
            engine = create_engine(self._url, connect_args={"timeout": self._timeout}, pool_use_lifo=True, **pool)
            event.listen(engine, "connect", prepare_sqlite)
            event.listen(engine, "connect", lambda _, record: record.info.update(file=self._file()))
            event.listen(engine, "checkout", self._check_file)
            event.listen(engine, "begin", begin_sqlite)
            return engine
        arguments, options = self._connect_arguments()
        engine = create_engine(
            self._url,
            creator=lambda: BoundedConnection.connect(**arguments),
            use_native_hstore=False,
            pool_use_lifo=True,
            **pool,
        )
        event.listen(engine, "connect", lambda connection, _: prepare_postgresql(connection, options))
        return engine

    def _file(self) -> tuple[int, int] | None:
        """Return which file lies at SQLite's path; `None`: there is none."""
        try:
            found = os.stat(str(self._url.database))
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _check_file(self, _connection: object, record: Any, _proxy: object) -> None:
        """Replace a connection whose file was deleted or replaced: nobody else would read what is written there."""
        if record.info.get("file") != self._file():
            self._checked = False
            raise DisconnectionError(f"{self.where} isn't the file that it was.")

    def _connect_arguments(self) -> tuple[dict[str, Any], dict[str, str]]:
        url = self._url
        parts = {"host": url.host, "port": url.port, "dbname": url.database, "user": url.username, **url.query}
        arguments = {name: value for name, value in parts.items() if value is not None}
        arguments |= {"password": url.password} if url.password is not None else {}
        arguments = {"application_name": "petiole", **arguments}
        limit = f"{max(round(self._timeout * SERVERS_SHARE * 1000), 1)}ms"
        # The last one: a process that is frozen within a transaction must not lock a feed for longer than others can wait.
        names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        return arguments, dict.fromkeys(names, limit)

    def _options(self, mode: Mode) -> dict[str, Any]:
        if self.is_sqlite:
            return {"petiole_begin": "BEGIN IMMEDIATE" if mode is Mode.WRITE else "BEGIN"}
        return {
            Mode.WRITE: {"isolation_level": "READ COMMITTED"},
            Mode.INSTANT: {"isolation_level": "REPEATABLE READ"},
            Mode.QUERY: {"isolation_level": "AUTOCOMMIT"},
        }[mode]

    @staticmethod
    def _after_fork(server: Server | None) -> None:
        if server is not None:
            server._inherited.append(server._engine.pool)
            server._engine.dispose(close=False)
            server._checking = threading.Lock()


@contextmanager
def _replaced_if_refused(connection: Connection) -> Iterator[None]:
    """Close a connection on which the server has refused something, and don't use it again.

    A new one may lead elsewhere: to the new primary where this server has become a standby, to a user with other rights.
    """
    try:
        yield
    except DBAPIError as error:
        if not _is_busy(error.orig) and not connection.invalidated:
            connection.invalidate(error)
        raise


def _is_busy(cause: object) -> bool:
    """Say whether an error comes from other transactions: the same call may be retried on the same connection."""
    code = getattr(cause, "sqlite_errorcode", None)
    return getattr(cause, "sqlstate", None) in _BUSY_STATES or (code is not None and code & 0xFF in _BUSY_IN_SQLITE)


def _is_missing(error: DBAPIError) -> bool:
    """Say whether a statement named a table or a column that isn't there."""
    return getattr(error.orig, "sqlstate", None) in ("42P01", "42703") or str(error.orig).startswith("no such")


def upgrade(journal_url: str) -> tuple[str, int | None, int]:
    """Create or upgrade the tables that a URL names; return where, and the version before and after.

    Raises:
        SetupError: the URL isn't one of a database, the server refuses it, or its tables are newer than this Petiole.
        Unavailable: the server doesn't answer.
    """
    # A long timeout: an upgrade may wait for another one, and for locks on the tables.
    server = Server(Settings(journal_url=journal_url, journal_timeout=600.0))
    try:
        server._checked = True
        before, after = server.run(schema.upgrade, mode=Mode.WRITE)
    except Unavailable as error:
        raise server._at_start(error) from error
    finally:
        server.close()
    trouble = schema.trouble(after, server.where)
    if trouble is not None:
        raise SetupError(trouble)
    return server.where, before, after

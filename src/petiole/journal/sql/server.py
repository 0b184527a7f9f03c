"""The database behind the SQL journal: its URL, its connections, its transactions, and what its errors mean.

A call ends within its timeout whatever the server does, and a connection that has gone stale is replaced within the same
call as long as nothing was committed on it.
"""

from __future__ import annotations

import os
import random
import re
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeVar

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from petiole.errors import PetioleError, Refusal, SetupError, Unavailable
from petiole.journal.sql import schema
from petiole.settings import SQL_SCHEMES, Settings

T = TypeVar("T")

POOL_SIZE: Final = 4
POOL_OVERFLOW: Final = 4
# How long to wait, at random between these, before SQLite's one lock is tried again; and for its seldom locks.
_BUSY_PAUSE: Final = (0.0005, 0.003)
_LONGEST_WAIT: Final = 600.0

# The server gives a statement up a little earlier than the client gives up the connection.
_SERVERS_SHARE: Final = 0.8
# What says something of others who work there, and nothing of the connection.
_BUSY_STATES: Final = (
    "40001",  # serialization failure
    "40P01",  # deadlock
    "55P03",  # lock not available
    "57014",  # it took longer than it may
)
# libpq gives no SQLSTATE where a connection is refused, only the server's text; in another language it counts as an outage.
_REFUSALS: Final = re.compile(
    r'authentication failed|(database|role) ".*" does not exist|no pg_hba\.conf entry|no password supplied'
    r"|permission denied for database|SSL was required|certificate verify failed|root certificate file"
)
_BUSY_IN_SQLITE: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED_IN_SQLITE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

# When the call that is under way in this thread (or greenlet) has to be over, on `time.monotonic`.
_deadline: ContextVar[float] = ContextVar("petiole_deadline", default=float("inf"))


class Mode(Enum):
    """What a transaction is for: to write, to read by several queries of one instant, or for one statement."""

    WRITE = "write"
    INSTANT = "instant"
    QUERY = "query"


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed at the deadline: a server may be alive and silent, and libpq would wait for ever."""

    @classmethod
    def _connect_gen(cls, *args: Any, **more: Any) -> Any:
        # psycopg rounds its own `connect_timeout` up to 2 s.
        return _bounded(super()._connect_gen(*args, **more), lambda: None)

    def wait(self, gen: Any, *args: Any, **more: Any) -> Any:
        return super().wait(_bounded(gen, self.close), *args, **more)


def _bounded(waiting: Generator[Any, Any, T], give_up: Callable[[], None]) -> Generator[Any, Any, T]:
    wanted = _resume(waiting, None)
    while not isinstance(wanted, _Ended):
        ready = yield wanted
        if time.monotonic() >= _deadline.get():
            give_up()
            raise psycopg.OperationalError("no answer in time")
        wanted = _resume(waiting, ready)
    result: T = wanted.value
    return result


class _Ended:
    def __init__(self, value: Any) -> None:
        self.value = value


def _resume(waiting: Generator[Any, Any, Any], ready: Any) -> Any:
    """Resume a generator; its end is a value like others."""
    try:
        return waiting.send(ready)
    except StopIteration as end:
        return _Ended(end.value)


def read_url(given: str) -> URL:
    """Return a journal's URL as SQLAlchemy has it.

    Raises:
        SetupError: it isn't one of PostgreSQL or SQLite, or names no file or no directory that exists.
    """
    try:
        url = make_url(given)
    except ArgumentError:
        raise SetupError(
            "PETIOLE_JOURNAL_URL isn't a URL. Set it to postgresql://user@host/database or sqlite:////path/to/file."
        ) from None
    if url.drivername not in SQL_SCHEMES:
        raise SetupError(
            f"PETIOLE_JOURNAL_URL begins with {url.drivername}://, which isn't a database of Petiole's. Set it to "
            "postgresql://user@host/database or sqlite:////path/to/file."
        )
    if url.drivername != "sqlite":
        return url.set(drivername="postgresql+psycopg")
    if url.database in (None, "", ":memory:"):
        raise SetupError("A SQLite journal has to be in a file. Set PETIOLE_JOURNAL_URL to sqlite:////path/to/file.")
    folder = Path(str(url.database)).absolute().parent
    if not folder.is_dir():
        raise SetupError(f"There is no directory {folder} for the journal. Make it, or set PETIOLE_JOURNAL_URL.")
    return url


def address(url: URL) -> str:
    """Return where a URL points, without its password, for messages."""
    if url.drivername == "sqlite":
        return str(url.database)
    return f"{url.host or 'localhost'}:{url.port or 5432}/{url.database or ''}"


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
        # Pools of the process that this one was forked from. They are kept, so that nothing here closes what is theirs.
        self._inherited: list[object] = []
        this = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: Server._after_fork(this()))

    def check(self) -> None:
        """Look at the tables before any work, with a connection that is given back at once.

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
        before = _deadline.set(time.monotonic() + self._timeout)
        try:
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
            # As it was right at the start, it may come right again: somebody restores the tables, or upgrades them.
            raise Refusal(str(error)) from error
        finally:
            _deadline.reset(before)

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
                # A connection that was lost while it lay in the pool; what was not committed can be done again.
                stale = error.connection_invalidated and not committing
                if last or not stale or time.monotonic() >= _deadline.get():
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
        # Asked straight out: to look for the table first would be one more question in every process's first call.
        found = select(schema.versions.c.version)
        try:
            return self._attempt(lambda connection: connection.scalar(found), Mode.QUERY)
        except DBAPIError as error:
            if _is_missing(error):
                return None
            raise

    def _at_start(self, error: Unavailable) -> PetioleError:
        """Return what it means at start: what is refused then won't come right by waiting. Later it may, as it was right."""
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
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "connect", lambda _, record: record.info.update(file=self._file()))
            event.listen(engine, "checkout", self._check_file)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        arguments, options = self._connect_arguments()
        engine = create_engine(
            self._url,
            creator=lambda: BoundedConnection.connect(**arguments),
            use_native_hstore=False,
            pool_use_lifo=True,
            **pool,
        )
        event.listen(engine, "connect", lambda connection, _: _prepare_postgresql(connection, options))
        return engine

    def _file(self) -> tuple[int, int] | None:
        """Return which file lies at SQLite's path; `None`: there is none."""
        try:
            found = os.stat(str(self._url.database))
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _check_file(self, _connection: object, record: Any, _proxy: object) -> None:
        """Have a connection made anew whose file was deleted or replaced: what is written there nobody else would read."""
        if record.info.get("file") != self._file():
            self._checked = False
            raise DisconnectionError(f"{self.where} isn't the file that it was.")

    def _connect_arguments(self) -> tuple[dict[str, Any], dict[str, str]]:
        url = self._url
        parts = {"host": url.host, "port": url.port, "dbname": url.database, "user": url.username, **url.query}
        arguments = {name: value for name, value in parts.items() if value is not None}
        arguments |= {"password": url.password} if url.password is not None else {}
        arguments = {"application_name": "petiole", **arguments}
        limit = f"{max(round(self._timeout * _SERVERS_SHARE * 1000), 1)}ms"
        # The last: a process that is frozen within a transaction must not hold a feed for longer than others can wait.
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
    """Say whether an error tells of others who work there, so that the same may be asked again on the same connection."""
    code = getattr(cause, "sqlite_errorcode", None)
    return getattr(cause, "sqlstate", None) in _BUSY_STATES or (code is not None and code & 0xFF in _BUSY_IN_SQLITE)


def _is_missing(error: DBAPIError) -> bool:
    """Say whether a statement named a table or a column that isn't there."""
    return getattr(error.orig, "sqlstate", None) in ("42P01", "42703") or str(error.orig).startswith("no such")


def _prepare_sqlite(connection: Any, _: object) -> None:
    # The transactions are begun by `_begin_sqlite`, not by the driver.
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous = NORMAL")
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            # While several processes make the file at once; here SQLite doesn't wait by itself.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= _deadline.get():
                raise
            time.sleep(random.uniform(*_BUSY_PAUSE))


def _begin_sqlite(connection: Connection) -> None:
    begin = connection.get_execution_options()["petiole_begin"]
    # SQLite's own waiting sleeps longer and longer, so that who has waited long comes last.
    connection.exec_driver_sql("PRAGMA busy_timeout = 0")
    while True:
        try:
            connection.exec_driver_sql(begin)
            break
        except DBAPIError as error:
            busy = getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() >= _deadline.get():
                raise
            time.sleep(random.uniform(*_BUSY_PAUSE))
    left = max(_deadline.get() - time.monotonic(), 0.0)
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {round(min(left, _LONGEST_WAIT) * 1000)}")


def _prepare_postgresql(connection: Any, options: dict[str, str]) -> None:
    connection.autocommit = True
    settings = ", ".join("set_config(%s, %s, false)" for _ in options)
    connection.execute(f"SELECT {settings}", [part for option in options.items() for part in option])
    connection.autocommit = False


def upgrade(journal_url: str) -> tuple[str, int | None, int]:
    """Create or upgrade the tables that a URL names; return where, and the version before and after.

    Raises:
        SetupError: the URL isn't one of a database, the server refuses it, or its tables are newer than this Petiole.
        Unavailable: the server doesn't answer.
    """
    # A long timeout: who upgrades may wait for another who does, and for the tables to come free.
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

"""Connections to SQLite: how a new one is prepared, and how it waits for its turn to write."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from petiole.journal.sql.deadline import deadline

# How long to wait, at random between these, before SQLite's one lock is tried again; and the limit of SQLite's own wait.
BUSY_PAUSE: Final = (0.0005, 0.003)
LONGEST_WAIT: Final = 600.0

# How long a fork waits for the calls of other threads, in seconds: longer than one takes, except with a long `journal_timeout`.
LONGEST_FORK: Final = 5.0


class _Forks:
    """Keeps forks out of calls: SQLite has locks of its own, which a process that is forked within a call would never get."""

    def __init__(self) -> None:
        self._entry = threading.Lock()  # a fork holds it, so that no call begins meanwhile
        self._change = threading.Condition(threading.Lock())
        self._calls = 0
        os.register_at_fork(before=self._before, after_in_parent=self._after, after_in_child=self._after_in_child)

    @contextmanager
    def kept_out(self) -> Iterator[None]:
        with self._entry, self._change:
            self._calls += 1
        try:
            yield
        finally:
            with self._change:
                self._calls -= 1
                if self._calls == 0:
                    self._change.notify()

    def _before(self) -> None:
        self._entry.acquire()
        self._change.acquire()
        self._change.wait_for(lambda: self._calls == 0, LONGEST_FORK)

    def _after(self) -> None:
        self._change.release()
        self._entry.release()

    def _after_in_child(self) -> None:
        self._calls = 0
        self._after()


forks: Final = _Forks()


def prepare_sqlite(connection: Any, _: object) -> None:
    # The transactions are begun by `begin_sqlite`, not by the driver.
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous = NORMAL")
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            # Several processes create the file at once; here SQLite doesn't wait by itself.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline.get():
                raise
            time.sleep(random.uniform(*BUSY_PAUSE))


def begin_sqlite(connection: Connection) -> None:
    begin = connection.get_execution_options()["petiole_begin"]
    # SQLite's own back-off sleeps longer and longer, so that the longest waiter comes last.
    connection.exec_driver_sql("PRAGMA busy_timeout = 0")
    while True:
        try:
            connection.exec_driver_sql(begin)
            break
        except DBAPIError as error:
            busy = getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() >= deadline.get():
                raise
            time.sleep(random.uniform(*BUSY_PAUSE))
    left = max(deadline.get() - time.monotonic(), 0.0)
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {round(min(left, LONGEST_WAIT) * 1000)}")

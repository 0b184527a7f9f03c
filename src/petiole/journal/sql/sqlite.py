"""Connections to SQLite: how a new one is prepared, and how it waits for its turn to write."""

from __future__ import annotations

import random
import sqlite3
import time
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from petiole.journal.sql.deadline import deadline

# How long to wait, at random between these, before SQLite's one lock is tried again; and the limit of SQLite's own wait.
BUSY_PAUSE: Final = (0.0005, 0.003)
LONGEST_WAIT: Final = 600.0


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

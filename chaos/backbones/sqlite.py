"""A file of SQLite for the journal, Redis for bus and broker."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from chaos.backbones.contract import BOTH, SQLITE, WEB, Refusing
from chaos.backbones.redis_server import RedisServer
from chaos.backbones.sql import ELSEWHERE, FEEDS, LIMIT, SPOILED, TABLES
from chaos.proxy import FaultProxy
from petiole.journal import Journal, open_journal
from petiole.servers.processes import Processes
from petiole.settings import Settings

# SQLite stores a value of any type, whatever type the column was declared with.
SPOILED_HERE: Final = (*SPOILED, ("seq", "spoiled"))
WRITES: Final = ("INSERT", "UPDATE", "DELETE")


class SqliteBackbone:
    """A `Backbone` whose journal is a file that all processes open, without a proxy in between."""

    name: Final = SQLITE
    bus_is_apart: Final = True

    def __init__(self, binary: str) -> None:
        self._redis = RedisServer(binary, "redis")
        self.worker_bus, self.web_bus = FaultProxy(self._redis.port), FaultProxy(self._redis.port)
        self.proxies = (self.worker_bus, self.web_bus)

    def start(self, processes: Processes, directory: Path) -> None:
        self._file = directory / "journal.sqlite"
        self._redis.begin(processes, directory / "redis")

    def environment(self, side: str) -> dict[str, str]:
        bus = self.web_bus if side == WEB else self.worker_bus
        return {
            "CELERY_BROKER_URL": self._redis.url,
            "CELERY_RESULT_BACKEND": self._redis.url,
            "PETIOLE_JOURNAL_URL": self._url,
            "PETIOLE_BUS_URL": f"redis://127.0.0.1:{bus.port}/0",
        }

    def close(self) -> None:
        for proxy in self.proxies:
            proxy.close()

    def kill_bus(self) -> None:
        self._redis.kill()

    def start_bus(self) -> None:
        self._redis.start()

    def close_subscribers(self) -> int:
        return self._redis.close_subscribers()

    def empty_journal(self) -> int:
        with closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            gone = sum(connection.execute(f"DELETE FROM {table}").rowcount for table in TABLES)
            connection.execute("COMMIT")
        return gone

    def open_journal(self) -> Journal:
        return open_journal(Settings(journal_url=self._url, bus_url=self._redis.url))

    @property
    def refusals(self) -> list[Refusing]:
        return [
            Refusing("a table renamed", BOTH, self._renamed),
            Refusing(LIMIT.split(".")[0], BOTH, self._limited),
            Refusing("the file locked by another connection", BOTH, self._locked),
        ]

    @property
    def spoilings(self) -> list[Callable[[str], None]]:
        return [partial(self._spoil, column, value) for column, value in SPOILED_HERE]

    @property
    def _url(self) -> str:
        return f"sqlite:///{self._file}"

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._file, timeout=10, isolation_level=None)

    def _spoil(self, column: str, value: str, feed: str) -> None:
        with closing(self._connect()) as connection:
            connection.execute(f"UPDATE {FEEDS} SET {column} = ? WHERE name = ?", (value, feed))

    @contextmanager
    def _renamed(self) -> Iterator[None]:
        yield from self._changed(
            [f"ALTER TABLE {FEEDS} RENAME TO {ELSEWHERE}"], [f"ALTER TABLE {ELSEWHERE} RENAME TO {FEEDS}"]
        )

    @contextmanager
    def _limited(self) -> Iterator[None]:
        """Refuse every write with an unknown error message."""
        triggers = {f"limit_{event}_{table}": f"{event} ON {table}" for table in TABLES for event in WRITES}
        refusing = f"BEGIN SELECT RAISE(ABORT, '{LIMIT}'); END"
        yield from self._changed(
            [f"CREATE TRIGGER {name} BEFORE {when} {refusing}" for name, when in triggers.items()],
            [f"DROP TRIGGER {name}" for name in triggers],
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with closing(self._connect()) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            yield

    def _changed(self, begin: Sequence[str], end: Sequence[str]) -> Iterator[None]:
        with closing(self._connect()) as connection:
            for statement in begin:
                connection.execute(statement)
            try:
                yield
            finally:
                for statement in end:
                    connection.execute(statement)

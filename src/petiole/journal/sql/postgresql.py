"""Connections to PostgreSQL that end within their call's time, and how a new one is prepared."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any, Final, TypeVar

import psycopg

from petiole.journal.sql.deadline import deadline

T = TypeVar("T")

# The server cancels a statement a little earlier than the client closes the connection.
SERVERS_SHARE: Final = 0.8


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
        if time.monotonic() >= deadline.get():
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


def prepare_postgresql(connection: Any, options: dict[str, str]) -> None:
    connection.autocommit = True
    settings = ", ".join("set_config(%s, %s, false)" for _ in options)
    connection.execute(f"SELECT {settings}", [part for option in options.items() for part in option])
    connection.autocommit = False

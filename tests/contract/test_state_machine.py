"""Task states on real servers: the state machine of `tests/unit`, with few examples on each."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import create_engine, update

from petiole.journal import Journal
from petiole.journal.sql import SqlJournal
from petiole.journal.sql.schema import feeds
from petiole.journal.sql.url import read_url
from petiole.protocol.events import Event
from petiole.settings import Settings
from tests.contract.backends import Backend, RedisBackend
from tests.contract.conftest import REDIS, SQL
from tests.unit.state_machine import LEASE, machine_on

PACE = settings(
    max_examples=30,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


class RedisStore:
    """`pass_time` moves the lease, because a test can't move a server's clock."""

    slack = LEASE / 8
    # Rings reach subscribers later: see `test_bus.py`.
    rung = None

    def __init__(self, backend: RedisBackend) -> None:
        self.journal: Journal = backend.make(lease=LEASE)
        self._client = backend.server.client()

    def begin(self, number: int) -> None:
        pass

    def pass_time(self, feed: str, seconds: float) -> None:
        leases = self.journal._names.feed(feed)[4]
        self._client.zadd(leases, {feed: -round(seconds * 1000)}, xx=True, incr=True)

    def close(self) -> None:
        self._client.close()


class SqlStore:
    """Like `RedisStore`."""

    slack = LEASE / 8

    def __init__(self, url: str, made: Settings) -> None:
        self.rung: list[Event] = []
        self.journal: Journal = SqlJournal(made, ring=lambda _feed, text: self.rung.append(Event.from_text(text)))
        self._engine = create_engine(read_url(url))

    def begin(self, number: int) -> None:
        self.rung.clear()

    def pass_time(self, feed: str, seconds: float) -> None:
        earlier = (
            update(feeds).where(feeds.c.name == feed).values(lease_ends=feeds.c.lease_ends - round(seconds * 1000))
        )
        with self._engine.begin() as connection:
            connection.execute(earlier)

    def close(self) -> None:
        self._engine.dispose()
        self.journal.close()


@pytest.mark.parametrize("name", [*REDIS, *SQL])
def test_a_task_goes_through_its_states_as_the_oracle_says(
    name: str, make_backend: Callable[[str], Backend], make_settings: Callable[..., Settings]
) -> None:
    backend = make_backend(name)
    if isinstance(backend, RedisBackend):
        store: RedisStore | SqlStore = RedisStore(backend)
    else:
        store = SqlStore(backend.url, make_settings(backend.url, lease=LEASE, journal_timeout=10.0))
    try:
        run_state_machine_as_test(machine_on(store), settings=PACE)
    finally:
        store.close()

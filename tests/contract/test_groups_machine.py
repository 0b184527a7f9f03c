"""Groups on real servers: the state machine of `tests/unit`, with few examples on each."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import create_engine, select, update

from petiole.journal import Journal
from petiole.journal.sql.schema import children, feeds
from petiole.journal.sql.url import read_url
from tests.contract.backends import Backend, RedisBackend
from tests.contract.conftest import REDIS, SQL
from tests.unit.group_machine import LEASE, machine_on
from tests.unit.test_group_machine import PACE

pytestmark = pytest.mark.slow


class RedisStore:
    """`end_leases` moves the leases, because a test can't move a server's clock."""

    def __init__(self, backend: RedisBackend) -> None:
        self.journal: Journal = backend.make()
        self._client = backend.server.client()

    def begin(self) -> None:
        pass

    def end_leases(self, feed: str) -> None:
        leases = self.journal._names.child(feed, "alive")
        for number in self._client.zrange(leases, 0, -1):
            self._client.zincrby(leases, -round((LEASE + 1) * 1000), number)

    def ring(self) -> None:
        pass

    def close(self) -> None:
        self._client.close()


class SqlStore:
    """Like `RedisStore`."""

    def __init__(self, backend: Backend) -> None:
        self.journal: Journal = backend.make()
        self._engine = create_engine(read_url(backend.url))

    def begin(self) -> None:
        pass

    def end_leases(self, feed: str) -> None:
        own = children.c.feed.in_(select(feeds.c.id).where(feeds.c.name == feed))
        earlier = children.c.lease_ends - round((LEASE + 1) * 1000)
        with self._engine.begin() as connection:
            connection.execute(update(children).where(own).values(lease_ends=earlier))

    def ring(self) -> None:
        pass

    def close(self) -> None:
        self._engine.dispose()


@pytest.mark.parametrize("name", [*REDIS, *SQL])
def test_a_group_on_a_server_goes_by_the_rules(name: str, make_backend: Callable[[str], Backend]) -> None:
    backend = make_backend(name)
    store = RedisStore(backend) if isinstance(backend, RedisBackend) else SqlStore(backend)
    try:
        run_state_machine_as_test(
            machine_on(store), settings=settings(PACE, max_examples=60, database=None, phases=[Phase.generate])
        )
    finally:
        store.close()

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from petiole.journal import Journal
from petiole.settings import Settings
from tests.conftest import VARIANTS
from tests.contract.backends import Backend, ManyServersBackend, MemoryBackend, RedisBackend, SqlBackend
from tests.support.redis import RedisServer

REDIS = tuple(f"redis-{variant}" for variant in VARIANTS)
MANY_SERVERS = ("cluster-system", "sentinel")
SQL = ("sqlite", "postgresql")


@pytest.fixture
def make_backend(
    make_settings: Callable[..., Settings],
    redis_servers: Callable[[str], RedisServer],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> Iterator[Callable[[str], Backend]]:
    """`make_backend("sqlite")`: the backend of that name, on the session's server or the test's own file."""
    made: list[Backend] = []

    def make(name: str) -> Backend:
        kind, _, variant = name.partition("-")
        match kind:
            case "memory":
                backend: Backend = MemoryBackend(make_settings)
            case "redis":
                backend = RedisBackend(make_settings, redis_servers(variant), name)
            case "cluster":
                url = request.getfixturevalue("redis_clusters")(variant).url
                backend = ManyServersBackend(make_settings, url, name)
            case "sentinel":
                backend = ManyServersBackend(make_settings, request.getfixturevalue("redis_sentinels").url, name)
            case "sqlite":
                backend = SqlBackend(make_settings, f"sqlite:///{tmp_path}/journal.sqlite", name)
            case _:
                backend = SqlBackend(make_settings, request.getfixturevalue("postgresql_url"), name)
        made.append(backend)
        return backend

    yield make
    for backend in made:
        backend.close()


@pytest.fixture(params=["memory", *REDIS, *MANY_SERVERS, *SQL])
def backend(request: pytest.FixtureRequest, make_backend: Callable[[str], Backend]) -> Backend:
    return make_backend(request.param)


@pytest.fixture(params=REDIS)
def redis_backend(request: pytest.FixtureRequest, make_backend: Callable[[str], Backend]) -> Backend:
    """For tests of Redis alone."""
    return make_backend(request.param)


@pytest.fixture(params=SQL)
def sql_backend(request: pytest.FixtureRequest, make_backend: Callable[[str], Backend]) -> Backend:
    """For tests of a database alone."""
    return make_backend(request.param)


@pytest.fixture(params=[*REDIS, *MANY_SERVERS, *SQL])
def server_backend(request: pytest.FixtureRequest, make_backend: Callable[[str], Backend]) -> Backend:
    """For tests that a journal in memory can't pass: it ends with its process."""
    return make_backend(request.param)


@pytest.fixture
def journal(backend: Backend) -> Journal:
    return backend.make()

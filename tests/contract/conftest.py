from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from petiole.journal import Journal
from petiole.settings import Settings
from tests.conftest import VARIANTS
from tests.contract.backends import Backend, MemoryBackend, RedisBackend
from tests.services import RedisServer


@pytest.fixture(params=["memory", "redis-bundled", "redis-system"])
def backend(
    request: pytest.FixtureRequest,
    make_settings: Callable[..., Settings],
    redis_servers: Callable[[str], RedisServer],
) -> Iterator[Backend]:
    kind, _, variant = request.param.partition("-")
    made: Backend = (
        MemoryBackend(make_settings)
        if kind == "memory"
        else RedisBackend(make_settings, redis_servers(variant), request.param)
    )
    yield made
    made.close()


@pytest.fixture(params=VARIANTS)
def redis_backend(
    request: pytest.FixtureRequest,
    make_settings: Callable[..., Settings],
    redis_servers: Callable[[str], RedisServer],
) -> Iterator[RedisBackend]:
    """For what a journal in memory doesn't have: it forgets with its process, and its list is its feeds."""
    made = RedisBackend(make_settings, redis_servers(request.param), f"redis-{request.param}")
    yield made
    made.close()


@pytest.fixture
def journal(backend: Backend) -> Journal:
    return backend.make()

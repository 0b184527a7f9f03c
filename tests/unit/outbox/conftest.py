"""Journals with faults that an outbox writes to."""

from __future__ import annotations

import pytest

from petiole.journal.redis.journal import RedisJournal
from tests.conftest import VARIANTS
from tests.support.memory_journal import MemoryJournal
from tests.support.redis import RedisServer
from tests.unit.runs import (
    Faults,
)


@pytest.fixture(params=["memory", "memory that begins", "redis"])
def journal(request, make_settings, redis_servers):
    if request.param != "redis":
        return Faults(MemoryJournal(make_settings()), begins=request.param != "memory")
    return Faults(RedisJournal(make_settings(redis_servers(VARIANTS[0]).url)))


@pytest.fixture(params=[False, True], ids=["memory", "memory that begins"])
def memory(request, make_settings):
    return Faults(MemoryJournal(make_settings()), begins=request.param)


@pytest.fixture(params=VARIANTS)
def server(request, redis_binaries, tmp_path):
    made = RedisServer(redis_binaries(request.param), tmp_path / "redis")
    made.start()
    yield made
    made.kill()

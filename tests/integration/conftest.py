from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import any_redis_binary
from tests.support.demo import DATABASE
from tests.support.redis import RedisServer
from tests.support.system import System, running


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the module's own Redis."""
    server = RedisServer(any_redis_binary(), tmp_path_factory.mktemp("redis"), append_only=False)
    server.start()
    yield server.url
    server.kill()


@pytest.fixture(scope="session")
def shared_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running(tmp_path_factory.mktemp("system")) as system:
        yield system


@pytest.fixture
def system(shared_system: System, request: pytest.FixtureRequest) -> Iterator[System]:
    """The session's system; a failed test prints the processes' output."""
    began = len(shared_system.log)
    yield shared_system
    while shared_system.clients:
        shared_system.clients.pop().close()
    print("\n".join(shared_system.log[began:][-200:]))


@pytest.fixture
def own_system(tmp_path: Path) -> Iterator[System]:
    """The test's own system, for faults that mustn't affect other tests."""
    with running(tmp_path) as system:
        yield system
        print("\n".join(system.log[-200:]))


@pytest.fixture(scope="session")
def demo_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's database, built once."""
    from petiole.demo.data import build_database

    path = tmp_path_factory.mktemp("database") / DATABASE
    build_database(path)
    return path


@pytest.fixture
def demo_directory(demo_database: Path, tmp_path: Path) -> Path:
    """A directory for `petiole demo` that has the database already."""
    directory = tmp_path / "demo"
    directory.mkdir()
    os.link(demo_database, directory / DATABASE)
    return directory

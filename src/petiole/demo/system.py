"""The whole demo: its backbone, worker and web server, each in its own process."""

from __future__ import annotations

import errno
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import requests

from petiole.celery_urls import CeleryUrls
from petiole.demo.backbones import READY_TIMEOUT, Backbone, choose_backbone
from petiole.demo.data import TABLES, build_database
from petiole.demo.workers import Workers
from petiole.errors import SetupError
from petiole.exports.database import Database
from petiole.exports.settings import ExportSettings
from petiole.exports.sources import open_source
from petiole.servers.lock import locked
from petiole.servers.processes import Process, Processes, Say
from petiole.servers.secret import kept_secret
from petiole.settings import Settings

TASKS_PER_WORKER: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of `petiole demo`."""

    host: str
    port: int
    workers: int
    directory: Path
    backbone: str
    redis_url: str | None
    database_url: str | None
    rows_per_second: float


@dataclass(frozen=True, slots=True)
class System:
    """The running demo."""

    url: str
    database: Database
    processes: Processes
    workers: Workers
    started: tuple[str, ...]


@contextmanager
def running(options: Options, say: Say) -> Iterator[System]:
    """Start everything, and stop it at the end of the block, however that ends.

    Raises:
        SetupError: something is missing, in use or not allowed; or a process died.
    """
    # Refused here, before the database is built and every process reports the same error.
    Settings.load(celery=CeleryUrls(broker_url="redis://"))
    ExportSettings.load()
    port = _claim_port(options.host, options.port)
    backbone = choose_backbone(options.backbone, redis_url=options.redis_url)
    backbone.check()
    given = _read_database_url(options.database_url)
    with _prepared(options.directory, given) as (database, lock):
        processes = Processes(say, servers=lock)
        try:
            yield _start(options, backbone, processes, database, port)
        finally:
            processes.stop()


def watch_over(system: System) -> None:
    """Wait until one of the processes dies, and serve the page's requests to kill workers meanwhile.

    Raises:
        SetupError: it did.
    """
    while True:
        system.workers.attend()
        system.processes.check()
        time.sleep(0.2)


def _start(options: Options, backbone: Backbone, processes: Processes, database: Database, port: int) -> System:
    started: list[str] = []
    environment = backbone.start(processes, options.directory, started) | _environment(options, database)
    web = processes.start(
        "web",
        [
            *(sys.executable, "-m", "gunicorn", "--config", "python:petiole.demo.gunicorn_conf"),
            *("--bind", f"{_bracket(options.host)}:{port}", "petiole.demo.app:create_app()"),
        ],
        environment=environment,
    )

    def start_worker(index: int) -> Process:
        return processes.start(
            f"worker{index + 1}" if options.workers > 1 else "worker",
            [
                *(sys.executable, "-m", "celery", "-A", "petiole.demo.celery_app", "worker"),
                *("--pool", "prefork", "--concurrency", str(TASKS_PER_WORKER), "--loglevel", "INFO"),
                *("--hostname", f"demo{index + 1}@%h", "--without-gossip", "--without-mingle"),
            ],
            environment=environment,
            ready_line=" ready.",
        )

    workers = Workers(processes, options.directory, [partial(start_worker, index) for index in range(options.workers)])
    url = f"http://{_reachable(options.host)}:{port}"
    processes.wait_ready(web, timeout=READY_TIMEOUT, condition=lambda: _answers(url))
    for worker in workers.running:
        processes.wait_ready(worker, timeout=READY_TIMEOUT)
    started.append(f"worker ×{options.workers}: Celery, prefork, {TASKS_PER_WORKER} tasks at a time")
    started.append("web: gunicorn, gevent with gevent-websocket")
    started.append(f"database: {database}")
    return System(url, database, processes, workers, tuple(started))


@contextmanager
def _prepared(directory: Path, given: Database | None) -> Iterator[tuple[Database, int]]:
    """Prepare the directory, its secret and the database, and lock it against other demos; yields the servers' lock too."""
    with ExitStack() as stack:
        path = directory / "nycflights13.sqlite"
        try:
            lock = stack.enter_context(locked(directory))
            kept_secret(directory / "secret")
            if given is None:
                build_database(path)
            else:
                from petiole.demo.postgres_data import fill_database

                fill_database(given)
        except OSError as error:
            raise _unusable(directory, error.strerror or str(error)) from error
        except sqlite3.Error as error:
            raise _unusable(directory, str(error)) from error
        yield given or Database(path=path), lock


def _read_database_url(url: str | None) -> Database | None:
    if url is None:
        return None
    if not url.lower().startswith("postgresql://"):
        raise SetupError(
            "--database-url isn't a URL of PostgreSQL. Give it as postgresql://user:password@host:5432/name."
        )
    database = Database.parse(url, name="--database-url")
    # Refused here if the driver isn't installed, not later by a worker.
    open_source(database)
    return database


def _unusable(directory: Path, reason: str) -> SetupError:
    return SetupError(f"{directory} can't be used ({reason}). Choose another directory with --directory.")


def _environment(options: Options, database: Database) -> dict[str, str]:
    return {
        "FLASK_DEMO_DIRECTORY": str(options.directory),
        "FLASK_SECRET_KEY": kept_secret(options.directory / "secret"),
        "PETIOLE_EXPORTS_DATABASE": database.url or str(database),
        # A given database may have more tables, which not every visitor of the demo may see.
        "PETIOLE_EXPORTS_TABLES": ",".join(TABLES),
        "PETIOLE_EXPORTS_DIRECTORY": str(options.directory / "exports"),
        "PETIOLE_EXPORTS_ROWS_PER_SECOND": str(options.rows_per_second),
    }


def _claim_port(host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reasons = {errno.EADDRINUSE: "is in use", errno.EACCES: "needs more rights than this user has"}
            reason = reasons.get(error.errno or 0, f"can't be used ({error})")
            raise SetupError(
                f"{host}:{port} {reason}. Choose another with --port (0: any free one) or --host."
            ) from None
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with requests.Session() as session:
            session.trust_env = False  # never by a proxy
            return session.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, _bracket(host))


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host

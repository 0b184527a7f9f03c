"""A real system for the integration tests: redis-server, Celery worker and web server in separate processes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import redis
import requests

from petiole.client import TaskClient
from petiole.servers.processes import Process, Processes
from petiole.servers.redis import find_redis_server, free_port, redis_command
from tests.support.freezing import freeze, group, thaw

ROOT = Path(__file__).parents[2]
READY = 30.0


@dataclass
class System:
    directory: Path
    processes: Processes
    redis_port: int
    web_port: int
    redis_process: Process | None
    worker: Process | None
    web: Process
    environment: Mapping[str, str]
    log: list[str] = field(default_factory=list)
    clients: list[TaskClient] = field(default_factory=list)
    gates: Iterator[int] = field(default_factory=count)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.web_port}"

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.redis_port}/0"

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.redis_url, socket_timeout=2)

    def session(self, person: str | None = None) -> requests.Session:
        """A browser's session: of a logged-in user, or anonymous."""
        session = requests.Session()
        if person is not None:
            session.headers["X-Person"] = person
        session.get(self.url, timeout=5).raise_for_status()
        return session

    def client(self, person: str | None = None, *, session: requests.Session | None = None) -> TaskClient:
        client = TaskClient(self.url, session=session or self.session(person))
        self.clients.append(client)
        return client

    def gate(self, name: str) -> Path:
        """A file that doesn't exist yet, for a task to wait for; another one at each call, since a system is shared."""
        return self.directory / f"gate-{next(self.gates)}-{name}"

    def kill_redis(self) -> None:
        os.kill(self.redis_process.popen.pid, signal.SIGKILL)
        self.redis_process.popen.wait(5)
        self.processes.forget(self.redis_process)

    def start_redis(self) -> None:
        self.redis_process = start_redis(self.processes, self.redis_port, self.directory)

    def kill_web(self) -> None:
        """Kill the web server and its worker process."""
        os.killpg(self.web.popen.pid, signal.SIGKILL)
        self.web.popen.wait(5)
        self.processes.forget(self.web)

    def start_web(self) -> None:
        self.web = start_web(self.processes, self.environment, self.web_port)
        wait_for_web(self.processes, self.web, self.url)

    def kill_worker(self) -> None:
        """Kill the worker and its pool, as the kernel does when it runs out of memory."""
        os.killpg(self.worker.popen.pid, signal.SIGKILL)
        self.worker.popen.wait(5)
        self.processes.forget(self.worker)

    def freeze_worker(self) -> None:
        freeze(group(self.worker.popen.pid))

    def thaw_worker(self) -> None:
        thaw(group(self.worker.popen.pid))

    def start_worker(self, name: str) -> Process:
        worker = start_worker(self.processes, self.environment, name=name)
        self.processes.wait_ready(worker, timeout=READY)
        return worker

    def log_size(self) -> int:
        """The number of lines that the processes have printed so far."""
        return len(self.log)

    def said(self, text: str) -> bool:
        """Whether a process has printed this."""
        return any(text in line for line in self.log)


def start_worker(
    processes: Processes,
    environment: Mapping[str, str],
    *,
    pool: str = "prefork",
    name: str = "worker",
    options: Sequence[str] = (),
) -> Process:
    return processes.start(
        name,
        [
            *(sys.executable, "-m", "celery", "-A", "tests.apps.worker_app", "worker"),
            *("--pool", pool, "--concurrency", "2", "--loglevel", "INFO", "--hostname", f"{name}@%h"),
            *("--without-gossip", "--without-mingle", *options),
        ],
        environment=environment,
        directory=ROOT,
        ready_line=" ready.",
    )


def start_redis(processes: Processes, port: int, directory: Path) -> Process:
    process = processes.start("redis", redis_command(find_redis_server(), port=port, directory=directory / "redis"))

    def answers() -> bool:
        try:
            with redis.Redis(port=port, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    processes.wait_ready(process, timeout=READY, condition=answers)
    return process


def start_web(processes: Processes, environment: Mapping[str, str], port: int) -> Process:
    return processes.start(
        "web",
        [
            *(sys.executable, "-m", "gunicorn", "--config", "python:petiole.demo.gunicorn_conf"),
            *("--bind", f"127.0.0.1:{port}", "tests.apps.web_app:create_app()"),
        ],
        environment=environment,
        directory=ROOT,
    )


def wait_for_web(processes: Processes, web: Process, url: str) -> None:
    def answers() -> bool:
        try:
            return requests.get(url, timeout=2).ok
        except requests.RequestException:
            return False

    processes.wait_ready(web, timeout=READY, condition=answers)


@contextmanager
def running(
    directory: Path,
    *,
    pool: str = "prefork",
    workers: int = 1,
    settings: Mapping[str, str] | None = None,
    redis_port: int | None = None,
    of_workers: Mapping[str, str] | None = None,
    of_web: Mapping[str, str] | None = None,
) -> Iterator[System]:
    """Run all of them; with another `CELERY_BROKER_URL` in `settings` there is no Redis.

    `of_workers` and `of_web` are settings of these processes alone.
    """
    log: list[str] = []
    processes = Processes(lambda name, line: log.append(f"{name}: {line}"))
    redis_port, web_port = redis_port or free_port(), free_port()
    environment = {
        "CELERY_BROKER_URL": f"redis://127.0.0.1:{redis_port}/0",
        "PETIOLE_HEAD_CHECK": "1",
        "PETIOLE_HEARTBEAT": "1",
        "PYTHONPATH": str(ROOT),
        **(settings or {}),
    }
    system = None
    try:
        own_broker = "CELERY_BROKER_URL" in (settings or {})
        redis_process = None if own_broker else start_redis(processes, redis_port, directory)
        own = {**environment, **(of_workers or {})}
        started = [start_worker(processes, own, pool=pool, name=f"worker{n + 1}") for n in range(workers)]
        web = start_web(processes, {**environment, **(of_web or {})}, web_port)
        worker = next(iter(started), None)
        system = System(directory, processes, redis_port, web_port, redis_process, worker, web, environment, log)
        wait_for_web(processes, web, system.url)
        for worker in started:
            processes.wait_ready(worker, timeout=READY)
        yield system
    except BaseException:
        print("\n".join(log[-200:]))
        raise
    finally:
        for client in system.clients if system else ():
            client.close()
        processes.stop()
        (directory / "system.log").write_text("\n".join(log))

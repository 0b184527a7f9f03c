"""The system of a fault run: Redis, two workers and two web processes, with a fault proxy before each side's journal."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis
import requests

from chaos.browsers import Browser
from chaos.proxy import FaultProxy
from petiole.demo.processes import Process, Processes
from petiole.demo.redis_server import free_port, redis_command

ROOT = Path(__file__).parents[1]
READY = 30.0


@dataclass
class System:
    """What a scenario may break."""

    directory: Path
    binary: str
    processes: Processes
    redis_port: int
    worker_side: FaultProxy
    web_side: FaultProxy
    environment: dict[str, str]
    redis_process: Process
    webs: dict[int, Process] = field(default_factory=dict)
    workers: list[Process] = field(default_factory=list)
    browsers: list[Browser] = field(default_factory=list)

    def redis(self) -> redis.Redis:
        return redis.Redis(port=self.redis_port, socket_timeout=5)

    def start_redis(self) -> None:
        command = redis_command(self.binary, port=self.redis_port, directory=self.directory / "redis")
        self.redis_process = self.processes.start("redis", command)
        self.processes.wait_ready(self.redis_process, timeout=READY, condition=lambda: _pings(self.redis_port))

    def kill_redis(self) -> None:
        self._kill(self.redis_process, signal.SIGKILL)

    def pause_redis(self) -> None:
        os.kill(self.redis_process.popen.pid, signal.SIGSTOP)

    def resume_redis(self) -> None:
        os.kill(self.redis_process.popen.pid, signal.SIGCONT)

    def start_web(self, port: int) -> None:
        web = self.processes.start(
            "web",
            [
                *(sys.executable, "-m", "gunicorn", "--config", "python:petiole.demo.gunicorn_conf"),
                *("--bind", f"127.0.0.1:{port}", "chaos.web:create_app()"),
            ],
            environment=self.environment | {"PETIOLE_JOURNAL_URL": f"redis://127.0.0.1:{self.web_side.port}/0"},
            directory=ROOT,
        )
        self.webs[port] = web
        self.processes.wait_ready(web, timeout=READY, condition=lambda: _answers(port))

    def kill_web(self, port: int) -> None:
        self._kill(self.webs[port], signal.SIGKILL)

    def start_worker(self, number: int) -> None:
        worker = self.processes.start(
            f"worker{number}",
            [
                *(sys.executable, "-m", "celery", "-A", "chaos.tasks", "worker", "--loglevel", "WARNING"),
                *("--concurrency", "4", "--hostname", f"chaos{number}@%h", "--without-gossip", "--without-mingle"),
            ],
            environment=self.environment | {"PETIOLE_JOURNAL_URL": f"redis://127.0.0.1:{self.worker_side.port}/0"},
            directory=ROOT,
        )
        self.workers.append(worker)

    def said(self) -> dict[int, list[int]]:
        """What each task said, by its own account."""
        said = {}
        for path in self.directory.glob("history/task-*.jsonl"):
            number = int(path.stem.removeprefix("task-"))
            said[number] = [json.loads(line)["said"] for line in path.read_text().splitlines()]
        return said

    def _kill(self, process: Process, number: int) -> None:
        os.killpg(process.popen.pid, number)
        process.popen.wait(10)
        self.processes.forget(process)


@contextmanager
def running(
    directory: Path, binary: str, *, without: str = "", settings: Mapping[str, str] | None = None
) -> Iterator[System]:
    """Start everything on free ports, and stop what was started."""
    (directory / "history").mkdir(parents=True)
    log = (directory / "system.log").open("a", buffering=1)
    processes = Processes(lambda name, line: print(f"{name}: {line}", file=log))
    redis_port = free_port()
    worker_side, web_side = FaultProxy(redis_port), FaultProxy(redis_port)
    environment = {
        "CELERY_BROKER_URL": f"redis://127.0.0.1:{redis_port}/0",
        "CHAOS_HISTORY": str(directory / "history"),
        "CHAOS_WITHOUT": without,
        **(settings or {}),
    }
    try:
        command = redis_command(binary, port=redis_port, directory=directory / "redis")
        server = processes.start("redis", command)
        processes.wait_ready(server, timeout=READY, condition=lambda: _pings(redis_port))
        system = System(directory, binary, processes, redis_port, worker_side, web_side, environment, server)
        for number in (1, 2):
            system.start_worker(number)
        for port in (free_port(), free_port()):
            system.start_web(port)
        yield system
    finally:
        for browser in system.browsers:
            browser.client.close()
        processes.stop()
        worker_side.close()
        web_side.close()
        log.close()


def wait_until(condition: Callable[[], bool], *, what: str, timeout: float) -> None:
    """Poll until `condition` holds.

    Raises:
        TimeoutError: it doesn't within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:.0f} s: {what}")
        time.sleep(0.02)


def _pings(port: int) -> bool:
    try:
        with redis.Redis(port=port, socket_timeout=1) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}", timeout=2).ok
    except requests.RequestException:
        return False

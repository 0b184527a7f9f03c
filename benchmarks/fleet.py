"""The deployment for measurements at scale: a Redis, several web processes, many workers, many browsers."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import psutil
import redis
import requests

from benchmarks.site import LONG, READY, ROOT, answers, family, pings
from petiole.journal.redis.journal import RedisJournal
from petiole.protocol.events import Draft, task_feed
from petiole.servers.processes import Process, Processes
from petiole.servers.redis import find_redis_server, free_port, redis_command
from petiole.settings import Settings

# How many workers start at once: each first computes for about a second.
BATCH: Final = 5
STARTERS: Final = 6


@dataclass(frozen=True)
class Used:
    """The usage between two instants: seconds of CPU of all processes of a kind, and Redis's input and output."""

    seconds: float
    web: float
    redis: float
    workers: float
    browsers: float
    commands: float
    bytes_in: float
    bytes_out: float

    def busy(self, kind: str) -> float:
        """Return the busy cores of a kind."""
        return float(getattr(self, kind)) / self.seconds


@dataclass(frozen=True)
class _Mark:
    at: float
    web: float
    redis: float
    workers: float
    info: dict[str, Any]


class Watchers:
    """A process of browsers, each given as address and feeds."""

    def __init__(self, browsers: Sequence[tuple[str, Sequence[str]]], *, swallow: int = 0, reads: bool = True) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.watchers"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._say(json.dumps({"browsers": browsers, "swallow": swallow, "reads": reads}))
        if (line := self._line()) != "ready":
            raise RuntimeError(f"The browsers couldn't join: {line}")

    def ask(self, word: str) -> dict[str, Any]:
        """Send `mark`, `count`, `delays` or `end`, and return the answer."""
        self._say(word)
        answer: dict[str, Any] = json.loads(self._line())
        if word == "end":
            self.process.communicate()
        return answer

    def close(self) -> None:
        """End the browsers; may be called more than once."""
        self.process.kill()
        self.process.wait()

    def _say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@dataclass
class Fleet:
    """The processes of one deployment on this machine."""

    redis_port: int
    processes: Processes
    redis_process: Process
    webs: list[Process]
    urls: list[str]
    workers: list[Process] = field(default_factory=list)
    _fed: int = 0

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.redis_port}/0"

    @contextmanager
    def journal(self) -> Iterator[RedisJournal]:
        journal = RedisJournal(Settings(journal_url=self.redis_url))
        try:
            yield journal
        finally:
            journal.close()

    def start_workers(self, number: int) -> None:
        """Start so many workers, a batch at a time, each one Celery process that runs one task at a time."""
        while len(self.workers) < number:
            batch = []
            for index in range(len(self.workers), min(len(self.workers) + BATCH, number)):
                worker = self.processes.start(
                    f"worker {index}",
                    [
                        *(sys.executable, "-m", "celery", "-A", "benchmarks.teller", "worker", "--pool", "solo"),
                        *("--loglevel", "INFO", "--hostname", f"worker{index:03}@%h"),
                        *("--without-gossip", "--without-mingle"),
                    ],
                    environment={"CELERY_BROKER_URL": self.redis_url},
                    directory=ROOT,
                    ready_line=" ready.",
                )
                batch.append(worker)
            for worker in batch:
                self.processes.wait_ready(worker, timeout=READY)
            self.workers += batch

    def start_tasks(self, number: int, arguments: Sequence[object]) -> list[str]:
        """Start tasks through the web processes in turn, as a page does, and return their feeds."""
        turn = cycle(self.urls)
        addresses = [f"{next(turn)}/start/tell" for _ in range(number)]

        def start(mine: Sequence[str]) -> list[str]:
            with requests.Session() as session:
                feeds = []
                for address in mine:
                    answer = session.post(address, json=list(arguments), timeout=30)
                    answer.raise_for_status()
                    feeds.append(task_feed(answer.json()["id"]))
                return feeds

        with ThreadPoolExecutor(STARTERS) as pool:
            parts = pool.map(start, [addresses[at::STARTERS] for at in range(STARTERS)])
            return [feed for part in parts for feed in part]

    def open_feeds(self, number: int) -> list[str]:
        """Return new feeds, open and claimed, without a worker."""
        names = [task_feed(f"{index:07}") for index in range(self._fed, self._fed + number)]
        self._fed += number
        with self.journal() as journal:
            for name in names:
                journal.open(name, owner="user:reader", draft=Draft("state", {"state": "queued", "title": "Export"}))
                running = Draft("state", {"state": "running"})
                journal.claim(name, running, worker="feeder", delivery=name, retries=0, lease=LONG)
        return names

    def spread(self, feeds: Sequence[str], browsers: int) -> list[tuple[str, list[str]]]:
        """Return browsers, each with its address and its feeds: all feeds distributed over all web processes."""
        turn = cycle(self.urls)
        return [(next(turn), list(feeds[at::browsers])) for at in range(browsers)]

    def mark(self) -> _Mark:
        with redis.Redis(port=self.redis_port) as client:
            info = client.info("stats")
        web = sum(cpu_of(one) for one in self.webs)
        workers = sum(cpu_of(one) for one in self.workers)
        return _Mark(time.monotonic(), web, cpu_of(self.redis_process), workers, info)

    def used(self, since: _Mark, *, browsers: float = 0.0) -> Used:
        """Return the usage since a mark."""
        end = self.mark()
        return Used(
            seconds=end.at - since.at,
            web=end.web - since.web,
            redis=end.redis - since.redis,
            workers=end.workers - since.workers,
            browsers=browsers,
            commands=end.info["total_commands_processed"] - since.info["total_commands_processed"],
            bytes_in=end.info["total_net_input_bytes"] - since.info["total_net_input_bytes"],
            bytes_out=end.info["total_net_output_bytes"] - since.info["total_net_output_bytes"],
        )

    def idle(self, seconds: float) -> Used:
        """Return the idle usage over so long."""
        begun = self.mark()
        time.sleep(seconds)
        return self.used(begun)

    def redis_memory(self) -> float:
        """Return Redis's memory in bytes."""
        with redis.Redis(port=self.redis_port) as client:
            return float(client.info("memory")["used_memory"])


def cpu_of(process: Process) -> float:
    """Return the seconds of CPU that a process and its children have used.

    By Linux's clock of each process, in nanoseconds (`man clock_getcpuclockid`): `/proc` counts in hundredths of a second,
    which is more than some of them use in a second.
    """
    return sum(time.clock_gettime((~one.pid << 3) | 2) for one in family(process))


def memory_of(processes: Sequence[Process]) -> float:
    """Return the memory of processes and their children in bytes, shared memory counted proportionally."""
    return float(sum(one.memory_full_info().pss for process in processes for one in family(process)))


def memory_of_one(process_id: int) -> float:
    """Return the memory of one process in bytes, shared memory counted proportionally."""
    return float(psutil.Process(process_id).memory_full_info().pss)


@contextmanager
def fleet(*, webs: int, settings: dict[str, str] | None = None) -> Iterator[Fleet]:
    """Start Redis and web processes on free ports; at the end stop them and everything started since."""
    with tempfile.TemporaryDirectory() as directory:
        processes = Processes(lambda _name, _line: None)
        try:
            redis_port = free_port()
            command = redis_command(find_redis_server(), port=redis_port, directory=Path(directory))
            server = processes.start("redis", command)
            processes.wait_ready(server, timeout=READY, condition=lambda: pings(redis_port))
            started = Fleet(redis_port, processes, server, [], [])
            for number in range(webs):
                address = f"127.0.0.1:{free_port()}"
                web = processes.start(
                    f"web {number}",
                    [
                        *(sys.executable, "-m", "gunicorn", "--config", "python:petiole.demo.gunicorn_conf"),
                        *("--worker-connections", "20000", "--bind", address, "benchmarks.web:create_petiole()"),
                    ],
                    environment={
                        "CELERY_BROKER_URL": started.redis_url,
                        "PETIOLE_CONNECTIONS_PER_OWNER": "100000",
                        **(settings or {}),
                    },
                    directory=ROOT,
                )
                started.webs.append(web)
                started.urls.append(f"http://{address}")
            for web, url in zip(started.webs, started.urls, strict=True):
                processes.wait_ready(web, timeout=READY, condition=lambda url=url: answers(url))  # type: ignore[misc]
            yield started
        finally:
            processes.stop()

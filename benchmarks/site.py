"""The site of a measurement: a Redis, one web process of one of the rivals, its browsers, and their feeder."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
import redis
import requests

from petiole.journal.redis.journal import RedisJournal
from petiole.protocol.events import Draft, task_feed
from petiole.servers.processes import Process, Processes
from petiole.servers.redis import find_redis_server, free_port, redis_command
from petiole.settings import Settings

ROOT: Final = Path(__file__).parents[1]
READY: Final = 60.0
RIVALS: Final = ("petiole", "plain")
LONG: Final = 86400.0


@dataclass(frozen=True)
class Load:
    """Measurements of browsers: milliseconds from emit call to arrival, and the load of each process (share of a core)."""

    sent: int
    delays: list[float]
    # For each event, when its last browser had it.
    last: list[float]
    seconds: float
    web: float
    redis: float
    feeder: float
    browsers: float

    @property
    def p50(self) -> float:
        return quantile(self.delays, 0.5)

    @property
    def p99(self) -> float:
        return quantile(self.delays, 0.99)

    @property
    def web_microseconds(self) -> float:
        """CPU of the web process for each delivered event."""
        return self.web * self.seconds * 1e6 / max(len(self.delays), 1)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which this `share` of them is; infinity if there are none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else float("inf")


class Browsers:
    """A process with one browser for each room, all of them at one web process."""

    def __init__(self, kind: str, url: str, rooms: Sequence[str]) -> None:
        self.rooms = list(rooms)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.browsers", kind, url, *rooms],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._line() != "ready":
            raise RuntimeError(f"The browsers of {kind} couldn't connect.")

    def report(self, *, upto: int | None = None) -> dict[str, Any]:
        """Return the arrivals since the previous report.

        With `upto`, an instant: how many browsers are `behind`, lacking earlier events, and when the last one caught up.
        """
        assert self._process.stdin is not None
        self._process.stdin.write("\n" if upto is None else f"{upto}\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._line())
        return answer

    def close(self) -> None:
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@dataclass
class Site:
    """One rival, with its own Redis."""

    kind: str
    redis_port: int
    url: str
    processes: Processes
    redis_process: Process
    web: Process
    directory: Path
    _fed: int = field(default=0)

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.redis_port}/0"

    def start_redis(self) -> None:
        """Start the server again, with its port and its files, and wait until it answers."""
        command = redis_command(find_redis_server(), port=self.redis_port, directory=self.directory)
        self.redis_process = self.processes.start("redis", command)
        self.processes.wait_ready(self.redis_process, timeout=READY, condition=lambda: pings(self.redis_port))

    def rooms(self, number: int) -> list[str]:
        """Return so many new rooms: for Petiole feeds, open and claimed."""
        self._fed += number
        names = [task_feed(f"{index:06}") for index in range(self._fed - number, self._fed)]
        if self.kind == "petiole":
            journal = RedisJournal(Settings(journal_url=self.redis_url))
            for name in names:
                journal.open(name, owner="user:reader", draft=Draft("state", {"state": "queued", "title": "Export"}))
                running = Draft("state", {"state": "running"})
                journal.claim(name, running, worker="feeder", delivery=name, retries=0, lease=LONG)
            journal.close()
        return names

    def browsers(self, rooms: Sequence[str]) -> Browsers:
        return Browsers(self.kind, self.url, rooms)

    def load(
        self, browsers: Browsers, *, rate: float, seconds: float, rooms: Sequence[str] | None = None, each: float = 1
    ) -> Load:
        """Send `rate` events a second for so long, to the browsers' rooms or to `rooms`.

        `each`: how many browsers should get each event; waits until all have it, for at most two seconds.
        """
        browsers.report()
        web, server = cpu_of(self.web), cpu_of(self.redis_process)
        begun = time.monotonic()
        wanted = list(dict.fromkeys(browsers.rooms if rooms is None else rooms))
        command = [
            sys.executable,
            "-m",
            "benchmarks.feeder",
            self.kind,
            self.redis_url,
            str(rate),
            str(seconds),
            *wanted,
        ]
        fed = json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
        expected = fed["sent"] * each
        delays: list[float] = []
        last: list[float] = []
        busy = 0.0
        deadline = time.monotonic() + 2.0
        while True:
            report = browsers.report()
            delays += report["delays"]
            last += report["last"]
            busy += report["cpu"]
            if len(delays) >= expected or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        return Load(
            sent=fed["sent"],
            delays=delays,
            last=last,
            seconds=fed["seconds"],
            web=(cpu_of(self.web) - web) / fed["seconds"],
            redis=(cpu_of(self.redis_process) - server) / (time.monotonic() - begun),
            feeder=fed["cpu"] / fed["seconds"],
            browsers=busy / fed["seconds"],
        )

    def memory(self) -> float:
        """Return the memory of the web process in bytes, shared memory counted proportionally."""
        return float(sum(process.memory_full_info().pss for process in family(self.web)))


def family(process: Process) -> list[psutil.Process]:
    """Return a process and all its descendants."""
    parent = psutil.Process(process.popen.pid)
    return [parent, *parent.children(recursive=True)]


def cpu_of(process: Process) -> float:
    """Return the seconds of CPU that a process and its children have used."""
    return sum(sum(one.cpu_times()[:2]) for one in family(process))


@contextmanager
def redis_server(directory: Path) -> Iterator[str]:
    """Start only a Redis, and return its URL."""
    processes = Processes(lambda _name, _line: None)
    try:
        port = free_port()
        server = processes.start("redis", redis_command(find_redis_server(), port=port, directory=directory))
        processes.wait_ready(server, timeout=READY, condition=lambda: pings(port))
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        processes.stop()


@contextmanager
def running(kind: str, *, settings: dict[str, str] | None = None) -> Iterator[Site]:
    """Start Redis and a web process on free ports, and stop them."""
    with tempfile.TemporaryDirectory() as directory:
        processes = Processes(lambda _name, _line: None)
        try:
            redis_port, web_port = free_port(), free_port()
            command = redis_command(find_redis_server(), port=redis_port, directory=Path(directory))
            server = processes.start("redis", command)
            processes.wait_ready(server, timeout=READY, condition=lambda: pings(redis_port))
            environment = {"CELERY_BROKER_URL": f"redis://127.0.0.1:{redis_port}/0", **(settings or {})}
            environment["PETIOLE_CONNECTIONS_PER_OWNER"] = "100000"
            # The rooms' leases: nobody renews them while the rival is measured, and a reaper shortens longer ones to its own.
            environment["PETIOLE_LEASE"] = str(LONG)
            web = processes.start(
                f"web of {kind}",
                [
                    *(sys.executable, "-m", "gunicorn", "--config", "python:petiole.demo.gunicorn_conf"),
                    *("--worker-connections", "20000"),
                    *("--bind", f"127.0.0.1:{web_port}", f"benchmarks.web:create_{kind}()"),
                ],
                environment=environment,
                directory=ROOT,
            )
            url = f"http://127.0.0.1:{web_port}"
            processes.wait_ready(web, timeout=READY, condition=lambda: answers(url))
            yield Site(kind, redis_port, url, processes, server, web, Path(directory))
        finally:
            processes.stop()


def answers(url: str) -> bool:
    """Return whether the web process answers."""
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def pings(port: int) -> bool:
    try:
        with redis.Redis(port=port, socket_timeout=1) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False

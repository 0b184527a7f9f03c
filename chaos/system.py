"""The system of a fault run: a backbone, two workers and two web processes."""

from __future__ import annotations

import os
import signal
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
import requests

from chaos.backbones import WEB, WORKER, Backbone, RabbitBackbone, RedisBackbone, ServerBackbone
from chaos.browsers import Browser
from chaos.checker import Said
from chaos.history import recorded
from chaos.light import LightBrowser
from chaos.proxy import FaultProxy
from chaos.resources import Resources, family, resources
from chaos.tables import DATABASE, FILES
from petiole.servers.processes import Process, Processes
from petiole.servers.redis import free_port
from tests.support.freezing import freeze, group, thaw

ROOT = Path(__file__).parents[1]
READY = 30.0


@dataclass
class System:
    """What a scenario may break."""

    directory: Path
    backbone: Backbone
    processes: Processes
    environment: dict[str, str]
    webs: dict[int, Process] = field(default_factory=dict)
    workers: dict[int, Process] = field(default_factory=dict)
    browsers: list[Browser] = field(default_factory=list)
    light: list[LightBrowser] = field(default_factory=list)
    # The clock offsets of web processes and workers, as their environment.
    clocks: dict[str, dict[str, str]] = field(default_factory=dict)
    # The tasks that were started, and their owners.
    started: list[tuple[str, str]] = field(default_factory=list)
    full: bool = False
    # The mechanism that this run's negative control switches off; empty in a normal run.
    without: str = ""
    # Findings of a fault for its scenario's own check.
    noted: dict[str, Any] = field(default_factory=dict)

    @property
    def worker_side(self) -> FaultProxy:
        """The proxy in front of the workers' journal."""
        return self.server().worker_journal

    @property
    def web_side(self) -> FaultProxy:
        """The proxy in front of the web processes' journal."""
        return self.server().web_journal

    def server(self) -> ServerBackbone:
        """Return the backbone of a run whose journal is a server."""
        assert isinstance(self.backbone, RedisBackbone | RabbitBackbone)
        return self.backbone

    def broker(self) -> redis.Redis:
        """Return a client of Celery's broker, on Redis."""
        assert isinstance(self.backbone, RedisBackbone)
        return self.backbone.broker()

    def redis(self) -> redis.Redis:
        """Return a client of the only server, in a run on Redis."""
        assert isinstance(self.backbone, RedisBackbone)
        return self.backbone.client()

    def rabbitmq(self) -> RabbitBackbone:
        """Return the backbone of a run on RabbitMQ, which can be broken in more ways than other backbones."""
        assert isinstance(self.backbone, RabbitBackbone)
        return self.backbone

    def start_web(self, port: int) -> None:
        web = self.processes.start(
            "web",
            [
                *(sys.executable, "-m", "gunicorn", "--config", "python:petiole.demo.gunicorn_conf"),
                *("--bind", f"127.0.0.1:{port}", "chaos.web:create_app()"),
            ],
            environment=self.environment | self.backbone.environment(WEB) | self.clocks.get("web", {}),
            directory=ROOT,
        )
        self.webs[port] = web
        self.processes.wait_ready(web, timeout=READY, condition=lambda: answers(port))

    def kill_web(self, port: int) -> None:
        self._kill(self.webs[port], signal.SIGKILL)

    def stop_web(self, port: int) -> None:
        """Stop a web process as an operator does."""
        web = self.webs[port]
        web.popen.terminate()
        web.popen.wait(READY)
        self.processes.forget(web)

    def start_worker(self, number: int) -> None:
        """Start a worker, without waiting until it is ready."""
        worker = self.processes.start(
            f"worker{number}",
            [
                *(sys.executable, "-m", "celery", "-A", "chaos.tasks", "worker", "--loglevel", "INFO"),
                *("--concurrency", "4", "--hostname", f"chaos{number}@%h", "--without-gossip", "--without-mingle"),
            ],
            environment=self.environment | self.backbone.environment(WORKER) | self.clocks.get(f"worker{number}", {}),
            directory=ROOT,
            ready_line=" ready.",
        )
        self.workers[number] = worker

    def wait_for_workers(self) -> None:
        for worker in self.workers.values():
            self.processes.wait_ready(worker, timeout=READY)

    def kill_worker(self, number: int) -> None:
        """Kill a worker and its pool, as the kernel does when it runs out of memory."""
        self._kill(self.workers.pop(number), signal.SIGKILL)

    def freeze_worker(self, number: int) -> None:
        """Stop a worker and its pool."""
        freeze(group(self.workers[number].popen.pid))

    def thaw_worker(self, number: int) -> None:
        """Let them go on."""
        thaw(group(self.workers[number].popen.pid))

    def number_of_worker(self, pid: int) -> int:
        """Return the worker whose main process this is."""
        return next(number for number, worker in self.workers.items() if worker.popen.pid == pid)

    def url(self, number: int = 0) -> str:
        """Return the address of one of the web processes."""
        return f"http://127.0.0.1:{list(self.webs)[number % len(self.webs)]}"

    def start_task(self, name: str, *arguments: Any, person: str = "somebody") -> dict[str, Any]:
        """Start a task and return the 202's object."""
        response = requests.post(
            f"{self.url()}/start/{name}", json=list(arguments), headers={"X-Person": person}, timeout=10
        )
        response.raise_for_status()
        accepted: dict[str, Any] = response.json()
        self.started.append((accepted["id"], person))
        return accepted

    def browser(self, name: str, number: int = 0, *, without: str = "") -> Browser:
        """Open a browser at one of the web processes."""
        browser = Browser(name, self.url(number), without=without)
        self.browsers.append(browser)
        return browser

    def history(self, kind: str) -> list[dict[str, Any]]:
        """The records of a kind from all processes."""
        return list(recorded(self.directory / "history", kind))

    def bodies(self, task: int) -> list[dict[str, Any]]:
        """When the runs of a task began and ended."""
        return sorted(
            (entry for entry in self.history("body") if entry["task"] == task),
            key=lambda entry: float(entry.get("begin") or entry["end"]),
        )

    def said(self) -> dict[int, list[Said]]:
        """The facts that each task has emitted.

        For a run whose body has finished its own record counts; for one that was killed, fenced or cancelled only the facts
        that the journal has acknowledged.
        """
        bodies = self.history("body")
        feeds = {entry["feed"]: entry["task"] for entry in bodies if "begin" in entry}
        whole = {(entry["task"], entry["run"]) for entry in bodies if entry.get("how") == "returned"}
        acknowledged = {
            (feeds[entry["feed"]], entry["run"], entry["said"]): entry["at"]
            for entry in self.history("acknowledged")
            if entry["feed"] in feeds
        }
        said: dict[int, list[Said]] = {entry["task"]: [] for entry in bodies if "begin" in entry}
        for entry in self.history("said"):
            task, run = entry["task"], entry["run"]
            if (task, run) in whole or (task, run, entry["said"]) in acknowledged:
                # No reader can see it before the journal has it.
                at = acknowledged.get((task, run, entry["said"]), entry["at"])
                said[task].append(Said(run, entry["said"], at))
        return said

    def wrote(self) -> dict[int, dict[int, str]]:
        """The text that each run of a task has written."""
        wrote: dict[int, dict[int, str]] = defaultdict(lambda: defaultdict(str))
        for entry in self.history("wrote"):
            wrote[entry["task"]][entry["run"]] += entry["text"]
        return wrote

    def log_count(self, text: str) -> int:
        """The number of lines of the processes' logs with this text."""
        return sum(text in line for line in (self.directory / "system.log").read_text(errors="replace").splitlines())

    def web_resources(self) -> Resources:
        return resources(pid for web in self.webs.values() for pid in family(web.popen.pid))

    def worker_resources(self) -> Resources:
        return resources(pid for worker in self.workers.values() for pid in family(worker.popen.pid))

    def _kill(self, process: Process, number: int) -> None:
        os.killpg(process.popen.pid, number)
        process.popen.wait(10)
        self.processes.forget(process)


@contextmanager
def running(
    directory: Path,
    backbone: Backbone,
    *,
    without: str = "",
    settings: Mapping[str, str] | None = None,
    clocks: Mapping[str, float] | None = None,
    workers: int = 2,
    webs: int = 2,
    full: bool = False,
    kind: type[System] = System,
) -> Iterator[System]:
    """Start everything on free ports, and stop what was started."""
    (directory / "history").mkdir(parents=True)
    log = (directory / "system.log").open("a", buffering=1)
    processes = Processes(lambda name, line: print(f"{name}: {line}", file=log))
    environment = {
        "CHAOS_HISTORY": str(directory / "history"),
        "CHAOS_WITHOUT": without,
        "PETIOLE_EXPORTS_DATABASE": str(directory / DATABASE),
        "PETIOLE_EXPORTS_DIRECTORY": str(directory / FILES),
        **(settings or {}),
    }
    system = None
    try:
        backbone.start(processes, directory)
        system = kind(directory, backbone, processes, environment)
        system.full, system.without = full, without
        system.clocks = {name: {"CHAOS_CLOCK": str(shift)} for name, shift in (clocks or {}).items()}
        for number in range(1, workers + 1):
            system.start_worker(number)
        with ThreadPoolExecutor() as pool:
            list(pool.map(system.start_web, [free_port() for _ in range(webs)]))
        yield system
    finally:
        for browser in system.browsers if system else ():
            browser.client.close()
        for light in system.light if system else ():
            light.close()
        # All records have been read; don't wait for tasks that go on.
        for process in (*system.workers.values(), *system.webs.values()) if system else ():
            with suppress(ProcessLookupError):
                os.killpg(process.popen.pid, signal.SIGKILL)
        backbone.close()
        processes.stop()
        log.close()


def answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}", timeout=2).ok
    except requests.RequestException:
        return False

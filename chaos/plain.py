"""The same faults and the same checker over the plain pattern: `examples/article/plain`, an emitter in the worker.

Every browser is in its user's room, and the worker emits to that room through Flask-SocketIO's message queue.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import requests
import websocket

from chaos.backbones import RedisBackbone
from chaos.checker import Losses, Said, Seen, check, count_losses
from chaos.light import cut
from chaos.run import Options, run
from chaos.scenarios import SCENARIOS, Load
from chaos.scenarios.browser import cut_browsers
from chaos.scenarios.bus import kill_subscribers, swallow
from chaos.scenarios.scenario import Fault, Scenario
from chaos.scenarios.web import kill_webs
from chaos.system import READY, ROOT, System, answers, running
from tests.support.waiting import wait_until

FOLDER = ROOT / "examples" / "article" / "plain"
TASKS, STEPS, PAUSE, BROWSERS = 8, 100, 0.05, 6
GRACE = 5.0

FAULTS: dict[int, tuple[str, Fault]] = {
    3: ("black hole on the web side", swallow),
    4: ("subscribers killed", kill_subscribers),
    6: ("browsers cut", cut_browsers),
    23: ("web processes killed", kill_webs),
}


class PlainSystem(System):
    """The example's worker and web server, each side's Redis behind its proxy as in every other fault run."""

    def start_web(self, port: int) -> None:
        worker = "geventwebsocket.gunicorn.workers.GeventWebSocketWorker"
        web = self.processes.start(
            "web",
            [
                *(sys.executable, "-m", "gunicorn", "--no-control-socket", "--bind", f"127.0.0.1:{port}"),
                *("--worker-class", worker, "--graceful-timeout", "1", "web:app"),
            ],
            environment={"REDIS_URL": f"redis://127.0.0.1:{self.web_side.port}/0"},
            directory=FOLDER,
        )
        self.webs[port] = web
        self.processes.wait_ready(web, timeout=READY, condition=lambda: answers(port))

    def start_worker(self, number: int) -> None:
        self.workers[number] = self.processes.start(
            f"worker{number}",
            [
                *(sys.executable, "-m", "celery", "-A", "tasks", "worker", "--loglevel", "INFO", "--concurrency", "4"),
                *("--hostname", f"plain{number}@%h", "--without-gossip", "--without-mingle"),
            ],
            environment={"REDIS_URL": f"redis://127.0.0.1:{self.worker_side.port}/0"},
            directory=FOLDER,
            ready_line=" ready.",
        )


class PlainBrowser:
    """A page of the example: it listens, and reconnects by itself. It has nothing to read from."""

    def __init__(self, name: str, url: str, cookie: str) -> None:
        self.name = name
        self.client = self
        self.entries: dict[str, list[dict[str, Any]]] = {}
        self.connected = threading.Event()
        self._url = url
        self._cookie = cookie
        self._closed = threading.Event()
        self._socket: websocket.WebSocket | None = None
        threading.Thread(target=self._live, name=name, daemon=True).start()

    def cut(self) -> None:
        """Drop the connection as a network failure does."""
        if self._socket is not None:
            cut(self._socket)

    def close(self) -> None:
        self._closed.set()
        self.cut()

    def seen(self, tasks: Sequence[str]) -> list[Seen]:
        found = []
        for number, task in enumerate(tasks):
            entries = list(self.entries.get(task, []))
            if entries and entries[-1].get("state"):
                entries.append({"end": "succeeded", "complete": True})
            found.append(Seen(self.name, task, number, entries))
        return found

    def _live(self) -> None:
        address = f"{self._url.replace('http', 'ws', 1)}/socket.io/?EIO=4&transport=websocket"
        while not self._closed.is_set():
            try:
                self._socket = websocket.create_connection(
                    address, cookie=self._cookie, timeout=60, http_no_proxy=["*"], suppress_origin=True
                )
                self._socket.recv()
                self._socket.send("40")
                while text := str(self._socket.recv()):
                    self._take(text)
            except (OSError, websocket.WebSocketException):
                pass
            self._closed.wait(random.uniform(0.0, 0.4))

    def _take(self, text: str) -> None:
        if text == "2" and self._socket is not None:
            self._socket.send("3")
        elif text.startswith("40"):
            self.connected.set()
        elif text.startswith("42"):
            name, message = json.loads(text[2:])
            entries = self.entries.setdefault(message["task_id"], [])
            step = message.get("progress", STEPS + 1)
            entry = {"event": f"{message['task_id']}-{step}", "epoch": "plain", "seq": step, "facts": step, "run": 1}
            entry |= {"kind": "custom", "completed": None, "at": time.monotonic(), "state": None}
            entry |= {"said": step} if name == "task_progress" else {"state": "succeeded", "kind": "state"}
            entries.append(entry)


def run_plain(fault: Fault, options: Options) -> tuple[Losses, list[str]]:
    """Run one fault over the plain pattern, and return the losses and the checker's findings."""
    with (
        tempfile.TemporaryDirectory() as directory,
        running(Path(directory) / "run", RedisBackbone(options.binary), kind=PlainSystem) as system,
    ):
        system.wait_for_workers()
        session = requests.Session()
        session.get(system.url(), timeout=5).raise_for_status()
        cookie = f"session={session.cookies['session']}"
        browsers = [PlainBrowser(f"browser {number}", system.url(number), cookie) for number in range(BROWSERS)]
        wait_until(lambda: all(browser.connected.is_set() for browser in browsers), what="all listen", timeout=10)
        # The faults cut the browsers in this list.
        system.browsers.extend(browsers)  # type: ignore[arg-type]
        tasks = []
        for _ in range(TASKS):
            body = {"steps": STEPS, "pause": PAUSE}
            response = session.post(f"{system.url()}/export/by-room", json=body, timeout=10)
            response.raise_for_status()
            tasks.append(response.json()["task_id"])
        wait_until(lambda: len(browsers[0].entries) == TASKS, what="every task has begun", timeout=30)
        fault(system, random.Random(options.seed))
        wait_until(lambda: system.log_count("succeeded in") == TASKS, what="every task has ended", timeout=60)
        ends = time.monotonic() + GRACE
        with suppress(TimeoutError):
            wait_until(
                lambda: all(each.entries and "end" in each.entries[-1] for each in _seen(browsers, tasks)),
                what="every page has seen every end",
                timeout=ends - time.monotonic(),
            )
        said = {number: [Said(1, step, 0.0) for step in range(1, STEPS + 1)] for number in range(TASKS)}
        seen = _seen(browsers, tasks)
        return count_losses(said, seen), check(said, seen, resets_allowed=False)


def _seen(browsers: Sequence[PlainBrowser], tasks: Sequence[str]) -> list[Seen]:
    return [each for browser in browsers for each in browser.seen(tasks)]


def compare(options: Options) -> bool:
    """Print the losses of the plain pattern and of Petiole under the same load; false if Petiole lost anything."""
    print(f"{TASKS} tasks of {STEPS} events and an end, {BROWSERS} browsers, two web processes, two workers\n")
    print(
        "| fault | facts × browsers | lost by the plain pattern | out of order | never saw the end | "
        "lost by Petiole | out of order | never saw the end |"
    )
    print("|---|---|---|---|---|---|---|---|")
    whole = True
    for scenario in SCENARIOS:
        if scenario.number not in FAULTS:
            continue
        title, fault = FAULTS[scenario.number]
        plain, _ = run_plain(fault, options)
        ours = run(_alike(scenario), options, control=False)
        whole = whole and not ours.found
        print(f"| {scenario.number}: {title} | {plain.sent:,} | {_cells(plain)} | {_cells(ours.losses)} |", flush=True)
        for sentence in ours.found[:4]:
            print(f"  {sentence}")
    return whole


def _alike(scenario: Scenario) -> Scenario:
    """Return the scenario with the plain pattern's fault and load, and without its own check."""
    load = Load(tasks=TASKS, facts=STEPS, interval=PAUSE, browsers=BROWSERS)
    return replace(scenario, fault=FAULTS[scenario.number][1], check=None, load=load)


def _cells(losses: Losses) -> str:
    share = 100 * losses.lost / losses.sent
    return f"{losses.lost:,} ({share:.1f} %) | {losses.disordered} | {losses.endless} of {TASKS * BROWSERS}"

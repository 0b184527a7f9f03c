"""A long run: a random fault every 20 s under continuous tasks, then every invariant, and the processes' resources."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chaos.backbones import RedisBackbone
from chaos.browsers import Browser
from chaos.checker import Seen, check
from chaos.notices import check_notices
from chaos.resources import MIB, Resources
from chaos.run import Options
from chaos.system import System, running
from petiole.protocol.states import is_terminal
from tests.support.waiting import wait_until

EVERY = 20.0
WARM_UP = 60.0
TASKS, FACTS, INTERVAL, BROWSERS = 4, 150, 0.05, 4
END = 60.0
# How long a control waits for pages, which may never see the end.
CONTROL_PATIENCE = 15.0
# By how much a process's resources may grow after the warm-up: variations of the allocator and the pool.
MORE_MEMORY = 1.15
MORE_HANDLES = 6

Fault = Callable[[System, random.Random], str]


def disturb_rings(system: System, rng: random.Random) -> str:
    faults = system.web_side.faults
    faults.lose = faults.double = faults.swap = lambda _text: rng.random() < 0.05
    time.sleep(6)
    faults.lose = faults.double = faults.swap = None
    return "5 % of the rings lost, doubled, swapped for 6 s"


def cut_replies(system: System, rng: random.Random) -> str:
    system.worker_side.faults.cut = lambda: rng.random() < 0.02
    time.sleep(5)
    system.worker_side.faults.cut = None
    return "2 % of the writers' replies lost for 5 s"


def refuse_workers(system: System, _rng: random.Random) -> str:
    system.worker_side.faults.refuse = True
    system.worker_side.reset_all()
    time.sleep(4)
    system.worker_side.faults.refuse = False
    return "the journal out of the workers' reach for 4 s"


def kill_subscribers(system: System, _rng: random.Random) -> str:
    return f"{system.backbone.close_subscribers()} subscribers killed"


def cut_browsers(system: System, rng: random.Random) -> str:
    cut = [browser for browser in system.browsers if rng.random() < 0.5]
    for browser in cut:
        browser.client.cut()
    return f"{len(cut)} browsers cut"


def swallow(system: System, _rng: random.Random) -> str:
    system.web_side.faults.swallow = True
    time.sleep(1)
    system.web_side.faults.swallow = False
    return "a black hole on the web side"


def pause_redis(system: System, _rng: random.Random) -> str:
    system.server().pause_journal()
    time.sleep(3)
    system.server().resume_journal()
    return "Redis paused for 3 s"


def restart_redis(system: System, _rng: random.Random) -> str:
    system.server().kill_journal()
    system.server().start_journal()
    return "Redis killed and restarted"


def restart_web(system: System, rng: random.Random) -> str:
    port = rng.choice(list(system.webs))
    system.kill_web(port)
    system.start_web(port)
    return "a web process killed and restarted"


def kill_pool_child(system: System, _rng: random.Random) -> str:
    running: dict[int, int] = {}
    for entry in system.history("body"):
        if "begin" in entry:
            running[entry["pid"]] = entry["task"]
    ended = {entry["task"] for entry in system.history("body") if "end" in entry}
    for pid, task in running.items():
        if task not in ended and task not in system.noted["killed"]:
            system.noted["killed"].add(task)
            os.kill(pid, signal.SIGKILL)
            return f"the process of task {task} killed"
    return "no task was running whose process could be killed"


FAULTS: tuple[Fault, ...] = (
    disturb_rings,
    cut_replies,
    refuse_workers,
    kill_subscribers,
    cut_browsers,
    swallow,
    pause_redis,
    restart_redis,
    restart_web,
    kill_pool_child,
)


# A fault, and the only mechanism that heals it, switched off.
CONTROL_WITHOUT = "rule"
CONTROL_FAULTS: tuple[Fault, ...] = (disturb_rings, kill_subscribers, swallow)
CONTROL_MINUTES = 1.0


def soak(minutes: float, options: Options) -> bool:
    """Run for that long and print the events; true if every invariant holds and the processes' resources haven't grown."""
    found = _soak(minutes, options, FAULTS)
    for sentence in found[:20]:
        print(f"  {sentence}")
    return not found


def soak_control(options: Options) -> bool:
    """Run for a minute without a mechanism; true if the checker notices."""
    print(f"without {CONTROL_WITHOUT}:")
    found = _soak(CONTROL_MINUTES, options, CONTROL_FAULTS, without=CONTROL_WITHOUT)
    print(f"without {CONTROL_WITHOUT}: {len(found)} violations, such as {found[0]}" if found else "BLIND")
    return bool(found)


def _soak(minutes: float, options: Options, faults: tuple[Fault, ...], *, without: str = "") -> list[str]:
    rng = random.Random(options.seed)
    every = EVERY if not without else EVERY / 2
    with (
        tempfile.TemporaryDirectory() as directory,
        running(
            (options.keep or Path(directory)) / f"soak{'-without-' + without if without else ''}",
            RedisBackbone(options.binary),
            without=without,
        ) as system,
    ):
        system.wait_for_workers()
        system.noted["killed"] = set()
        ends = time.monotonic() + 60 * minutes
        warm_up = min(WARM_UP, 60 * minutes / 3)
        batch = Batch(system, 0)
        seen: list[Seen] = []
        found: list[str] = []
        begun = time.monotonic()
        next_fault = begun + every / 2
        base: dict[str, Resources] = {}
        while time.monotonic() < ends:
            time.sleep(0.2)
            if not base and time.monotonic() - begun > warm_up:
                base = measure(system)
            if time.monotonic() >= next_fault:
                next_fault += every
                fault = rng.choice(faults)
                print(f"{time.monotonic() - begun:6.0f} s  {fault(system, rng)}", flush=True)
            if batch.has_ended() or (without and time.monotonic() - batch.begun > CONTROL_PATIENCE):
                seen += batch.close()
                batch = Batch(system, batch.first + TASKS)
        batch.wait(CONTROL_PATIENCE if without else END)
        seen += batch.close()
        found += check(system.said(), seen, wrote=system.wrote(), resets_allowed=True, repeats_allowed=True)
        found += [] if without else check_notices(system)
        end = measure(system)
        found += _grown(base, end)
    for name, then in base.items():
        print(f"{name}: {then} after {warm_up:.0f} s; {end[name]} at the end")
    facts = sum(len(each.entries) for each in seen)
    print(f"{batch.first + TASKS} tasks, {facts:,} browser entries, {len(found)} violations")
    return found


class Batch:
    """Tasks that run together and the browsers that follow them."""

    def __init__(self, system: System, first: int) -> None:
        self.first = first
        self.begun = time.monotonic()
        self._system = system
        accepted: dict[int, dict[str, Any]] = {}
        for task in range(first, first + TASKS):
            accepted[task] = _start(system, task)
        self._browsers: list[Browser] = []
        for number in range(BROWSERS):
            browser = system.browser(f"browser {number} of batch {first // TASKS}", number, without=system.without)
            self._browsers.append(browser)
            for task, answer in accepted.items():
                browser.follow(task, answer)

    def has_ended(self) -> bool:
        return all(
            is_terminal(view.document.get("state")) for browser in self._browsers for view in browser.views.values()
        )

    def wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self.has_ended() and time.monotonic() < deadline:
            time.sleep(0.2)

    def close(self) -> list[Seen]:
        """Close the browsers, and return what they saw."""
        for browser in self._browsers:
            browser.wait(time.monotonic() + 1)
            browser.client.close()
            self._system.browsers.remove(browser)
        return [each for browser in self._browsers for each in browser.seen()]


def _start(system: System, task: int) -> dict[str, Any]:
    accepted: list[dict[str, Any]] = []

    def started() -> bool:
        try:
            accepted.append(system.start_task("say", task, FACTS, INTERVAL))
        except OSError:
            return False  # Redis or the web process is down at the moment, and the call says so
        return True

    wait_until(started, what="a task can be started", timeout=END)
    return accepted[0]


def measure(system: System) -> dict[str, Resources]:
    return {"web processes": system.web_resources(), "workers": system.worker_resources()}


def _grown(base: dict[str, Resources], end: dict[str, Resources]) -> list[str]:
    found = []
    for name, then in base.items():
        now = end[name]
        if now.memory > MORE_MEMORY * then.memory + 8 * MIB:
            found.append(f"I11 {name}: {then.memory / MIB:.0f} MiB became {now.memory / MIB:.0f} MiB")
        if now.threads > then.threads + MORE_HANDLES:
            found.append(f"I11 {name}: {then.threads} threads became {now.threads}")
        if now.descriptors > then.descriptors + 2 * MORE_HANDLES:
            found.append(f"I11 {name}: {then.descriptors} descriptors became {now.descriptors}")
    return found

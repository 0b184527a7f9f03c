"""Faults of workers and their pools: killed, frozen, too slow for their leases, killed by their own task."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from itertools import pairwise
from typing import Any

from chaos.backbones import BACKBONES
from chaos.scenarios.scenario import Load, Scenario
from chaos.system import System
from petiole.protocol.events import Draft, task_feed
from tests.support.waiting import wait_until

SHOWN_WITHIN = 2.0
STALLED_WITHIN = 10.0
LOST_AFTER = 6
MOST_RUNS = 3


def kill_pool_child(system: System, rng: random.Random) -> str:
    time.sleep(rng.uniform(0.5, 1.5))
    task = rng.randrange(len(system.said()))
    child = system.bodies(task)[0]["pid"]
    os.kill(child, signal.SIGKILL)
    system.noted["killed"] = (task, time.monotonic())
    return f"the process of task {task}"


def death_is_shown(system: System) -> list[str]:
    task, killed = system.noted["killed"]
    after = [_first(browser.entries(task), "failed") - killed for browser in system.browsers[:-1] or system.browsers]
    system.noted["figure"] = f"shown as failed after {max(after):.1f} s"
    return [f"I8 task {task}: its death was shown after {max(after):.1f} s"] if max(after) > SHOWN_WITHIN else []


def kill_worker(system: System, _random: random.Random) -> str:
    time.sleep(1)
    pid = system.bodies(0)[0]["worker"]
    victims = [task for task in system.said() if system.bodies(task)[0]["worker"] == pid]
    system.kill_worker(system.number_of_worker(pid))
    killed = time.monotonic()
    system.noted["killed"] = (victims, killed)
    most = 40.0 if system.full else STALLED_WITHIN + LOST_AFTER
    browser = system.browsers[0]
    with suppress(TimeoutError):
        wait_until(lambda: all(browser.views[task].receipt for task in victims), what="they are lost", timeout=most + 5)
    return f"one worker with {len(victims)} tasks"


def spoil_feeds_and_kill_a_worker(system: System, random: random.Random) -> str:
    """Leave unreadable feeds to the reaper, each corrupted in another way, and kill a worker."""
    journal = system.backbone.open_journal()
    spoilings = system.backbone.spoilings
    for number, spoil in enumerate(spoilings):
        feed = task_feed(f"spoiled-{number}")
        journal.open(feed, owner="nobody", draft=Draft("state", {"state": "queued"}))
        journal.claim(feed, Draft("state", {"state": "running"}), worker="w", delivery="d", retries=0, lease=0.1)
        spoil(feed)
    journal.close()
    return f"{len(spoilings)} spoiled feeds, {kill_worker(system, random)}"


def death_is_resolved(system: System) -> list[str]:
    victims, killed = system.noted["killed"]
    stalled = [
        _first(browser.entries(task), "stalled") - killed for browser in system.browsers[:-1] for task in victims
    ]
    lost = [_first(browser.entries(task), "lost") - killed for browser in system.browsers[:-1] for task in victims]
    most = 40.0 if system.full else STALLED_WITHIN + LOST_AFTER
    system.noted["figure"] = f"stalled after {max(stalled):.1f} s, lost after {max(lost):.1f} s"
    found = [f"I8 stalled after {max(stalled):.1f} s"] if max(stalled) > STALLED_WITHIN else []
    return found + ([f"I8 resolved after {max(lost):.1f} s"] if max(lost) > most else [])


def _first(entries: list[dict[str, Any]], state: str) -> float:
    return next((float(entry["at"]) for entry in entries if entry.get("state") == state), float("inf"))


def _follow(system: System, accepted: dict[int, dict[str, Any]]) -> None:
    for number in range(2):
        browser = system.browser(f"browser {number}", number)
        for task, answer in accepted.items():
            browser.follow(task, answer)


def freeze_worker(system: System, _random: random.Random) -> str:
    """Freeze a worker until another has taken its task over, and let it go on."""
    accepted = {0: system.start_task("publish_late", 0, 160, 0.05)}
    _follow(system, accepted)
    wait_until(lambda: len(system.said().get(0, [])) > 10, what="the task is running", timeout=30)
    number = system.number_of_worker(system.bodies(0)[0]["worker"])
    system.freeze_worker(number)
    frozen = time.monotonic()
    try:
        least = 60.0 if system.full else 0.0
        wait_until(
            lambda: any(entry["run"] == 2 for entry in system.bodies(0)) and time.monotonic() - frozen >= least,
            what="another worker has taken over",
            timeout=90,
        )
        time.sleep(1)  # so that events of the old run could be mixed with these
    finally:
        system.thaw_worker(number)
    system.noted["frozen"] = time.monotonic() - frozen
    wait_until(
        lambda: {entry["run"] for entry in system.bodies(0) if "end" in entry} >= {1, 2},
        what="both runs have ended",
        timeout=40,
    )
    return f"one worker frozen for {system.noted['frozen']:.0f} s"


def only_the_last_publishes(system: System) -> list[str]:
    how = {entry["run"]: entry["how"] for entry in system.bodies(0) if "end" in entry}
    with suppress(TimeoutError):
        wait_until(lambda: bool(system.history("published")), what="the file", timeout=10)
    published = sorted(entry["run"] for entry in system.history("published"))
    system.noted["figure"] = f"run 1 ended as {how.get(1)}, run 2 as {how.get(2)}, files of run {published}"
    found = [] if how.get(1) == "Fenced" else [f"I6 run 1 wasn't fenced: it {how.get(1)}"]
    return found + ([] if published == [2] else [f"I6 files were published by the runs {published}"])


def kill_by_task(system: System, _random: random.Random) -> str:
    """Start a task that kills its worker each time; each worker is started again, as a supervisor does."""
    accepted = {0: system.start_task("kill_worker", 0)}
    _follow(system, accepted)
    view = system.browsers[0].views[0]
    started = 0
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not view.receipt and _begins(system) <= MOST_RUNS:
        for number, worker in list(system.workers.items()):
            if not worker.is_alive():
                system.processes.forget(worker)
                system.start_worker(number)
                started += 1
        time.sleep(0.1)
    for number, worker in list(system.workers.items()):
        if not worker.is_alive():
            system.processes.forget(system.workers.pop(number))
    return f"{_begins(system)} runs, {started} workers started again"


def _begins(system: System) -> int:
    return sum("begin" in entry for entry in system.bodies(0))


def given_up(system: System) -> list[str]:
    state = system.browsers[0].views[0].document.get("state")
    found = [] if state == "failed" else [f"the task is {state}"]
    return found + ([f"it was begun {_begins(system)} times"] if _begins(system) > MOST_RUNS else [])


def slow_worker(system: System, _random: random.Random) -> str:
    """Delay every journal call of the workers, then block all of them for longer than their leases."""
    side = system.worker_side
    side.faults.delay = 0.3
    time.sleep(4)
    side.faults.refuse = True
    side.reset_all()
    time.sleep(11)
    side.faults.refuse = False
    time.sleep(4)
    side.faults.delay = 0.0
    return "0.6 s more per call, and 11 s without any; two reapers"


def one_mark_and_no_verdict(system: System) -> list[str]:
    found = []
    marks = 0
    for browser in system.browsers:
        for each in browser.seen():
            states = [entry["state"] for entry in each.entries if entry.get("state")]
            marks = max(marks, states.count("stalled"))
            if "lost" in states:
                found.append(f"I7 {each.browser} on task {each.task}: lost, though its worker is alive: {states}")
            life = [state for state in states if state in ("stalled", "running")]
            if ("stalled", "stalled") in pairwise(life):
                found.append(f"I7 {each.browser} on task {each.task}: two reapers reported it: {states}")
    if not marks and not found:
        found.append("no lease ended, so no reaper had anything to decide")
    system.noted["figure"] = f"at most {marks} marks a task, each answered by its worker"
    return found


SCENARIOS = (
    Scenario(
        14,
        "a pool child killed",
        kill_pool_child,
        "on_failure",
        required="shown within 2 s",
        check=death_is_shown,
        settings={"PETIOLE_LOST_AFTER": "3"},
    ),
    Scenario(
        15,
        "a whole worker killed",
        kill_worker,
        "reaper",
        required=f"stalled within 10 s, lost {LOST_AFTER} s later (`--full`: within 40 s)",
        check=death_is_resolved,
        load=Load(facts=250),
        settings={"PETIOLE_LOST_AFTER": str(LOST_AFTER)},
        full_settings={"PETIOLE_LOST_AFTER": "30"},
    ),
    Scenario(
        44,
        "feeds that can't be read, and a worker killed",
        spoil_feeds_and_kill_a_worker,
        "supervised",
        required="all other tasks resolved in time",
        check=death_is_resolved,
        on=BACKBONES,
        load=Load(facts=250),
        settings={"PETIOLE_LOST_AFTER": str(LOST_AFTER)},
        full_settings={"PETIOLE_LOST_AFTER": "30"},
    ),
    Scenario(
        16,
        "a worker frozen, another takes over",
        freeze_worker,
        "fence",
        required="the old run is fenced and publishes no file",
        check=only_the_last_publishes,
        load=None,
        settings={"CHAOS_VISIBILITY": "5", "PETIOLE_LEASE": "3", "PETIOLE_HEARTBEAT": "1"},
    ),
    Scenario(
        19,
        "a task kills its worker each time",
        kill_by_task,
        "silent_ends",
        required="at most 3 runs, then failed",
        check=given_up,
        load=None,
        workers=1,
        settings={"CHAOS_VISIBILITY": "3", "PETIOLE_LEASE": "2", "PETIOLE_HEARTBEAT": "0.5"},
    ),
    Scenario(
        21,
        "reapers against a slow worker",
        slow_worker,
        "mark",
        required="no false verdict, one mark each time",
        check=one_mark_and_no_verdict,
        load=Load(facts=700, browsers=2),
        settings={"PETIOLE_OUTBOX_LIMIT": "10000"},
    ),
)

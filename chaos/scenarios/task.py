"""Faults around one task: its message is delivered again, and a cancel races its end."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from typing import Any

import requests

from chaos.backbones import BACKBONES
from chaos.scenarios.scenario import Load, Scenario
from chaos.system import System
from chaos.tables import make_table
from petiole.protocol.states import is_terminal
from tests.support.waiting import wait_until

PERSON = {"X-Person": "somebody"}
CANCELLERS = 4
FORKS = 40
PLAIN_TASKS = 4
UNHEARD_AFTER = 3.0


def deliver_while_running(system: System, _random: random.Random) -> str:
    """Run a task longer than the broker waits for its acknowledgement."""
    accepted = {number: system.start_task("say_late", number, 90, 0.2) for number in range(2)}
    for number in range(2):
        browser = system.browser(f"browser {number}", number)
        for task, answer in accepted.items():
            browser.follow(task, answer)
    wait_until(lambda: len(system.said()) == 2, what="the tasks have begun", timeout=30)
    for browser in system.browsers:
        browser.wait(time.monotonic() + 40)
    again = system.log_count("task_runs_already") + system.log_count("delivery_of_finished_task")
    system.noted["again"] = again
    return f"18 s under a visibility timeout of 8 s, {again} more deliveries"


def one_at_a_time(system: System) -> list[str]:
    found = [] if system.noted["again"] or system.without else ["the broker didn't deliver anything again"]
    for task in range(2):
        running = 0
        for entry in system.bodies(task):
            running += 1 if "begin" in entry else -1
            if running > 1:
                found.append(f"I6 task {task}: {running} executions at a time")
    return found


def deliver_after_the_end(system: System, _random: random.Random) -> str:
    """Deliver a task's message again, unchanged, once the task has succeeded."""
    accepted = system.start_task("say_late", 0, 40, 0.05)
    browser = system.browser("browser 0")
    browser.follow(0, accepted)
    wait_until(lambda: bool(system.said().get(0)), what="the task has begun", timeout=30)
    server = system.redis()
    (held,) = server.hvals("unacked")
    message, _, queue = json.loads(held)
    browser.wait(time.monotonic() + 30)
    system.noted["cursor"] = str(browser.views[0].cursor)
    wait_until(lambda: not server.exists("unacked"), what="the first delivery is acknowledged", timeout=10)
    for _ in range(3):
        server.lpush(queue, json.dumps(message))
    wait_until(
        lambda: not server.exists(queue) and not server.exists("unacked"),
        what="they are accepted and closed",
        timeout=30,
    )
    return "delivered 3 times more"


def nothing_new(system: System) -> list[str]:
    begins = sum("begin" in entry for entry in system.bodies(0))
    found = [] if begins == 1 else [f"the task's body was begun {begins} times"]
    late = system.browser("late reader")
    late.follow(0, {"feed": system.browsers[0].views[0].feed, "cursor": None, "document": None})
    late.wait(time.monotonic() + 10)
    cursor = str(late.views[0].cursor)
    if cursor != system.noted["cursor"]:
        found.append(f"I7 the feed went on from {system.noted['cursor']} to {cursor}")
    return found


def cancel_near_the_end(system: System, rng: random.Random) -> str:
    """Cancel real exports at random moments around their end."""
    rounds = 2000 if system.full else 200
    make_table(system.directory)
    numbers = iter(range(rounds))
    ends: list[tuple[str, str, int]] = []
    lock = threading.Lock()
    system.wait_for_workers()

    def cancel_one(seed: int) -> None:
        mine = random.Random(seed)
        session = requests.Session()
        session.headers.update(PERSON)
        while (number := _next(numbers, lock)) is not None:
            accepted = system.start_task("export", number, str(system.directory))
            time.sleep(mine.uniform(0.0, 0.35))
            url = f"{system.url(number)}/petiole/tasks/{accepted['id']}"
            session.post(f"{url}/cancel", timeout=10)
            state = _end_of(session, url)
            events = session.get(f"{url}/events", timeout=10).json()["events"]
            terminal = sum(is_terminal(event["patch"].get("state")) for event in events)
            with lock:
                ends.append((accepted["id"], state, terminal))

    threads = [threading.Thread(target=cancel_one, args=(rng.randrange(10**6),)) for _ in range(CANCELLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    system.noted["ends"] = ends
    states = Counter(state for _, state, _ in ends)
    return f"{len(ends)} rounds: " + ", ".join(f"{count} {state}" for state, count in states.most_common())


def _next(numbers: Any, lock: threading.Lock) -> int | None:
    with lock:
        return next(numbers, None)


def _end_of(session: requests.Session, url: str) -> str:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        state = session.get(url, timeout=10).json()["document"]["state"]
        if is_terminal(state):
            return str(state)
        time.sleep(0.02)
    return "without an end"


def files_are_of_successes(system: System) -> list[str]:
    found = []
    files = system.directory / "files"
    ends = system.noted["ends"]
    for key, state, terminal in ends:
        there = any(files.glob(f"{key}*"))
        if terminal != 1:
            found.append(f"I7 task {key}: {terminal} terminal facts")
        if there != (state == "succeeded"):
            found.append(f"task {key} is {state}, and its file is {'there' if there else 'missing'}")
    states = {state for _, state, _ in ends}
    if not system.without and not states >= {"succeeded", "cancelled"}:
        found.append(f"only {states}: no cancel raced an end")
    return found


def let_both_sides_speak(system: System, _random: random.Random) -> str:
    """Wait until tasks that fork have forked for a while."""
    wait_until(lambda: len(system.history("forked")) >= FORKS, what="tasks have forked", timeout=60)
    return f"{FORKS} children and more"


def children_are_refused(system: System) -> list[str]:
    forked, refused = len(system.history("forked")), system.log_count("in a process that the task has forked")
    return [] if refused == forked else [f"{forked} children reported, {refused} were refused"]


def take_without_petiole(system: System, _random: random.Random) -> str:
    """Start tasks on workers without Petiole, and check their pages."""
    system.wait_for_workers()
    session = requests.Session()
    session.headers.update(PERSON)
    tasks = [system.start_task("work", 2 * UNHEARD_AFTER) for _ in range(PLAIN_TASKS)]
    began = time.monotonic()
    said: dict[str, float] = {}
    while len(said) < len(tasks) and time.monotonic() < began + 3 * UNHEARD_AFTER:
        for task in tasks:
            document = session.get(f"{system.url()}/petiole/tasks/{task['id']}", timeout=10).json()["document"]
            if document.get("unheard"):
                said.setdefault(task["id"], time.monotonic() - began)
        time.sleep(0.1)
    ends = [_end_of(session, f"{system.url()}/petiole/tasks/{task['id']}") for task in tasks]
    system.noted["plain"] = list(said.values()), ends
    return f"{len(tasks)} tasks, {len(said)} reported, ends: {', '.join(sorted(set(ends)))}"


def plain_workers_are_noticed(system: System) -> list[str]:
    said, ends = system.noted["plain"]
    found = [] if len(said) == PLAIN_TASKS else [f"{PLAIN_TASKS - len(said)} tasks weren't reported"]
    found += [f"I8 it was reported after {after:.1f} s" for after in said if after > UNHEARD_AFTER + 3]
    return found + [f"I8 a finished task is {end}" for end in ends if end != "succeeded"]


SCENARIOS = (
    Scenario(
        17,
        "a running task delivered again",
        deliver_while_running,
        "busy",
        required="one execution at a time, none lost",
        check=one_at_a_time,
        load=None,
        settings={"CHAOS_VISIBILITY": "8"},
    ),
    Scenario(
        18,
        "a finished task delivered again",
        deliver_after_the_end,
        "busy",
        required="nothing new",
        check=nothing_new,
        load=None,
    ),
    Scenario(
        22,
        "cancels against the end",
        cancel_near_the_end,
        "confirm",
        required="one terminal fact; a file exactly if it succeeded",
        check=files_are_of_successes,
        load=None,
        settings={"PETIOLE_HEARTBEAT": "0.2"},
    ),
    Scenario(
        42,
        "a task forks and both sides report",
        let_both_sides_speak,
        "disown",
        required="no fact of the parent lost, each child refused once",
        check=children_are_refused,
        load=Load(tasks=4, task="say_and_fork"),
        on=BACKBONES,
    ),
    Scenario(
        43,
        "other code's message headers",
        lambda _system, _random: "all headers moved into the header `headers`",
        "headers",
        required="every page ends",
        settings={"CHAOS_HEADERS": "1"},
        on=BACKBONES,
    ),
    Scenario(
        45,
        "workers without Petiole",
        take_without_petiole,
        "unheard",
        required="reported in time, resolved by Celery's own record",
        check=plain_workers_are_noticed,
        load=None,
        settings={"CHAOS_PLAIN": "1", "PETIOLE_UNHEARD_AFTER": str(UNHEARD_AFTER)},
        on=BACKBONES,
    ),
)

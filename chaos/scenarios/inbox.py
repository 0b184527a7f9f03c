"""Faults around the inbox: rings lost, a web process killed, acknowledgements lost and sent twice, a page away for a week."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import requests

from chaos.notices import told
from chaos.scenarios.scenario import Scenario
from chaos.system import System
from petiole.client import TaskClient
from petiole.errors import PetioleError
from petiole.protocol.events import Event
from tests.support.waiting import wait_until

PEOPLE = ("ann", "bea", "cem")
TASKS = 12
KEPT = 14
LOST = 0.3
WEEK_MS = 7 * 86_400_000
MINUTE_MS = 60_000
SETTLED_WITHIN = 30.0


class Tab:
    """A page that shows an inbox, and counts the notices that it got for each task."""

    def __init__(self, system: System, number: int, person: str, *, cursor: str | None = None) -> None:
        self.name = f"tab {number} of {person}"
        self.person = person
        self.session = requests.Session()
        self.session.headers["X-Person"] = person
        found = self.session.get(f"{system.url(number)}/petiole/inbox", timeout=10).json()
        self.feed, self.cursor = found["feed"], cursor or found["cursor"]
        self.shown: list[str] = told(found["document"]) if cursor is None else []
        self.resets = 0
        self.client = TaskClient(system.url(number), session=self.session)
        document = found["document"] if cursor is None else {}
        self.view = self.client.watch(
            self.feed, cursor=self.cursor, document=document, on_event=self._note, on_reset=self._note_reset
        )

    def acknowledge(self, tasks: list[str]) -> None:
        """Acknowledge these over the socket; a message that doesn't arrive is lost."""
        with suppress(PetioleError):
            self.client.call("acknowledge", {"tasks": tasks})

    def has(self, tasks: set[str]) -> bool:
        """Whether it shows exactly the notices of these tasks."""
        document = self.view.document
        return set(told(document)) == {f"task:{task}" for task in tasks} and document["unread"] == len(tasks)

    def _note(self, event: Event) -> None:
        if event.kind == "notice":
            self.shown += told(dict(event.patch))

    def _note_reset(self, _cursor: Any) -> None:
        self.resets += 1


def disturb_inboxes(system: System, rng: random.Random) -> str:
    """Let tasks of several users end while rings are lost and a web process dies, and acknowledge in every wrong way."""
    system.wait_for_workers()
    tabs = [Tab(system, number, person) for person in PEOPLE for number in range(2)]
    left = Tab(system, 0, PEOPLE[0])
    left.client.close()
    system.web_side.faults.lose = lambda _text: rng.random() < LOST
    tasks: dict[str, list[str]] = {person: [] for person in PEOPLE}
    early: set[str] = set()
    killed = threading.Thread(target=_kill_a_web, args=(system,))
    killed.start()
    for number in range(TASKS):
        for person in PEOPLE:
            task = system.start_task("say", number, 3, 0.02, person=person)["id"]
            tasks[person].append(task)
            if number == 0:
                # A page shows the task itself, and acknowledges it before there is a notice.
                _acknowledge(system, person, [task])
                early.add(task)
        time.sleep(0.15)
    killed.join()
    gone: dict[str, set[str]] = {person: {tasks[person][0]} for person in PEOPLE}
    for person in PEOPLE:
        mine = [tab for tab in tabs if tab.person == person]
        _wait(system, partial(_has_come, system, person))
        for task in tasks[person][1::2]:
            _acknowledge_and_hang_up(system, person, [task])
            _acknowledge(system, person, [task])
            both = [threading.Thread(target=tab.acknowledge, args=([task],)) for tab in mine]
            for each in both:
                each.start()
            for each in both:
                each.join()
            gone[person].add(task)
    system.web_side.faults.lose = None
    rest = {person: set(tasks[person]) - gone[person] for person in PEOPLE}
    for tab in tabs:
        _wait(system, partial(tab.has, rest[tab.person]))
    aged = _let_a_week_pass(system)
    back = Tab(system, 1, PEOPLE[0], cursor=left.cursor)
    _wait(system, lambda: back.has(rest[PEOPLE[0]]))
    system.noted |= {"tabs": tabs, "back": back, "rest": rest, "tasks": tasks, "early": early}
    lost = system.web_side.faults.lost
    return (
        f"{len(tabs)} tabs, {sum(map(len, tasks.values()))} tasks, {lost} rings lost, a web process killed, "
        f"{sum(map(len, gone.values()))} acknowledged; {aged} keys a week older, the page that came back had "
        f"{back.resets} reset"
    )


def _wait(system: System, condition: Callable[[], bool]) -> None:
    with suppress(TimeoutError):
        timeout = 2.0 if system.without else SETTLED_WITHIN
        wait_until(condition, what="the inbox is correct", timeout=timeout)


def _kill_a_web(system: System) -> None:
    time.sleep(1)
    port = list(system.webs)[1]
    system.kill_web(port)
    system.start_web(port)


def _has_come(system: System, person: str) -> bool:
    """Whether every task except the first has a notice."""
    response = requests.get(f"{system.url()}/petiole/inbox", headers={"X-Person": person}, timeout=10)
    return bool(response.json()["document"]["unread"] >= TASKS - 1)


def _acknowledge(system: System, person: str, tasks: list[str]) -> None:
    requests.post(
        f"{system.url()}/petiole/inbox/acknowledge", json={"tasks": tasks}, headers={"X-Person": person}, timeout=10
    ).raise_for_status()


def _acknowledge_and_hang_up(system: System, person: str, tasks: list[str]) -> None:
    """Send an acknowledgement and disconnect before its answer comes."""
    body = json.dumps({"tasks": tasks})
    head = (
        f"POST /petiole/inbox/acknowledge HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Person: {person}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", next(iter(system.webs))), timeout=10) as connection:
        connection.sendall(head.encode() + body.encode())


def _let_a_week_pass(system: System) -> int:
    """Shorten the time to live of each key by seven days less a minute, as if that time had passed."""
    server = system.redis()
    aged = 0
    for key in server.scan_iter("petiole:*", count=1000):
        left = server.pttl(key)
        if left > 0:
            server.pexpire(key, max(left - WEEK_MS + MINUTE_MS, 1))
            aged += 1
    return aged


def shown_once(system: System) -> list[str]:
    noted = system.noted
    found = []
    for tab in (*noted["tabs"], noted["back"]):
        if not tab.has(noted["rest"][tab.person]):
            keys = {key.removeprefix("task:") for key in told(tab.view.document)}
            more, less = keys - noted["rest"][tab.person], noted["rest"][tab.person] - keys
            found.append(f"I7 {tab.name} shows {len(more)} notices too many and {len(less)} too few")
    for tab in noted["tabs"]:
        for task in noted["tasks"][tab.person]:
            times = tab.shown.count(f"task:{task}")
            if times != (task not in noted["early"]) and not tab.resets:
                found.append(f"I7 {tab.name} was told {times} times of a task")
        if tab.resets:
            found.append(f"I9 {tab.name}: an unexplained reset")
    if not noted["back"].resets and not system.without:
        found.append("the page that came back was within what is kept")
    for tab in (*noted["tabs"], noted["back"]):
        tab.client.close()
    return found


SCENARIOS = (
    Scenario(
        32,
        "inboxes, a week away",
        disturb_inboxes,
        "once",
        required="each notice shown once on each page, gone from all when acknowledged",
        check=shown_once,
        load=None,
        settings={"PETIOLE_FACTS_KEPT": str(KEPT)},
        # Some were acknowledged, some even before they came: this scenario has its own check.
        checks_notices=False,
    ),
)

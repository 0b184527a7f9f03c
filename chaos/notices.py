"""The second half of I7: each finished task has one notice in the inbox of the user who started it."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any

import requests

from chaos.system import System
from petiole.protocol.events import task_feed
from petiole.protocol.states import is_terminal
from tests.support.waiting import wait_until

WITHIN = 10.0
MOST = 400


def check_notices(system: System, *, within: float = WITHIN) -> list[str]:
    """Return a sentence for each of the newest finished tasks that doesn't have exactly one notice."""
    started = system.started[-MOST:]
    with requests.Session() as session:
        finished = [(task, person) for task, person in started if _has_finished(session, system, task, person)]
        counted: Counter[str] = Counter()

        def all_there() -> bool:
            counted.clear()
            for person in {person for _, person in finished}:
                counted.update(_notices(session, system, person))
            return all(counted[task_feed(task)] for task, _ in finished)

        with suppress(TimeoutError):
            wait_until(all_there, what="every notice", timeout=within)
    return [
        f"I7 task {task} has {counted[task_feed(task)]} notices"
        for task, _ in finished
        if counted[task_feed(task)] != 1
    ]


def _has_finished(session: requests.Session, system: System, task: str, person: str) -> bool:
    answer = _get(session, system, f"tasks/{task}", person)
    return is_terminal(answer.get("document", {}).get("state"))


def _notices(session: requests.Session, system: System, person: str) -> list[str]:
    """Return the key of each notice that an inbox received; of facts that are no longer kept, as the document still has it."""
    keys: list[str] = []
    after = ""
    while True:
        reading = _get(session, system, f"inbox/events{after}", person)
        if "events" not in reading:
            document = _get(session, system, "inbox", person).get("document", {})
            return [key for key, value in document.items() if isinstance(value, dict)]
        keys += [key for event in reading["events"] if event["kind"] == "notice" for key in told(event["patch"])]
        if not reading.get("more"):
            return keys
        after = f"?after={reading['cursor']}"


def told(patch: dict[str, Any]) -> list[str]:
    """Return the keys of the notices that a patch of an inbox brings."""
    return [key for key, value in patch.items() if isinstance(value, dict)]


def _get(session: requests.Session, system: System, path: str, person: str) -> dict[str, Any]:
    with suppress(requests.RequestException):
        answer: dict[str, Any] = session.get(
            f"{system.url()}/petiole/{path}", headers={"X-Person": person}, timeout=10
        ).json()
        return answer
    return {}

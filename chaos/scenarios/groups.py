"""A group of many tasks, in which everything happens to its children that can happen to a task."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import requests

from chaos.scenarios.scenario import Scenario
from chaos.system import System
from petiole.client import TaskClient
from petiole.client.view import TaskView
from petiole.journal.answers import ListedChild
from petiole.journal.groups import UNSUCCESSFUL
from petiole.protocol.events import Event
from petiole.protocol.states import is_terminal
from tests.support.waiting import wait_until

CHILDREN = 1000
FULL_CHILDREN = 10_000
# Of a hundred children, how many are killed for good, killed and delivered again, retried twice, and published twice.
KILLED, REDELIVERED, RETRIED, TWICE = 2, 2, 2, 2
WITHIN = 120.0
CONTROL_WITHIN = 30.0


class Follower:
    """A page that shows the group."""

    def __init__(self, system: System, accepted: dict[str, Any]) -> None:
        session = requests.Session()
        session.headers["X-Person"] = "somebody"
        self.ends: list[Event] = []
        self.backwards = 0
        self._completed = -1
        self.client = TaskClient(system.url(1), session=session)
        self.view: TaskView = self.client.watch(
            accepted["feed"], cursor=accepted["cursor"], document=accepted["document"], on_event=self._note
        )

    def _note(self, event: Event) -> None:
        if is_terminal(event.patch.get("state")):
            self.ends.append(event)
        completed = int((event.progress or {}).get("completed", 0))
        self.backwards += completed < self._completed
        self._completed = completed


def kinds(children: int, rng: random.Random) -> list[str]:
    """Return what happens to each child."""
    share = children // 100
    some = ["kill"] * (KILLED * share) + ["kill once"] * (REDELIVERED * share) + ["retry"] * (RETRIED * share)
    every = some + [""] * (children - len(some))
    rng.shuffle(every)
    return every


def disturb_group(system: System, rng: random.Random) -> str:
    """Start a group, publish some of its messages twice, kill children, a web process and Redis."""
    system.wait_for_workers()
    chosen = kinds(FULL_CHILDREN if system.full else CHILDREN, rng)
    response = requests.post(f"{system.url()}/start-group", json=chosen, headers={"X-Person": "somebody"}, timeout=60)
    response.raise_for_status()
    accepted = response.json()
    system.started.append((accepted["id"], "somebody"))
    twice = _publish_twice(system, TWICE * len(chosen) // 100, rng)
    follower = Follower(system, accepted)
    system.noted |= {"kinds": chosen, "feed": accepted["feed"], "follower": follower}

    def ended() -> int:
        return int((follower.view.document.get("progress") or {}).get("completed", 0))

    timeout = CONTROL_WITHIN if system.without else WITHIN
    with suppress(TimeoutError):
        wait_until(lambda: ended() > len(chosen) // 4, what="a quarter has ended", timeout=timeout)
        port = list(system.webs)[1]
        system.kill_web(port)
        system.start_web(port)
        wait_until(lambda: ended() > len(chosen) // 2, what="half has ended", timeout=timeout)
        system.server().kill_journal()
        system.server().start_journal()
        wait_until(lambda: is_terminal(follower.view.document.get("state")), what="the end", timeout=timeout)
    began = time.monotonic()
    with suppress(TimeoutError):
        # Children that were published twice are refused after the group's end.
        wait_until(lambda: system.broker().llen("celery") == 0, what="every message is consumed", timeout=30)
    counted = Counter(chosen)
    return (
        f"{len(chosen)} children, {counted['kill']} killed, {counted['kill once']} killed and delivered again, "
        f"{counted['retry']} retried twice, {twice} published twice, a web process and Redis killed; "
        f"queue empty {time.monotonic() - began:.1f} s after the end"
    )


def _publish_twice(system: System, number: int, rng: random.Random) -> int:
    """Put copies of some waiting messages into the queue."""
    server = system.broker()
    waiting = server.lrange("celery", 0, -1)
    copies = rng.sample(waiting, min(number, len(waiting)))
    if copies:
        server.lpush("celery", *copies)
    return len(copies)


def counts_exact(system: System) -> list[str]:
    """Compare what the group says with what happened to each child."""
    chosen: Sequence[str] = system.noted["kinds"]
    follower: Follower = system.noted["follower"]
    feed: str = system.noted["feed"]
    found = []
    follower.client.close()
    journal = system.backbone.open_journal()
    try:
        snapshot = journal.snapshot(feed)
        listed = _all_children(journal, feed)
    finally:
        journal.close()
    document = snapshot.document if snapshot is not None else {}
    counts = (document.get("progress") or {}).get("children", {})
    executed = Counter(entry["child"] for entry in system.history("child"))
    # Of a process that is killed while Redis is away, the reaper may speak before its worker can.
    failed, gone = chosen.count("kill"), counts.get("failed", 0) + counts.get("lost", 0)
    if (counts.get("succeeded"), gone, sum(counts.values())) != (len(chosen) - failed, failed, len(chosen)):
        found.append(f"I14 the group counts {counts}, and {failed} of {len(chosen)} were killed")
    if document.get("state") != "failed":
        found.append(f"I14 the group is {document.get('state')} after its last child, of which some have failed")
    by_list = Counter(child.state for child in listed)
    if dict(by_list) != {state: number for state, number in counts.items() if number}:
        found.append(f"I14 the list of the children has {dict(by_list)}, the group counts {counts}")
    wrong = [child.number for child in listed if (child.state in UNSUCCESSFUL) != (chosen[child.number] == "kill")]
    if wrong:
        found.append(f"I14 {len(wrong)} children have another state than what happened to them, as {wrong[:5]}")
    unrun = [number for number in range(len(chosen)) if not executed[number]]
    if unrun:
        found.append(f"I14 {len(unrun)} children never ran, as {unrun[:5]}")
    if len(follower.ends) != 1 and not follower.view.resets:
        found.append(f"I7 the page saw {len(follower.ends)} terminal facts")
    receipt = follower.view.receipt
    if receipt is None or not (receipt.complete or follower.view.resets):
        found.append(f"I9 the page's receipt isn't complete: {receipt}")
    if follower.backwards and not follower.view.resets:
        found.append(f"I5 the page's number of ended children went back {follower.backwards} times")
    return found


def _all_children(journal: Any, feed: str) -> list[ListedChild]:
    listed: list[ListedChild] = []
    after: int | None = -1
    while after is not None:
        page = journal.children(feed, after=after, limit=1000)
        if page is None:
            break
        some, after = page
        listed += some
    return listed


SCENARIOS = (
    Scenario(
        47,
        "a group, and everything that happens to its children",
        disturb_group,
        "once_a_child",
        required="each child counted once, as what became of it; the group ends once, after its last child",
        check=counts_exact,
        load=None,
        broker_apart=True,
    ),
)

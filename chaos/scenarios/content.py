"""Faults of the events' content and of the clocks that date them."""

from __future__ import annotations

import random
import time

from chaos.scenarios.scenario import Load, Scenario
from chaos.system import System
from petiole.protocol.events import partition
from tests.support.waiting import wait_until

HOUR = 3600.0
POISONS = 5
# The ones that are set aside; the others are converted.
TOO_LARGE = 1
CLOCK_OFF_AT_MOST = 60.0


def poison(system: System, _random: random.Random) -> str:
    """Emit values that can't be an event, ring garbage, and corrupt one feed in the store."""
    accepted = {
        0: system.start_task("poison", 0, 60, 0.05),
        1: system.start_task("say", 1, 60, 0.05),
        2: system.start_task("say", 2, 60, 0.05),
    }
    for number in range(2):
        browser = system.browser(f"browser {number}", number)
        for task, answer in accepted.items():
            browser.follow(task, answer)
    wait_until(lambda: len(system.said()) == 3, what="the tasks have begun", timeout=30)
    server = system.redis()
    feed = accepted[2]["feed"]
    tag = f"{{{partition(feed):02}}}"
    for text in ("", "[1]", "{", '{"v":1}', '{"v":"1","id":[]}', "\x00\xff", "[" * 5000):
        server.publish(f"petiole/0:{tag}:{feed}", text)
    time.sleep(1)
    server.rpush(f"petiole:{tag}:{feed}:facts", "0" * 16 + '{"v":1,"id":7}')
    server.hset(f"petiole:{tag}:{feed}:document", "spoiled", "{not json")
    system.noted["spoiled"] = time.monotonic()
    time.sleep(1)
    server.hdel(f"petiole:{tag}:{feed}:document", "spoiled")
    return f"{POISONS} values in a task, 7 rings and 2 corrupt values in the store of another"


def set_aside_and_said(system: System) -> list[str]:
    found = []
    for browser in system.browsers:
        lines = [entry["message"] for entry in browser.entries(0) if entry.get("message")]
        aside = [line for line in lines if line.startswith("An event was set aside.")]
        if len(aside) != TOO_LARGE:
            found.append(f"{browser.name} was told of {len(aside)} of {TOO_LARGE} set-aside events")
        found += [
            f"I9 {browser.name} on task {task}: a reset, though only task 2 was corrupted"
            for task in (0, 1)
            if any("reset" in entry for entry in browser.entries(task))
        ]
        for task, view in browser.views.items():
            if view.document.get("state") != "succeeded":
                found.append(f"{browser.name} on task {task}: {view.document.get('state')}")
    return found


def nothing(_system: System, _random: random.Random) -> str:
    time.sleep(6)
    return "one worker an hour behind, one and the web processes an hour ahead"


def leases_and_times_are_right(system: System) -> list[str]:
    found = []
    for each in (seen for browser in system.browsers for seen in browser.seen()):
        states = {entry.get("state") for entry in each.entries}
        if states & {"stalled", "lost"}:
            found.append(
                f"I8 {each.browser} on task {each.task}: a lease ended by a wrong clock: {sorted(filter(None, states))}"
            )
        offs = [abs(entry["kept_at"] / 1000 - time.time()) for entry in each.entries if entry.get("kept_at")]
        # A counter that the relay creates from a reading has the relay's time; facts have the journal's.
        facts = [off for off, entry in zip(offs, each.entries, strict=False) if entry.get("kind") != "counter"]
        if facts and max(facts) > CLOCK_OFF_AT_MOST:
            found.append(f"{each.browser} on task {each.task}: a fact's time was off by {max(facts):.0f} s")
    return found


SCENARIOS = (
    Scenario(
        26,
        "poison events",
        poison,
        "set_aside",
        required="each is converted, or set aside and reported; the rest goes on",
        check=set_aside_and_said,
        load=None,
        resets_allowed=True,
    ),
    Scenario(
        30,
        "clocks an hour off",
        nothing,
        "server_time",
        required="order and leases unaffected",
        check=leases_and_times_are_right,
        load=Load(facts=200),
        clocks={"worker1": -HOUR, "worker2": HOUR, "web": HOUR},
    ),
)

"""Faults of the web processes: killed, and everybody comes back at once."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from functools import partial
from typing import Any

from chaos.browsers import Browser
from chaos.light import LightBrowser
from chaos.scenarios.scenario import Load, Scenario
from chaos.system import System, wait_until
from petiole.errors import PetioleError

MANY = 200


def kill_webs(system: System, _random: random.Random) -> str:
    for port in list(system.webs):
        time.sleep(1)
        system.kill_web(port)
        system.start_web(port)
    return "both web processes killed and restarted, one after the other"


def all_come_back(system: System, _random: random.Random) -> str:
    feeds = list(system.browsers[0].views.items())
    for number in range(MANY):
        task, view = feeds[number % len(feeds)]
        accepted: dict[str, Any] = {"feed": view.feed, "cursor": None, "document": {}}
        system.light.append(LightBrowser(f"light {number}", system.url(number), task, accepted, without=system.without))
    wait_until(lambda: all(light.entries for light in system.light), what=f"{MANY} browsers follow", timeout=60)
    killed = time.monotonic()
    for port in list(system.webs):
        system.kill_web(port)
    for port in list(system.webs):
        system.start_web(port)

    def back() -> list[float]:
        answers = [[at - killed for at in light.answered_at if at > killed] for light in system.light]
        return sorted(each[0] for each in answers if each)

    with suppress(TimeoutError):
        wait_until(lambda: len(back()) == MANY, what="all are back", timeout=5 if system.without else 60)
    times = back()
    system.noted["back"] = times
    if not times:
        return f"{MANY} browsers, none asked again"
    p99 = times[min(round(0.99 * len(times)), len(times) - 1)]
    return (
        f"{len(times)} of {MANY} browsers back within {times[-1]:.1f} s, 99 % within {p99:.1f} s, "
        "the restart of both web processes included"
    )


def all_are_back(system: System) -> list[str]:
    times = system.noted["back"]
    found = [] if len(times) == MANY else [f"{MANY - len(times)} of {MANY} browsers didn't come back"]
    return [*found, *([f"the last came back after {times[-1]:.0f} s"] if times and times[-1] > 60 else [])]


def move_elsewhere(system: System, rng: random.Random) -> str:
    time.sleep(rng.uniform(1.0, 2.0))
    first, second = list(system.webs)
    movers = [browser for browser in system.browsers if browser.client.url.endswith(str(first))]
    system.kill_redis()
    system.kill_web(first)
    system.start_redis()
    killed = time.monotonic()
    for browser in movers:
        wait_until(partial(_moved, browser, f"http://127.0.0.1:{second}"), what="a move", timeout=30)
    moved = time.monotonic() - killed
    system.start_web(first)
    return f"Redis and a web process killed at once, {len(movers)} browsers moved within {moved:.1f} s"


def _moved(browser: Browser, url: str) -> bool:
    try:
        browser.move(url)
    except PetioleError:
        return False
    return True


SCENARIOS = (
    Scenario(23, "web processes killed", kill_webs, "read_again", required="everybody at the head within 10 s"),
    Scenario(
        24,
        f"{MANY} browsers return at once",
        all_come_back,
        "read_again",
        required="all back within 60 s",
        check=all_are_back,
        load=Load(facts=200, interval=0.1, browsers=1),
    ),
    Scenario(
        33,
        "bus and a web process die together",
        move_elsewhere,
        "read_again",
        required="exact resume at another process",
        resets_allowed=False,
    ),
)

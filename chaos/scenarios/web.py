"""Faults of the web processes: they are killed, and all browsers return at once."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from functools import partial
from typing import Any

from chaos.backbones import BACKBONES
from chaos.browsers import Browser
from chaos.light import LightBrowser
from chaos.scenarios.scenario import Load, Scenario
from chaos.system import System
from petiole.errors import PetioleError
from petiole.settings import Settings
from tests.support.waiting import wait_until

MANY = 200
RETURNING = 120
BACK_WITHIN = 5.0
# All belong to one user.
MANY_PAGES = {"PETIOLE_CONNECTIONS_PER_OWNER": "1000"}
# The period over which a stopping process spreads its browsers.
SPREAD = Settings().reconnect_spread


def kill_webs(system: System, _random: random.Random) -> str:
    for port in list(system.webs):
        time.sleep(1)
        system.kill_web(port)
        system.start_web(port)
    return "both web processes killed and restarted, one after the other"


def restart_webs(system: System, _random: random.Random) -> str:
    """Kill a web process, then restart the other as an operator does; browsers go to whichever process accepts them."""
    feeds = list(system.browsers[0].views.items())
    many = 400 if system.full else RETURNING
    urls = [system.url(0), system.url(1)]
    for number in range(many):
        task, view = feeds[number % len(feeds)]
        accepted: dict[str, Any] = {"feed": view.feed, "cursor": None, "document": {}}
        here, there = urls[number % 2], urls[1 - number % 2]
        light = LightBrowser(f"light {number}", here, task, accepted, without=system.without, elsewhere=there)
        system.light.append(light)
    wait_until(lambda: all(light.entries for light in system.light), what=f"{many} browsers follow", timeout=60)
    first, second = list(system.webs)
    times = {}
    for name, port, end in (("killed", first, system.kill_web), ("restarted", second, system.stop_web)):
        began = time.monotonic()
        end(port)
        system.start_web(port)
        with suppress(TimeoutError):
            wait_until(lambda: not _lost(system), what="all are back", timeout=3 if system.without else 20)
        times[name] = sorted(
            took for light in system.light for took in ways_back(light.lost_at, light.answered_at, since=began)
        )
        system.noted[name] = _p99(times[name])
    return f"{many} browsers, " + "; ".join(
        f"one web process {name}: {len(each)} moved to the other, 99 % within {_p99(each):.1f} s"
        for name, each in times.items()
    )


def _lost(system: System) -> list[LightBrowser]:
    return [light for light in system.light if light.lost_at and max(light.answered_at, default=0) < light.lost_at[-1]]


def ways_back(lost_at: list[float], answered_at: list[float], *, since: float) -> list[float]:
    """Return the time from each lost connection to the next answer; a connection that is lost again before that counts once."""
    found = []
    lost: float | None = None
    for at, is_back in sorted([*((at, False) for at in lost_at), *((at, True) for at in answered_at)]):
        if not is_back:
            lost = at if lost is None else lost
        elif lost is not None:
            found.append((lost, at - lost))
            lost = None
    if lost is not None:
        found.append((lost, float("inf")))
    return [took for lost, took in found if lost >= since]


def _p99(times: list[float]) -> float:
    return times[min(round(0.99 * len(times)), len(times) - 1)] if times else float("inf")


def soon_back(system: System) -> list[str]:
    found = []
    for name, most in (("killed", BACK_WITHIN), ("restarted", BACK_WITHIN + SPREAD)):
        if system.noted[name] > most:
            found.append(f"I8 a web process {name}: 99 % of its browsers were back after {system.noted[name]:.1f} s")
    return found


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
        return f"{MANY} browsers, none watched again"
    return (
        f"{len(times)} of {MANY} browsers back within {times[-1]:.1f} s, 99 % within {_p99(times):.1f} s, "
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
    backbone = system.backbone
    backbone.kill_bus()
    system.kill_web(first)
    if not backbone.bus_is_apart:
        backbone.start_bus()
    killed = time.monotonic()
    for browser in movers:
        wait_until(partial(_moved, browser, f"http://127.0.0.1:{second}"), what="a move", timeout=30)
    moved = time.monotonic() - killed
    if backbone.bus_is_apart:
        # If the journal lives on, they move while the bus is down.
        backbone.start_bus()
    system.start_web(first)
    return f"the bus and a web process killed at once, {len(movers)} browsers moved within {moved:.1f} s"


def _moved(browser: Browser, url: str) -> bool:
    try:
        browser.move(url)
    except PetioleError:
        return False
    return True


SCENARIOS = (
    Scenario(
        23,
        "web processes killed",
        restart_webs,
        "read_again",
        required="99 % back within 5 s, after a restart plus its spread",
        check=soon_back,
        load=Load(facts=300, interval=0.1, browsers=2),
        settings=MANY_PAGES,
    ),
    Scenario(
        24,
        f"{MANY} browsers return at once",
        all_come_back,
        "read_again",
        required="all back within 60 s",
        check=all_are_back,
        load=Load(facts=200, interval=0.1, browsers=1),
        settings=MANY_PAGES,
    ),
    Scenario(
        33,
        "bus and a web process die together",
        move_elsewhere,
        "read_again",
        required="exact resume at another process",
        on=BACKBONES,
    ),
)

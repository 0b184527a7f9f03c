"""Faults of the bus: rings lost, doubled, swapped, and subscribers that are cut or deaf."""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress

import requests

from chaos.backbones import BACKBONES
from chaos.scenarios.scenario import Scenario
from chaos.system import System
from tests.support.waiting import wait_until

NOTICED_WITHIN = 15.0


def lose_the_last(system: System, _random: random.Random) -> str:
    system.backbone.web_bus.faults.lose = lambda text: b'"state":"succeeded"' in text
    return "every ring of an end lost"


def disturb(system: System, rng: random.Random) -> str:
    faults = system.backbone.web_bus.faults
    faults.lose = faults.double = faults.swap = lambda _text: rng.random() < 0.05
    return "5 % of the rings lost, 5 % doubled, 5 % swapped"


def heals_are_gaps(system: System) -> list[str]:
    """Several gaps may be healed by one reading, but nothing is read where there was no gap."""
    faults = system.backbone.web_bus.faults
    heals = sum(entry["log"] == "gap_healed" for entry in system.history("web"))
    system.noted["figure"] = (
        f"{faults.lost} lost, {faults.doubled} doubled, {faults.swapped} swapped, {heals} readings healed them"
    )
    if not 0 < heals <= faults.lost + faults.swapped:
        return [f"{heals} heals for {faults.lost + faults.swapped} gaps"]
    return []


def lose_chunks(system: System, rng: random.Random) -> str:
    faults = system.backbone.web_bus.faults
    faults.lose = lambda text: b'"kind":"text"' in text and rng.random() < 0.2
    return "a fifth of the chunks lost"


def chunks_were_lost(system: System) -> list[str]:
    return [] if system.backbone.web_bus.faults.lost else ["no chunk was lost"]


def swallow(system: System, _random: random.Random) -> str:
    time.sleep(1)
    system.noted["swallowed"] = time.monotonic()
    system.backbone.web_bus.faults.swallow = True
    # If the bus has its own connections, this is long enough for the one that probes every 5 s to send something.
    time.sleep(6 if system.backbone.bus_is_apart else 1)
    system.backbone.web_bus.faults.swallow = False
    return "the connections of the web side swallowed"


def swallow_subscribers(system: System, rng: random.Random) -> str:
    health = Health(system)
    figure = swallow(system, rng)
    began = system.noted["swallowed"]
    noticed: list[float] = []

    def both_are_back() -> bool:
        noticed[:] = [
            entry["at"] - began
            for entry in system.history("web")
            if entry["log"] == "bus_connected" and entry["at"] > began
        ]
        return len(noticed) >= len(system.webs)

    try:
        wait_until(both_are_back, what="the subscribers are back", timeout=2 * NOTICED_WITHIN)
    except TimeoutError:
        noticed.append(2 * NOTICED_WITHIN)
    system.noted["noticed"] = max(noticed)
    # A probe comes with the next head check.
    with suppress(TimeoutError):
        wait_until(health.is_well, what="both processes are ready again", timeout=NOTICED_WITHIN)
    health.close()
    system.noted["health"] = health
    ill = [f"{after - began:.1f} s" for after in health.ill.values()]
    return f"{figure}, noticed and reconnected after {max(noticed):.1f} s; degraded after {', '.join(ill)}"


class Health:
    """Asks each web process continuously whether it is ready."""

    def __init__(self, system: System) -> None:
        self.ill: dict[int, float] = {}
        self.well: dict[int, float] = {}
        self._closed = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(port,), daemon=True) for port in system.webs]
        for thread in self._threads:
            thread.start()

    def is_well(self) -> bool:
        return all(self.well.get(port, 0.0) > since for port, since in self.ill.items())

    def close(self) -> None:
        self._closed.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, port: int) -> None:
        while not self._closed.wait(0.1):
            with suppress(requests.RequestException):
                answer = requests.get(f"http://127.0.0.1:{port}/petiole/ready", timeout=10)
                if "bus" in answer.json().get("degraded", ""):
                    self.ill.setdefault(port, time.monotonic())
                elif answer.ok:
                    self.well[port] = time.monotonic()


def noticed_in_time(system: System) -> list[str]:
    noticed, health = system.noted["noticed"], system.noted["health"]
    found = [f"the black hole was noticed after {noticed:.1f} s"] if noticed > NOTICED_WITHIN else []
    if len(health.ill) < len(system.webs):
        found.append(f"{len(system.webs) - len(health.ill)} web processes never reported themselves as degraded")
    return found + ([] if health.is_well() else ["a web process said to the end that it was degraded"])


def kill_subscribers(system: System, _random: random.Random) -> str:
    killed = 0
    before = 0
    for number in range(30 if system.full else 6):
        time.sleep(2.0 if system.full else 0.7)
        # The first reconnect may start threads that every later one shares.
        before = system.web_resources().threads if number == 1 else before
        killed += system.backbone.close_subscribers()
    after = system.web_resources().threads
    system.noted["threads"] = (before, after)
    return f"{killed} subscribers killed, {before} threads after the first time and {after} after the last"


def no_more_threads(system: System) -> list[str]:
    before, after = system.noted["threads"]
    return [f"I11 the web processes had {before} threads and have {after}"] if after > before else []


SCENARIOS = (
    Scenario(
        1,
        "the bus drops the last event",
        lose_the_last,
        "head_check",
        required="the end shown within 10 s",
        on=BACKBONES,
    ),
    Scenario(
        2,
        "the bus drops, doubles, swaps",
        disturb,
        "rule",
        required="no more readings than gaps",
        check=heals_are_gaps,
        on=BACKBONES,
    ),
    Scenario(
        3,
        "black hole on the web side",
        swallow_subscribers,
        "rule",
        required="noticed within 15 s, and not ready meanwhile",
        check=noticed_in_time,
        on=BACKBONES,
    ),
    Scenario(
        4,
        "subscribers killed",
        kill_subscribers,
        "rule",
        required="no more threads than before",
        check=no_more_threads,
        on=BACKBONES,
    ),
    Scenario(
        46,
        "the bus drops chunks of texts",
        lose_chunks,
        "lengths",
        required="every text shown as it was written, its receipt complete",
        check=chunks_were_lost,
        on=BACKBONES,
    ),
)

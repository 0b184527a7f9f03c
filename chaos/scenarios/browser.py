"""Faults of the browser's connection: joining at any moment, cut, away for long, stopped."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import requests

from chaos.backbones import BACKBONES
from chaos.light import LightBrowser
from chaos.resources import MIB, family, resources
from chaos.scenarios.scenario import Load, Scenario
from chaos.system import System
from tests.support.waiting import wait_until

KEPT = 50
STAY = (0.02, 0.3)
JOINERS = 8
WAITING_AT_MOST = 1.5 * MIB
# How much a stopped browser may slow the others: the larger of the two.
SLOWER_BY, SLOWER_BY_MS = 0.2, 5.0


def join_everywhere(system: System, rng: random.Random) -> str:
    """Open short watches from a random earlier cursor, or none, until the tasks have ended."""
    rounds = 1000 if system.full else 220
    first = system.browsers[0]
    holes: list[str] = []
    done: list[int] = []

    def join(seed: int) -> None:
        mine = random.Random(seed)
        while len(done) < rounds and not all(view.receipt for view in first.views.values()):
            task, view = mine.choice(list(first.views.items()))
            events = [entry for entry in first.entries(task) if "event" in entry]
            if not events:
                continue
            chosen = mine.choice([None, *mine.sample(events, min(len(events), 3))])
            start = 0 if chosen is None else chosen["facts"]
            cursor = None if chosen is None else chosen["cursor"]
            accepted: dict[str, Any] = {"feed": view.feed, "cursor": cursor, "document": {}}
            known = events[-1]["facts"]
            light = LightBrowser("joiner", system.url(mine.randrange(2)), task, accepted, without=system.without)
            # It leaves at a random moment after its first answer.
            deadline = time.monotonic() + 5
            while (not light.answered_at or light.reader.reading) and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(mine.uniform(*STAY))
            light.close()
            shown = [entry["facts"] for entry in light.entries if "event" in entry and entry["kind"] != "counter"]
            if shown != list(range(start + 1, start + 1 + len(shown))):
                holes.append(f"I9 a joiner from fact {start} was shown {shown[:3]}…{shown[-3:]}, {len(shown)} facts")
            elif start + len(shown) < known:
                holes.append(f"I1 a joiner from fact {start} was shown {len(shown)} facts; there were {known}")
            done.append(task)

    threads = [threading.Thread(target=join, args=(rng.randrange(10**6),)) for _ in range(JOINERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    system.noted["holes"], system.noted["rounds"] = holes, len(done)
    return f"{len(done)} joins"


def no_hole(system: System) -> list[str]:
    few = [] if system.without or system.noted["rounds"] >= 200 else [f"only {system.noted['rounds']} joins"]
    return [*system.noted["holes"], *few]


def cut_browsers(system: System, rng: random.Random) -> str:
    cuts = 0
    for _ in range(20):
        time.sleep(rng.uniform(0.05, 0.3))
        rng.choice(system.browsers).client.cut()
        cuts += 1
    return f"{cuts} connections cut"


def stay_away(system: System, _random: random.Random) -> str:
    """Take browsers away for longer than the journal keeps facts, and let them return."""
    feeds = {task: view.feed for task, view in system.browsers[0].views.items()}
    oracles = []
    for number, (task, feed) in enumerate(feeds.items()):
        accepted: dict[str, Any] = {"feed": feed, "cursor": None, "document": {}}
        oracle = LightBrowser(f"oracle {task}", system.url(number), task, accepted)
        oracle.documents = {}
        away = LightBrowser(f"away {task}", system.url(number), task, accepted, without=system.without)
        system.light += [oracle, away]
        oracles.append((oracle, away))
    wait_until(lambda: all(away.answered_at for _, away in oracles), what="all have arrived", timeout=10)
    for _, away in oracles:
        away.leave()
    left = {away.name: (away.reader.cursor.facts if away.reader.cursor else 0) for _, away in oracles}
    wait_until(
        lambda: all(
            (oracle.reader.cursor.facts if oracle.reader.cursor else 0) > left[away.name] + 2 * KEPT
            for oracle, away in oracles
        ),
        what="twice as many facts as are kept",
        timeout=30,
    )
    for _, away in oracles:
        away.come_back()
    system.noted["pairs"] = oracles
    return f"{len(oracles)} browsers away for more than {2 * KEPT} facts, {KEPT} are kept"


def snapshot_is_said_and_right(system: System) -> list[str]:
    found = []
    compared = 0
    for oracle, away in system.noted["pairs"]:
        resets = [entry for entry in away.entries if "reset" in entry]
        if len(resets) != 1:
            found.append(f"I9 {away.name}: {len(resets)} resets after its return")
        for entry in resets:
            expected = oracle.documents.get(entry["reset"])
            if expected is None:
                continue  # the oracle skipped this cursor in one reading
            compared += 1
            if expected != entry["document"]:
                found.append(
                    f"I4 {away.name}: its snapshot at {entry['reset']} differs: {_difference(expected, entry['document'])}"
                )
        if away.reader.document != oracle.reader.document:
            found.append(f"I4 {away.name}: its last document differs from the oracle's")
    if not compared and not system.without:
        found.append("no snapshot could be compared with an oracle's document of the same place")
    system.noted["figure"] = f"{compared} snapshots equal to the oracle's document at the same cursor"
    return found


def _difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {one.get(name)!r} and {other.get(name)!r}"
        for name in sorted({*one, *other})
        if one.get(name) != other.get(name)
    )


def stop_one(system: System, _random: random.Random) -> str:
    """Stop a browser that follows a fast task; its connection stays open."""
    accepted = system.start_task("say", 0, 20_000 if system.full else 3200, 0.005, 4000)
    others = [LightBrowser(f"other {n}", system.url(n), 0, accepted) for n in range(2)]
    stopped = LightBrowser("stopped", system.url(1), 0, accepted, buffer=4096)
    system.light += [*others, stopped]
    wait_until(lambda: bool(stopped.entries), what="the task is followed", timeout=30)
    time.sleep(2)  # warm
    quiet = time.monotonic()
    time.sleep(4)
    servers = [family(web.popen.pid) for web in system.webs.values()]
    before = [resources(server).memory for server in servers]
    stopped.pause()
    paused = time.monotonic()
    worst = 0
    ends = time.monotonic() + (120 if system.full else 12)
    while time.monotonic() < ends and not others[0].done.is_set():
        waiting = requests.get(f"{system.url(1)}/waiting", timeout=5).json()
        worst = max([worst, *(size for _, size in waiting.values())])
        time.sleep(0.5)
    resumed = time.monotonic()
    after = [resources(server).memory for server in servers]
    system.noted["delays"] = [_p99(others, since, until) for since, until in ((quiet, paused), (paused, resumed))]
    seen = sum("event" in entry for entry in others[0].entries)
    stopped.resume()
    grown = [now - then for now, then in zip(after, before, strict=True)]
    system.noted["waiting"] = worst
    system.noted["grown"] = grown[1] - grown[0]
    rate = sum(paused <= at < resumed for at, _ in others[0].delays) / (resumed - paused)
    return (
        f"{seen} events to the others, {rate:.0f} a second, 99 % within {system.noted['delays'][1]:.0f} ms instead of "
        f"{system.noted['delays'][0]:.0f} ms; at most {worst / MIB:.2f} MiB queued for the stopped one, its web process "
        f"grew by {grown[1] / MIB:.1f} MiB, the other by {grown[0] / MIB:.1f} MiB"
    )


def _p99(lights: list[LightBrowser], since: float, until: float) -> float:
    """Return the 99th percentile of the delays of the events in this time, in milliseconds."""
    delays = sorted(delay for light in lights for at, delay in light.delays if since <= at < until)
    return delays[round(0.99 * (len(delays) - 1))] if delays else float("inf")


def memory_is_bounded(system: System) -> list[str]:
    waiting = system.noted["waiting"]
    before, after = system.noted["delays"]
    found = [f"I11 {waiting / MIB:.1f} MiB queued for one browser"] if waiting > WAITING_AT_MOST else []
    if after > before + max(SLOWER_BY * before, SLOWER_BY_MS):
        found.append(f"99th percentile of the others' delays: {after:.0f} ms instead of {before:.0f} ms")
    return found


SCENARIOS = (
    Scenario(
        5,
        "browsers join at every point",
        join_everywhere,
        "rule",
        required="no hole in 200 joins and more",
        check=no_hole,
        on=BACKBONES,
        load=Load(facts=550, browsers=2),
    ),
    Scenario(6, "browsers cut", cut_browsers, "read_again", required="the exact tail, no reset", on=BACKBONES),
    Scenario(
        7,
        "away longer than the retention",
        stay_away,
        "said",
        required="a snapshot, marked as such, equal to the oracle's",
        check=snapshot_is_said_and_right,
        on=BACKBONES,
        load=Load(facts=400, browsers=1),
        resets_allowed=True,
        settings={"PETIOLE_FACTS_KEPT": str(KEPT)},
    ),
    Scenario(
        25,
        "a stopped browser, a fast task",
        stop_one,
        "window",
        required="at most 1.5 MiB queued for it; the others wait at most 20 %, or 5 ms, longer",
        check=memory_is_bounded,
        load=None,
        settings={"PETIOLE_FACTS_KEPT": "20000", "PETIOLE_BYTES_KEPT": str(64 * MIB)},
    ),
)

"""P5, P6 and P14: one task watched by many, the cost of an idle browser, and the cost of an event by number of browsers."""

from __future__ import annotations

import time
from contextlib import ExitStack
from statistics import median
from typing import Final

from benchmarks.report import Row, compared, write
from benchmarks.site import RIVALS, running

ROUNDS: Final = 5
BROWSERS: Final = 1000
RATE: Final = 5.0
SECONDS: Final = 8.0
CROWDS: Final = (10, 100, 1000, 5000)
STEADY: Final = 1000.0


def main() -> None:
    rows: list[Row] = []
    memory: dict[str, list[float]] = {kind: [] for kind in RIVALS}
    last: dict[str, list[float]] = {kind: [] for kind in RIVALS}
    for _ in range(ROUNDS):
        with ExitStack() as stack:
            # New processes each round: a process rarely returns memory that it has allocated.
            sites = {kind: stack.enter_context(running(kind)) for kind in RIVALS}
            for kind, site in sites.items():
                [room] = site.rooms(1)
                site.browsers([room]).close()
                before = site.memory()
                crowd = site.browsers([room] * BROWSERS)
                time.sleep(2.0)
                memory[kind].append((site.memory() - before) / BROWSERS / 1024)
                load = site.load(crowd, rate=RATE, seconds=SECONDS, each=BROWSERS)
                last[kind].append(sum(load.last) / max(len(load.last), 1))
                crowd.close()
                print(
                    f"{kind}: {memory[kind][-1]:.1f} KiB a browser, last of {BROWSERS}: {last[kind][-1]:.1f} ms",
                    flush=True,
                )
    rows.append(
        compared("P5", f"one task, {BROWSERS:,} browsers: the last one's delay, mean", "ms", *columns(last), limit=1.0)
    )
    rows.append(compared("P6", "memory of an idle watching browser (gevent)", "KiB", *columns(memory), limit=1.1))
    costs = crowd_costs()
    flat = max(costs.values()) / min(costs.values())
    said = ", ".join(f"{number:,}: {cost:.0f} µs" for number, cost in costs.items())
    rows.append(
        Row("P14", f"web CPU for each event at {STEADY:,.0f}/s, by browsers: largest / smallest", "×", flat,
            limit=1.2, limited="measured", note=said)
    )  # fmt: skip
    write("growth", rows)


def columns(found: dict[str, list[float]]) -> tuple[list[float], list[float]]:
    return found["petiole"], found["plain"]


def crowd_costs() -> dict[int, float]:
    """Return the median cost of an event for a web process with so many browsers, each with its own task."""
    found: dict[int, list[float]] = {number: [] for number in CROWDS}
    with ExitStack() as stack:
        sites = {number: stack.enter_context(running("petiole")) for number in CROWDS}
        crowds = {number: site.browsers(site.rooms(number)) for number, site in sites.items()}
        for number, site in sites.items():
            site.load(crowds[number], rate=STEADY, seconds=2.0)
        for _ in range(ROUNDS):
            for number, site in sites.items():
                found[number].append(site.load(crowds[number], rate=STEADY, seconds=SECONDS).web_microseconds)
                print(f"{number:,} browsers: {found[number][-1]:.0f} µs an event", flush=True)
        for crowd in crowds.values():
            crowd.close()
    return {number: median(costs) for number, costs in found.items()}

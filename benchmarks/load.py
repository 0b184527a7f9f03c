"""P2, P3 and P4: many browsers at one web process, each with its own task, and the plain pattern in turn."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from benchmarks.report import Row, alone, compared, write
from benchmarks.site import RIVALS, Browsers, Load, Site, running

BROWSERS: Final = 1000
ROUNDS: Final = 5
STEADY: Final = 1000.0
SECONDS: Final = 8.0
# In 8 s the 99th percentile depends on eighty events, which are few: it is measured more often than the rest.
STEADY_FACTOR: Final = 2
# P3: the rates to try, from below, until the delay shows that a rate is too high.
RATES: Final = (4000, 5000, 6000, 7000, 8000, 9000, 10000, 11000, 12000, 14000, 16000, 18000, 20000, 24000)
RATE_SECONDS: Final = 3.0
RATE_ROUNDS: Final = 3
RATE_LIMIT: Final = 50.0
# P4: the share of events that concern browsers of this process.
ELSEWHERE: Final = 5000.0
HERE: Final = 0.01


def main(rounds: int = ROUNDS) -> None:
    with ExitStack() as stack:
        sites = {kind: stack.enter_context(running(kind)) for kind in RIVALS}
        crowds = {kind: site.browsers(site.rooms(BROWSERS)) for kind, site in sites.items()}
        for kind, site in sites.items():  # the first events are slower everywhere
            site.load(crowds[kind], rate=STEADY, seconds=2.0)
        steady: dict[str, list[Load]] = {kind: [] for kind in RIVALS}
        limits: dict[str, list[float]] = {kind: [] for kind in RIVALS}
        elsewhere: dict[str, list[Load]] = {kind: [] for kind in RIVALS}
        for number in range(STEADY_FACTOR * rounds):
            for kind, site in sites.items():
                steady[kind].append(site.load(crowds[kind], rate=STEADY, seconds=SECONDS))
                print(f"round {number + 1}: {kind} at {STEADY:.0f}/s: {said(steady[kind][-1])}", flush=True)
        for number in range(min(rounds, RATE_ROUNDS)):
            for kind, site in sites.items():
                limits[kind].append(highest(site, crowds[kind]))
                print(f"round {number + 1}: {kind} holds {limits[kind][-1]:.0f}/s", flush=True)
        few = int(BROWSERS * HERE)
        for kind, site in sites.items():
            crowds[kind].close()
            crowds[kind] = site.browsers(site.rooms(few))
        rooms = {kind: [*crowds[kind].rooms, *site.rooms(BROWSERS - few)] for kind, site in sites.items()}
        for number in range(rounds):
            for kind, site in sites.items():
                load = site.load(crowds[kind], rate=ELSEWHERE, seconds=SECONDS, rooms=rooms[kind], each=HERE)
                elsewhere[kind].append(load)
                print(f"round {number + 1}: {kind}, 1 % of {ELSEWHERE:.0f}/s: {said(load)}", flush=True)
        for crowd in crowds.values():
            crowd.close()
    write("load", rows(steady, limits, elsewhere), busy=busy(steady) | busy(elsewhere, " of which 1 % is here"))


def highest(site: Site, crowd: Browsers) -> float:
    """Return the highest rate at which 99 % of the events arrive within the limit, and all of them arrive."""
    held = 0.0
    for rate in RATES:
        load = site.load(crowd, rate=rate, seconds=RATE_SECONDS)
        # If the feeder can't keep the rate, the rate hasn't been measured.
        if load.p99 >= RATE_LIMIT or len(load.delays) < load.sent or load.seconds > RATE_SECONDS * 1.1:
            break
        held = rate
    return held


def rows(
    steady: dict[str, list[Load]], limits: dict[str, list[float]], elsewhere: dict[str, list[Load]]
) -> Sequence[Row]:
    def column(loads: dict[str, list[Load]], name: str) -> tuple[list[float], list[float]]:
        mine, theirs = ([getattr(load, name) for load in loads[kind]] for kind in RIVALS)
        return mine, theirs

    at = f"{BROWSERS:,} browsers, {STEADY:,.0f} events/s"
    return [
        compared("P2", f"emit → browser, p50, {at}", "ms", *column(steady, "p50")),
        alone("P2", f"emit → browser, p99, {at}", "ms", column(steady, "p99")[0], limit=10.0),
        compared("P2", f"emit → browser, p99, {at}", "ms", *column(steady, "p99"), limit=1.0),
        compared("P2", f"web CPU for each event, {at}", "µs", *column(steady, "web_microseconds"), limit=0.7),
        compared(
            *("P3", f"most events/s with p99 < {RATE_LIMIT:.0f} ms, {BROWSERS:,} browsers", "/s"),
            *(limits[kind] for kind in RIVALS),
            limit=1.5,
            at_least=True,
        ),
        compared(
            *("P4", f"web CPU at {ELSEWHERE:,.0f} events/s of which 1 % is here", "cores"),
            *column(elsewhere, "web"),
            limit=0.05,
        ),
    ]


def said(load: Load) -> str:
    return (
        f"{len(load.delays)} of {load.sent} arrived, p50 {load.p50:.2f} ms, p99 {load.p99:.2f} ms; busy: web {load.web:.2f}, "
        f"Redis {load.redis:.2f}, feeder {load.feeder:.2f}, browsers {load.browsers:.2f}"
    )


def busy(loads: dict[str, list[Load]], what: str = "") -> dict[str, object]:
    """Return the load of each process in the last round, as a share of a core."""
    return {
        f"{kind}{what}": {name: round(getattr(found[-1], name), 3) for name in ("web", "redis", "feeder", "browsers")}
        for kind, found in loads.items()
    }

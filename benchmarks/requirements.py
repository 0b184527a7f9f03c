"""The tables of docs/scale.md: the needs of each decade of browsers and events, from the measured costs.

`python -m benchmarks.requirements` prints them; `benchmarks/page.py` puts them into the document.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.arithmetic import (
    EVENTS_A_BROWSER,
    MOST_SHARDS,
    Costs,
    Curve,
    Limits,
    Load,
    Needs,
    cores,
    costs_in,
    needs,
    redis_bytes,
)
from benchmarks.tables import markdown

COSTS: Final = Path(__file__).parent / "results" / "scale.json"
BROWSERS: Final = (100, 1_000, 10_000, 100_000, 1_000_000)
EVENTS: Final = (100, 1_000, 10_000, 100_000)
# For the decades of events: so many pages that connections don't determine the number of web processes.
PAGES: Final = 10_000
MILLION: Final = Load(browsers=1_000_000, events=100_000, feeds=1_000_000)


def tables(costs: Costs, limits: Limits) -> dict[str, str]:
    """Return every table by the name of its place in the document."""
    return {
        "costs": costs_table(costs),
        "million": million_table(costs, limits),
        "browsers": decades(
            "browsers",
            {f"{n:,}": Load(browsers=n, events=n * EVENTS_A_BROWSER, feeds=n) for n in BROWSERS},
            *(costs, limits),
        ),
        "events": decades(
            "events/s",
            {f"{n:,}": Load(browsers=PAGES, events=n, feeds=PAGES) for n in EVENTS},
            *(costs, limits),
        ),
    }


def costs_table(costs: Costs) -> str:
    """Return the constants, in words."""
    lines = [
        ("web: an event to its browser", _curve(costs.web_event)),
        ("web: the same event to each further browser", f"{costs.web_further_us:.0f} µs"),
        ("web: an idle watching browser",
         f"{costs.web_browser_us:.0f} µs each second, {costs.web_browser_kib:.0f} KiB"),
        ("web: a joining browser", f"{costs.web_join_us / 1000:.2f} ms"),
        ("web: an idle process", f"{costs.web_idle_us:,.0f} µs each second, {costs.web_mib:.0f} MiB"),
        ("Redis: a fact, appended and rung", _curve(costs.redis_fact)),
        ("Redis: a watched feed, polled by its web process", f"{costs.redis_browser_us:.1f} µs each second"),
        ("Redis: each web process", f"{costs.redis_web_us:,.0f} µs each second"),
        ("Redis: each worker", f"{costs.redis_worker_us:.0f} µs each second"),
        ("Redis: a live feed of five facts", f"{costs.redis_feed_kib:.1f} KiB"),
        ("worker: a fact, without the task's own work", f"{costs.worker_fact_us:.0f} µs"),
        ("worker: an idle one", f"{costs.worker_idle_us:,.0f} µs each second, {costs.worker_mib:.0f} MiB"),
        ("a fact on the wire: to Redis, from Redis, to a browser",
         f"{costs.fact_in_bytes:.0f}, {costs.fact_out_bytes:.0f}, {costs.frame_bytes:.0f} bytes"),
        ("a watched feed on the wire: to Redis, from Redis",
         f"{costs.watch_in_bytes:.0f}, {costs.watch_out_bytes:.0f} bytes each second"),
    ]  # fmt: skip
    return markdown(["what", "cost"], lines)


def million_table(costs: Costs, limits: Limits) -> str:
    """Return the needs of a million browsers and 100,000 events a second, each line with its arithmetic."""
    load = MILLION
    found = needs(costs, load, limits)
    each, share = load.events / found.webs, load.events / found.shards
    web_us, redis_us = costs.web_event.at(each), costs.redis_fact.at(share)
    real = replace(load, webs=found.webs, shards=found.shards)
    busy = cores(costs, real)
    to_redis, from_redis = redis_bytes(costs, real)
    events, browsers, feeds = f"{load.events:,.0f}", f"{load.browsers:,}", f"{load.feeds:,}"
    lines = [
        ("web processes, for connections", f"{browsers} / {limits.connections:,}",
         f"{load.browsers / limits.connections:,.0f}"),
        ("web processes, for CPU",
         f"({events} × {web_us:.0f} µs, at {each:,.0f}/s each, + {browsers} × {costs.web_browser_us:.0f} µs "
         f"+ {found.webs} × {costs.web_idle_us:,.0f} µs) / {limits.share} core", f"{busy['web'] / limits.share:,.0f}"),
        ("web memory", f"{browsers} × {costs.web_browser_kib:.0f} KiB + {found.webs} × {costs.web_mib:.0f} MiB",
         f"{found.web_gib:,.0f} GiB"),
        ("Redis shards, for CPU",
         f"({events} × {redis_us:.0f} µs, at {share:,.0f}/s each, + {feeds} × {costs.redis_browser_us:.1f} µs "
         f"+ {found.webs} × {costs.redis_web_us:,.0f} µs) / {limits.share} core", f"{busy['redis'] / limits.share:,.1f}"),
        ("Redis shards, for memory", f"{feeds} × {costs.redis_feed_kib:.1f} KiB / {limits.redis_gib:.0f} GiB",
         f"{found.redis_gib / limits.redis_gib:,.1f}"),
        ("bytes to Redis", _bytes(load, found.webs, costs.fact_in_bytes, costs.watch_in_bytes, costs.web_in_bytes),
         f"{to_redis / 1e6:,.0f} MB/s"),
        ("bytes from Redis", _bytes(load, found.webs, costs.fact_out_bytes, costs.watch_out_bytes, costs.web_out_bytes),
         f"{from_redis / 1e6:,.0f} MB/s"),
        ("bytes to the browsers", f"{events} × {costs.frame_bytes:.0f}", f"{found.browser_bytes / 1e6:,.0f} MB/s"),
        ("workers' CPU for their events", f"{events} × {costs.worker_fact_us:.0f} µs", f"{found.worker_cores:,.0f} cores"),
        ("all browsers join at once", f"{browsers} × {costs.web_join_us / 1000:.2f} ms / {found.webs}",
         f"{found.join_seconds:,.0f} s"),
    ]  # fmt: skip
    return markdown(["what", "arithmetic, for each second", "result"], lines)


def decades(name: str, loads: Mapping[str, Load], costs: Costs, limits: Limits) -> str:
    """Return the needs of each load, and what runs out first."""
    header = [
        name,
        "web processes",
        "Redis shards",
        "web memory",
        "Redis memory",
        "through Redis",
        "to browsers",
        "runs out first",
        "next",
    ]
    return markdown(header, [_line(what, needs(costs, load, limits)) for what, load in loads.items()])


def _line(what: str, found: Needs) -> list[str]:
    shards = f"{found.shards}" if found.shards <= MOST_SHARDS else f"{found.shards}, more than {MOST_SHARDS} partitions"
    return [
        what,
        f"{found.webs:,}",
        shards,
        f"{found.web_gib:,.1f} GiB",
        f"{found.redis_gib:,.2f} GiB",
        f"{found.redis_bytes / 1e6:,.2f} MB/s",
        f"{found.browser_bytes / 1e6:,.2f} MB/s",
        *(f"{resource}, {_of_one(found.used[resource])}" for resource in found.order[:2]),
    ]


def _bytes(load: Load, webs: int, fact: float, watch: float, web: float) -> str:
    return f"{load.events:,.0f} × {fact:.0f} + {load.feeds:,} × {watch:.0f} + {webs} × {web:,.0f}"


def _curve(curve: Curve) -> str:
    return ", ".join(f"{us:.0f} µs at {rate:,.0f}/s" for rate, us in curve.points)


def _of_one(used: float) -> str:
    return f"{used:.1%} of one" if used < 1 else f"{used:,.1f} of them"


def show() -> None:
    """Print all of them."""
    for name, text in tables(costs_in(json.loads(COSTS.read_text())), Limits()).items():
        print(f"\n{name}\n\n{text}", flush=True)


if __name__ == "__main__":
    show()

"""The arithmetic against loads that fit on this machine: predictions from the costs of other loads, and measurements."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from benchmarks.arithmetic import Costs, Load, cores, redis_bytes
from benchmarks.fed import feed
from benchmarks.fleet import Watchers, fleet, memory_of
from benchmarks.tables import markdown

# As with a million browsers and 100,000 events/s, an event every ten seconds for each; and many events for few browsers.
LOADS: Final = (
    Load(browsers=5_000, events=500, feeds=5_000, webs=1),
    Load(browsers=2_000, events=2_000, feeds=2_000, webs=2),
    Load(browsers=3_000, events=100, feeds=300, webs=3, deliveries=10.0),
)
ROUNDS: Final = 3


def measure(load: Load) -> dict[str, Any]:
    """Run a load, and return its usage."""
    with fleet(webs=load.webs) as site:
        memory = memory_of(site.webs)
        before = site.redis_memory()
        feeds = site.open_feeds(load.feeds)
        held = site.redis_memory() - before
        each = int(load.deliveries)
        # The browsers of one feed are at different web processes, as in production.
        pages = [(site.urls[at % load.webs], [feeds[at % load.feeds]]) for at in range(load.browsers)]
        crowd = Watchers(pages)
        taken = memory_of(site.webs) - memory
        feed(site, crowd, feeds, rate=load.events, each=each)
        rounds = [feed(site, crowd, feeds, rate=load.events, each=each) for _ in range(ROUNDS)]
        crowd.close()
    return {
        "browsers": load.browsers,
        "events": load.events,
        "feeds": load.feeds,
        "webs": load.webs,
        "deliveries": load.deliveries,
        "p50": statistics.median(one.p50 for one in rounds),
        "p99": statistics.median(one.p99 for one in rounds),
        # By the duration of the events, without the wait for the last of them.
        "web": statistics.median(one.used.busy("web") for one in rounds),
        "redis": statistics.median(one.used.busy("redis") for one in rounds),
        "web_bytes": taken,
        "redis_bytes": held,
        "to_redis": statistics.median(one.used.bytes_in / one.used.seconds for one in rounds),
        "from_redis": statistics.median(one.used.bytes_out / one.used.seconds for one in rounds),
        "to_browsers": statistics.median(one.frame_bytes * one.delivered / one.used.seconds for one in rounds),
        "rate": statistics.median(one.sent / one.used.seconds for one in rounds),
    }


def table(found: Iterable[Mapping[str, Any]], costs: Costs) -> str:
    """Return the prediction for each load next to the measurement."""
    lines: list[list[str]] = []
    for one in found:
        load = Load(one["browsers"], one["rate"], one["feeds"], one["webs"], 0, one["deliveries"])
        busy = cores(costs, load)
        name = (
            f"{load.browsers:,} browsers, {one['events']:,.0f} events/s, each to {load.deliveries:.0f}, {load.webs} web"
        )
        to_redis, from_redis = redis_bytes(costs, load)
        delivered = load.events * load.deliveries
        lines += [
            line(name, "web, cores", busy["web"], one["web"]),
            line(name, "Redis, cores", busy["redis"], one["redis"]),
            line(name, "web memory, MiB", load.browsers * costs.web_browser_kib / 1024, one["web_bytes"] / 2**20),
            line(name, "to browsers, MB/s", delivered * costs.frame_bytes / 1e6, one["to_browsers"] / 1e6),
            line(name, "to Redis, MB/s", to_redis / 1e6, one["to_redis"] / 1e6),
            line(name, "from Redis, MB/s", from_redis / 1e6, one["from_redis"] / 1e6),
        ]
    return markdown(HEADER, lines)


HEADER: Final[Sequence[str]] = ("load", "what", "predicted", "measured", "predicted / measured")


def line(name: str, what: str, predicted: float, measured: float) -> list[str]:
    """Return one comparison."""
    return [name, what, f"{predicted:.3g}", f"{measured:.3g}", f"{predicted / measured:.2f}"]

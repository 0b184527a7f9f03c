"""What a load needs, computed from measured costs: cores, processes, shards, bytes a second, and what runs out first. Pure.

Each event, browser and process has a cost; an event costs less the busier its process is (`Curve`). Unmeasured quantities
are named assumptions (`Limits`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from itertools import count, pairwise
from typing import Any, Final

# Events a second per browser, if each watches one task that emits an event every ten seconds.
EVENTS_A_BROWSER: Final = 0.1
MOST_SHARDS: Final = 64  # the number of partitions


@dataclass(frozen=True)
class Curve:
    """The cost of an event for a process, in microseconds of CPU, by the rate of events: measured points, in order.

    Interpolated by the logarithm of the rate; beyond the points the nearest one counts.
    """

    points: tuple[tuple[float, float], ...]

    def at(self, rate: float) -> float:
        """Return the cost of one event at this rate."""
        for (low, dear), (high, cheap) in pairwise(self.points):
            if rate <= low:
                return dear
            if rate < high:
                return dear + (cheap - dear) * math.log(rate / low) / math.log(high / low)
        return self.points[-1][1]


@dataclass(frozen=True)
class Costs:
    """Measured costs. `us`: microseconds of CPU, for one event, or for each second of an idle part."""

    # A web process: an event to its first browser, to each further one of the same feed; a browser that watches; itself.
    web_event: Curve
    web_further_us: float
    web_browser_us: float
    web_idle_us: float
    web_join_us: float
    web_browser_kib: float
    web_mib: float
    # Redis: a fact appended and rung to one process; the polling of each web process, for each watched feed, of each worker.
    redis_fact: Curve
    redis_web_us: float
    redis_browser_us: float
    redis_worker_us: float
    redis_feed_kib: float
    # A worker: a fact, without the task's own work; itself.
    worker_fact_us: float
    worker_idle_us: float
    worker_mib: float
    # On the wire: to and from Redis for each fact, and to a browser for each event.
    fact_in_bytes: float
    fact_out_bytes: float
    frame_bytes: float
    # To and from Redis in each second: for each watched feed, and for each web process.
    watch_in_bytes: float
    watch_out_bytes: float
    web_in_bytes: float
    web_out_bytes: float


@dataclass(frozen=True)
class Load:
    """`events` a second, each to `deliveries` browsers; `feeds` are watched and live."""

    browsers: int
    events: float
    feeds: int
    webs: int = 1
    workers: int = 0
    deliveries: float = 1.0
    shards: int = 1

    @property
    def followed(self) -> float:
        """The number of feeds that all web processes follow together; one with browsers at several of them counts for each."""
        return self.feeds * min(max(self.deliveries, 1.0), self.webs)


@dataclass(frozen=True)
class Limits:
    """Assumptions: the planned capacity of one process, one Redis and one link."""

    share: float = 0.6  # share of a core, so that bursts don't wait
    connections: int = 10_000  # of one web process (`worker_connections`): the highest number that was run
    # Of one web process: heads are compared a hundred at a time with 20 ms in between, and every 5 s.
    watched: int = 25_000
    redis_gib: float = 8.0  # of one shard, without its fork for the AOF
    link_bytes: float = 125e6 * 0.6  # 1 Gbit/s, the same share


@dataclass(frozen=True)
class Needs:
    """The needs of a load. `used`: how many of each resource it fills, at their planned capacity."""

    webs: int
    shards: int
    web_gib: float
    redis_gib: float
    worker_cores: float
    redis_bytes: float
    browser_bytes: float
    join_seconds: float
    used: Mapping[str, float]

    @property
    def order(self) -> list[str]:
        """The resources in the order in which they run out if there is one of each."""
        return sorted(self.used, key=lambda name: -self.used[name])


def cores(costs: Costs, load: Load) -> dict[str, float]:
    """Return the busy cores of each kind of process."""
    first = load.events * min(load.deliveries, 1.0)
    further = load.events * max(load.deliveries - 1.0, 0.0)
    web = (
        first * costs.web_event.at(first / load.webs)
        + further * costs.web_further_us
        + load.browsers * costs.web_browser_us
        + load.webs * costs.web_idle_us
    )
    redis = (
        load.events * costs.redis_fact.at(load.events / load.shards)
        + load.webs * costs.redis_web_us
        + load.followed * costs.redis_browser_us
        + load.workers * costs.redis_worker_us
    )
    workers = load.events * costs.worker_fact_us + load.workers * costs.worker_idle_us
    return {"web": web / 1e6, "redis": redis / 1e6, "workers": workers / 1e6}


def redis_bytes(costs: Costs, load: Load) -> tuple[float, float]:
    """Return the bytes a second to and from Redis."""
    return (
        load.events * costs.fact_in_bytes + load.followed * costs.watch_in_bytes + load.webs * costs.web_in_bytes,
        load.events * costs.fact_out_bytes + load.followed * costs.watch_out_bytes + load.webs * costs.web_out_bytes,
    )


def web_processes(costs: Costs, load: Load, limits: Limits) -> int:
    """Return the number of web processes for a load."""
    least = max(math.ceil(load.browsers / limits.connections), math.ceil(load.feeds / limits.watched), 1)
    return next(
        number for number in count(least) if cores(costs, replace(load, webs=number))["web"] <= number * limits.share
    )


def shards(costs: Costs, load: Load, limits: Limits) -> int:
    """Return the number of Redis servers for a load."""
    memory = math.ceil(load.feeds * costs.redis_feed_kib / 2**20 / limits.redis_gib)
    link = math.ceil(max(redis_bytes(costs, load)) / limits.link_bytes)
    return next(
        number
        for number in count(max(memory, link, 1))
        if cores(costs, replace(load, shards=number))["redis"] <= number * limits.share
    )


def needs(costs: Costs, load: Load, limits: Limits) -> Needs:
    """Return the needs of a load; this computes its `webs` and `shards`."""
    real = replace(load, webs=web_processes(costs, load, limits))
    alone = cores(costs, replace(load, webs=1, shards=1))
    redis_gib = load.feeds * costs.redis_feed_kib / 2**20
    through = max(redis_bytes(costs, real))
    browser_bytes = load.events * load.deliveries * costs.frame_bytes
    return Needs(
        webs=real.webs,
        shards=shards(costs, real, limits),
        web_gib=(load.browsers * costs.web_browser_kib / 1024 + real.webs * costs.web_mib) / 1024,
        redis_gib=redis_gib,
        worker_cores=alone["workers"],
        redis_bytes=through,
        browser_bytes=browser_bytes,
        join_seconds=load.browsers * costs.web_join_us / 1e6 / real.webs,
        used={
            "web CPU": alone["web"] / limits.share,
            "web connections": load.browsers / limits.connections,
            "web head checks": load.feeds / limits.watched,
            # All web processes of the load poll this one Redis.
            "Redis CPU": cores(costs, replace(real, shards=1))["redis"] / limits.share,
            "Redis memory": redis_gib / limits.redis_gib,
            "Redis's link": through / limits.link_bytes,
            "the link to the browsers": browser_bytes / limits.link_bytes,
        },
    )


def costs_in(result: Mapping[str, Any]) -> Costs:
    """Return the costs from the results of `python -m benchmarks scale`."""
    found = result["costs"]
    curves = {
        name: Curve(tuple((rate, us) for rate, us in found[name]["points"])) for name in ("web_event", "redis_fact")
    }
    single = {field.name: float(found[field.name]) for field in fields(Costs) if field.name not in curves}
    return Costs(**curves, **single)  # type: ignore[arg-type]

"""What a load needs, computed from measured costs: cores, processes, shards, bytes a second, and what runs out first. Pure.

Costs are linear: so much for each event, each browser, each process. What isn't measured here is a named assumption (`Limits`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

# A browser's share of events where each watches one task that says something every ten seconds.
EVENTS_A_BROWSER: Final = 0.1
MOST_SHARDS: Final = 64  # as many as there are partitions


@dataclass(frozen=True)
class Costs:
    """Measured. `us`: microseconds of CPU, for one event or, of what is merely there, for each second."""

    # A web process: an event to its first browser, to each further one of the same feed; a browser that watches; itself.
    web_event_us: float
    web_further_us: float
    web_browser_us: float
    web_idle_us: float
    web_join_us: float
    web_browser_kib: float
    web_mib: float
    # Redis: a fact appended and rung to one process; being asked by each web process, for each watched feed, by each worker.
    redis_fact_us: float
    redis_web_us: float
    redis_browser_us: float
    redis_worker_us: float
    redis_feed_kib: float
    # A worker: a fact, beside the task's own work; itself.
    worker_fact_us: float
    worker_idle_us: float
    worker_mib: float
    # On the wire: to Redis and from it for each fact, and to a browser for each event.
    fact_in_bytes: float
    fact_out_bytes: float
    frame_bytes: float


@dataclass(frozen=True)
class Load:
    """`events` a second, of which each goes to `deliveries` browsers; `feeds` that are watched and live."""

    browsers: int
    events: float
    feeds: int
    webs: int = 1
    workers: int = 0
    deliveries: float = 1.0


@dataclass(frozen=True)
class Limits:
    """Assumed: what one process, one Redis and one link are planned for."""

    share: float = 0.6  # of a core, so that bursts don't wait
    connections: int = 5000  # of one web process: `worker_connections`
    redis_gib: float = 8.0  # of one shard, its fork for the AOF not counted
    link_bytes: float = 125e6 * 0.6  # 1 Gbit/s, the same share


@dataclass(frozen=True)
class Needs:
    """What a load needs. `used`: of each resource, how many it fills, as fractions of one that is planned for."""

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
        """What runs out first if there is one of each, then what is next, and so on."""
        return sorted(self.used, key=lambda name: -self.used[name])


def cores(costs: Costs, load: Load) -> dict[str, float]:
    """Return how many cores each kind of process keeps busy."""
    further = load.events * max(load.deliveries - 1.0, 0.0)
    web = (
        load.events * min(load.deliveries, 1.0) * costs.web_event_us
        + further * costs.web_further_us
        + load.browsers * costs.web_browser_us
        + load.webs * costs.web_idle_us
    )
    redis = (
        load.events * costs.redis_fact_us
        + load.webs * costs.redis_web_us
        + load.feeds * costs.redis_browser_us
        + load.workers * costs.redis_worker_us
    )
    workers = load.events * costs.worker_fact_us + load.workers * costs.worker_idle_us
    return {"web": web / 1e6, "redis": redis / 1e6, "workers": workers / 1e6}


def web_processes(costs: Costs, load: Load, limits: Limits) -> int:
    """Return how many web processes a load takes: for its connections, and for their CPU, each process's own taken off."""
    shared = cores(costs, Load(load.browsers, load.events, load.feeds, webs=0, deliveries=load.deliveries))["web"]
    room = limits.share - costs.web_idle_us / 1e6
    return max(math.ceil(load.browsers / limits.connections), math.ceil(shared / room), 1)


def needs(costs: Costs, load: Load, limits: Limits) -> Needs:
    """Return what a load needs; `load.webs` is what is computed here."""
    webs = web_processes(costs, load, limits)
    real = Load(load.browsers, load.events, load.feeds, webs, load.workers, load.deliveries)
    busy = cores(costs, real)
    out = load.events * costs.fact_out_bytes
    redis_bytes = max(load.events * costs.fact_in_bytes, out)
    redis_gib = load.feeds * costs.redis_feed_kib / 2**20
    browser_bytes = load.events * load.deliveries * costs.frame_bytes
    used = {
        "web CPU": cores(costs, Load(load.browsers, load.events, load.feeds, 1, 0, load.deliveries))["web"]
        / limits.share,
        "web connections": load.browsers / limits.connections,
        "Redis CPU": busy["redis"] / limits.share,
        "Redis memory": redis_gib / limits.redis_gib,
        "Redis's link": redis_bytes / limits.link_bytes,
        "the link to the browsers": browser_bytes / limits.link_bytes,
    }
    shards = max(math.ceil(used[name]) for name in ("Redis CPU", "Redis memory", "Redis's link"))
    return Needs(
        webs=webs,
        shards=max(shards, 1),
        web_gib=(load.browsers * costs.web_browser_kib / 1024 + webs * costs.web_mib) / 1024,
        redis_gib=redis_gib,
        worker_cores=busy["workers"],
        redis_bytes=redis_bytes,
        browser_bytes=browser_bytes,
        join_seconds=load.browsers * costs.web_join_us / 1e6 / webs,
        used=used,
    )


def costs_in(result: Mapping[str, Any]) -> Costs:
    """Return the costs in what `python -m benchmarks scale` has written."""
    return Costs(**{field.name: float(result["costs"][field.name]) for field in fields(Costs)})

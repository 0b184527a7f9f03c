"""How cost grows: 1, 2, 4 web processes; 10² to 10⁴ watching browsers; 10² to 10⁵ feeds; costs for docs/scale.md."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from benchmarks import predicted, requirements, sizes
from benchmarks.arithmetic import Costs, Curve, costs_in
from benchmarks.fed import feed, middle
from benchmarks.fleet import Watchers, fleet, memory_of
from benchmarks.report import Row, write
from benchmarks.tables import markdown
from benchmarks.workers import measure as run_tasks

ROUNDS: Final = 3
IDLE: Final = 10.0
WEBS: Final = (1, 2, 4)
BROWSERS: Final = 400
RATE: Final = 800.0
# The same browsers at one web process, by events a second.
RATES: Final = (200.0, 3_000.0)
# One feed that all watch: events a second, each to every browser.
SHARED_RATE: Final = 10.0
CROWDS: Final = (100, 1_000, 10_000)
# Workers, for the cost of an idle one, and of a fact for its worker.
WORKERS: Final = 20
WORKER_FACTS: Final = 80
WORKER_INTERVAL: Final = 0.1


def processes(number: int) -> dict[str, Any]:
    """Measure the same events with so many web processes: each event to one browser, and each to all."""
    with fleet(webs=number) as site:
        # A web process starts its periodic work with its first browser.
        first = Watchers(site.spread(site.open_feeds(number), number))
        bare = site.idle(IDLE)
        feeds = site.open_feeds(BROWSERS)
        crowd = Watchers(site.spread(feeds, BROWSERS))
        feed(site, crowd, feeds, rate=RATE)
        idle = site.idle(IDLE)
        own = [feed(site, crowd, feeds, rate=RATE) for _ in range(ROUNDS)]
        others = {rate: [feed(site, crowd, feeds, rate=rate) for _ in range(ROUNDS)] for rate in RATES if number == 1}
        memory = memory_of(site.webs)
        crowd.close()
        [shared] = site.open_feeds(1)
        crowd = Watchers([(site.urls[at % number], [shared]) for at in range(BROWSERS)])
        all_of_one = [feed(site, crowd, [shared], rate=SHARED_RATE, each=BROWSERS) for _ in range(ROUNDS)]
        crowd.close()
        first.close()
    return {
        "webs": number,
        "p50": statistics.median(one.p50 for one in own),
        "p99": statistics.median(one.p99 for one in own),
        "web_event_us": middle(own, idle, "web"),
        "redis_event_us": middle(own, idle, "redis"),
        "web_delivery_us": middle(all_of_one, idle, "web", delivered=True),
        "web_idle": bare.busy("web"),
        "redis_idle": bare.busy("redis"),
        "commands_idle": bare.commands / bare.seconds,
        "in_idle": bare.bytes_in / bare.seconds,
        "out_idle": bare.bytes_out / bare.seconds,
        "memory_mib": memory / 2**20,
        "rates": [
            {
                "rate": rate,
                "p50": statistics.median(one.p50 for one in found),
                "p99": statistics.median(one.p99 for one in found),
                "web_event_us": middle(found, idle, "web"),
                "redis_event_us": middle(found, idle, "redis"),
            }
            for rate, found in sorted({**others, RATE: own}.items())
        ],
        "frame_bytes": own[-1].frame_bytes,
        "in_bytes": (own[-1].used.bytes_in - idle.bytes_in / idle.seconds * own[-1].used.seconds) / own[-1].sent,
        "out_bytes": (own[-1].used.bytes_out - idle.bytes_out / idle.seconds * own[-1].used.seconds) / own[-1].sent,
    }


def watching() -> list[dict[str, float]]:
    """Measure one web process with idle browsers, each with its own feed."""
    found = []
    crowds: list[Watchers] = []
    with fleet(webs=1) as site:
        crowds.append(Watchers(site.spread(site.open_feeds(1), 1)))
        before = memory_of(site.webs)
        watched = 1
        for number in CROWDS:
            feeds = site.open_feeds(number - watched)
            begun, started = site.mark(), time.monotonic()
            crowds.append(Watchers(site.spread(feeds, len(feeds))))
            taken = time.monotonic() - started
            joined = site.used(begun)
            watched = number
            time.sleep(2.0)  # so that the rest of the work of joining isn't counted
            idle = site.idle(IDLE)
            found.append(
                {
                    "browsers": number,
                    "web_idle": idle.busy("web"),
                    "redis_idle": idle.busy("redis"),
                    "commands_idle": idle.commands / idle.seconds,
                    "in_idle": idle.bytes_in / idle.seconds,
                    "out_idle": idle.bytes_out / idle.seconds,
                    "join_us": joined.web / len(feeds) * 1e6,
                    "joined_in": taken,
                    "kib": (memory_of(site.webs) - before) / number / 1024,
                    "mib": before / 2**20,
                }
            )
            print(f"{number:,} idle browsers: web {idle.busy('web'):.3f} cores, joined in {taken:.1f} s", flush=True)
        for crowd in crowds:
            crowd.close()
    return found


def working() -> dict[str, float]:
    """Measure workers: the cost of an idle one, and of a fact for its worker."""
    with fleet(webs=1) as site:
        first = Watchers(site.spread(site.open_feeds(1), 1))
        bare = site.idle(IDLE)
        site.start_workers(WORKERS)
        idle = site.idle(IDLE)
        costs = []
        for _ in range(ROUNDS):
            run = run_tasks(site, tasks=WORKERS, browsers=WORKERS, facts=WORKER_FACTS, interval=WORKER_INTERVAL)
            if not run.tally.clean:
                raise SystemExit(f"Something was lost: {run.tally}")
            spoken = WORKERS * WORKER_FACTS
            costs.append(
                (
                    (run.used.workers - idle.busy("workers") * run.used.seconds) / spoken * 1e6,
                    (run.used.redis - idle.busy("redis") * run.used.seconds) / spoken * 1e6,
                    (run.used.web - idle.busy("web") * run.used.seconds) / spoken * 1e6,
                )
            )
        memory = memory_of(site.workers) / WORKERS
        first.close()
    return {
        "worker_fact_us": statistics.median(cost[0] for cost in costs),
        "redis_fact_us": statistics.median(cost[1] for cost in costs),
        "web_fact_us": statistics.median(cost[2] for cost in costs),
        "worker_idle_us": idle.busy("workers") / WORKERS * 1e6,
        "redis_worker_us": (idle.busy("redis") - bare.busy("redis")) / WORKERS * 1e6,
        "commands_worker": (idle.commands / idle.seconds - bare.commands / bare.seconds) / WORKERS,
        "worker_mib": memory / 2**20,
    }


def costs_of(
    webs: Sequence[dict[str, Any]], crowds: Sequence[dict[str, float]], workers: dict[str, float], kib: float
) -> Costs:
    """Return the costs for the arithmetic: the difference between many and few, for each."""
    one, few, many = webs[0], crowds[-2], crowds[-1]
    more = many["browsers"] - few["browsers"]

    def each(name: str) -> float:
        """Return one process's polling for each feed, minus its own. Measured with few feeds: with many it polls less often."""
        own = statistics.median(float(found[name]) / float(found["webs"]) for found in webs)
        return max(float(few[name]) - own, 0.0) / float(few["browsers"])

    return Costs(
        web_event=curve(one["rates"], "web_event_us"),
        web_further_us=one["web_delivery_us"],
        web_browser_us=(many["web_idle"] - few["web_idle"]) / more * 1e6,
        web_idle_us=statistics.median(found["web_idle"] / found["webs"] for found in webs) * 1e6,
        web_join_us=many["join_us"],
        web_browser_kib=many["kib"],
        web_mib=many["mib"],
        redis_fact=curve(one["rates"], "redis_event_us"),
        redis_web_us=statistics.median(found["redis_idle"] / found["webs"] for found in webs) * 1e6,
        redis_browser_us=each("redis_idle") * 1e6,
        redis_worker_us=max(workers["redis_worker_us"], 0.0),
        redis_feed_kib=kib,
        worker_fact_us=workers["worker_fact_us"],
        worker_idle_us=workers["worker_idle_us"],
        worker_mib=workers["worker_mib"],
        fact_in_bytes=one["in_bytes"],
        fact_out_bytes=one["out_bytes"],
        frame_bytes=one["frame_bytes"],
        watch_in_bytes=each("in_idle"),
        watch_out_bytes=each("out_idle"),
        web_in_bytes=statistics.median(found["in_idle"] / found["webs"] for found in webs),
        web_out_bytes=statistics.median(found["out_idle"] / found["webs"] for found in webs),
    )


def curve(rates: Sequence[dict[str, float]], name: str) -> Curve:
    """Return the cost of an event by the rate."""
    return Curve(tuple((found["rate"], found[name]) for found in rates))


def main() -> None:
    webs = []
    for number in WEBS:
        webs.append(processes(number))
        print(f"{number} web processes: {webs[-1]['web_event_us']:.0f} µs an event", flush=True)
    workers = working()
    crowds = watching()
    feeds = sizes.measure(lambda line: print(line, flush=True))
    costs = costs_of(webs, crowds, workers, feeds[-1]["kib"])
    verbs = [feeds[0]["verbs"], feeds[-1]["verbs"]]
    growth = max(verbs[1][name][0] / verbs[0][name][0] for name in verbs[0])
    dearer = webs[-1]["web_event_us"] / webs[0]["web_event_us"]
    rows = [
        Row("M14", "web CPU for each event over 4 web processes / over 1", "×", dearer),
        Row("M14", "a verb's cost to Redis with 10⁵ feeds / with 10², the one that grows most", "×", growth),
    ]
    checks = []
    for load in predicted.LOADS:
        checks.append(predicted.measure(load))
        print(f"{load}: {checks[-1]}", flush=True)
    details = {
        "costs": asdict(costs),
        "webs": webs,
        "workers": workers,
        "browsers": crowds,
        "feeds": feeds,
        "checks": checks,
    }
    print("\n\n".join(tables(details).values()), flush=True)
    write("scale", rows, **details)
    requirements.show()


def tables(found: dict[str, Any]) -> dict[str, str]:
    """Return the results as tables."""
    return {
        "webs": webs_table(found["webs"]),
        "rates": rates_table(found["webs"][0]["rates"]),
        "crowds": crowds_table(found["browsers"]),
        "feeds": feeds_table(found["feeds"]),
        "loads": predicted.table(found["checks"], costs_in(found)),
    }


def rates_table(found: Sequence[dict[str, float]]) -> str:
    return markdown(
        ["events/s at one web process", "web, an event", "Redis, an event", "p50", "p99"],
        [
            [
                f"{one['rate']:,.0f}",
                f"{one['web_event_us']:.0f} µs",
                f"{one['redis_event_us']:.0f} µs",
                f"{one['p50']:.2f} ms",
                f"{one['p99']:.1f} ms",
            ]
            for one in found
        ],
    )


def webs_table(found: Sequence[dict[str, Any]]) -> str:
    header = [
        *("web processes", "p50", "p99", "web: an event to 1 browser", "Redis: the same"),
        *(f"web: a delivery of 1 to {BROWSERS}", "idle: web", "idle: Redis", "memory"),
    ]
    return markdown(
        header,
        [
            [
                str(one["webs"]),
                f"{one['p50']:.2f} ms",
                f"{one['p99']:.1f} ms",
                f"{one['web_event_us']:.0f} µs",
                f"{one['redis_event_us']:.0f} µs",
                f"{one['web_delivery_us']:.0f} µs",
                f"{one['web_idle']:.3f} cores",
                f"{one['redis_idle']:.3f} cores",
                f"{one['memory_mib']:.0f} MiB",
            ]
            for one in found
        ],
    )


def crowds_table(found: Sequence[dict[str, float]]) -> str:
    return markdown(
        [
            "idle browsers",
            "web",
            "Redis",
            "commands/s",
            "memory of each",
            "CPU of joining, each",
            "all have joined in",
        ],
        [
            [
                f"{one['browsers']:,}",
                f"{one['web_idle']:.3f} cores",
                f"{one['redis_idle']:.3f} cores",
                f"{one['commands_idle']:,.0f}",
                f"{one['kib']:.1f} KiB",
                f"{one['join_us'] / 1000:.2f} ms",
                f"{one['joined_in']:.1f} s",
            ]
            for one in found
        ],
    )


def feeds_table(found: Sequence[dict[str, Any]]) -> str:
    names = list(found[0]["verbs"])
    return markdown(
        ["feeds", "Redis memory of each", *names],
        [
            [
                f"{one['feeds']:,}",
                f"{one['kib']:.2f} KiB",
                *(f"{one['verbs'][name][0]:.0f} µs / {one['verbs'][name][1] / 1000:.2f} ms" for name in names),
            ]
            for one in found
        ],
    )

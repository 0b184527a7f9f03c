"""M14: 1, 10 and a hundred Celery worker processes; then 1,000 tasks, 500 browsers, three web processes, and nothing lost."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from benchmarks.arithmetic import Costs, Load, cores, costs_in
from benchmarks.fleet import Fleet, Used, Watchers, fleet, memory_of, memory_of_one
from benchmarks.predicted import HEADER, line
from benchmarks.report import RESULTS, Row, write
from benchmarks.site import quantile
from benchmarks.tables import markdown
from petiole.journal.answers import Head

WEBS: Final = 3
# How cost grows: the same 200 facts a second, from one worker, from ten, from a hundred.
GROWTH: Final = (1, 10, 100)
RATE: Final = 200.0
GROWTH_FACTS: Final = 1200
ROUNDS: Final = 3
IDLE: Final = 8.0
# The large run: 100 tasks at a time, each with five facts a second.
TASKS: Final = 1000
BROWSERS: Final = 500
FACTS: Final = 30
INTERVAL: Final = 0.2
# The facts around a task's own: queued, running, succeeded.
STATES: Final = 3
# The controls: one event is swallowed on its way to one browser.
CONTROL_TASKS: Final = 100
CONTROL_FACTS: Final = 10
SWALLOWED: Final = 4
# Browsers have joined by then.
LEAD: Final = 2.0
LEAD_OF_A_TASK: Final = 0.012
PATIENCE: Final = 60.0


@dataclass(frozen=True)
class Tally:
    """The shown facts of the browsers, compared with the journal and with the tasks' own numbers."""

    expected: int
    received: int
    lost: int
    shown_twice: int
    receipts: int
    wrong_receipts: int

    @property
    def clean(self) -> bool:
        return not (self.lost or self.shown_twice or self.wrong_receipts)

    def __str__(self) -> str:
        return (
            f"{self.expected:,} facts expected, {self.received:,} received, {self.lost} lost, {self.shown_twice} shown twice; "
            f"{self.receipts - self.wrong_receipts:,} of {self.receipts:,} receipts right"
        )


@dataclass(frozen=True)
class Run:
    """One load and its cost. `web_memory` and so on in bytes, for all processes of the kind."""

    workers: int
    tasks: int
    tally: Tally
    delays: list[float]
    used: Used
    events: int
    frame_bytes: float
    reads: int
    resets: int

    @property
    def p50(self) -> float:
        return quantile(self.delays, 0.5)

    @property
    def p99(self) -> float:
        return quantile(self.delays, 0.99)

    @property
    def rate(self) -> float:
        return self.events / self.used.seconds


def tally(shown: Sequence[Mapping[str, Any]], heads: Mapping[str, Head], *, count: int) -> Tally:
    """Check each browser's reading of each feed: by the number of facts, by chain, and by the task's own numbers.

    `count`: the number of each task's own facts; the journal must have those and the three states.
    """
    expected = received = lost = twice = wrong = 0
    for one in shown:
        head = heads.get(one["feed"])
        facts = count + STATES
        numbers = one["numbers"]
        missing = set(range(count)) - set(numbers)
        expected += facts
        received += one["shown"]
        lost += max(facts - one["shown"], len(missing), 0)
        twice += len(numbers) - len(set(numbers))
        right = (
            head is not None
            and head.cursor.facts == one["facts"] == one["shown"] == facts
            and head.cursor.chain == one["chain"]
            and one["complete"]
            and one["state"] == "succeeded"
            and numbers == list(range(count))
        )
        wrong += not right
    return Tally(expected, received, lost, twice, len(shown), wrong)


def measure(
    site: Fleet, *, tasks: int, browsers: int, facts: int, interval: float, swallow: int = 0, reads: bool = True
) -> Run:
    """Start tasks, have browsers watch all of them, and check at the end what each browser has shown."""
    begin_at = time.monotonic() + LEAD + tasks * LEAD_OF_A_TASK
    feeds = site.start_tasks(tasks, [begin_at, facts, interval])
    watchers = Watchers(site.spread(feeds, browsers), swallow=swallow, reads=reads)
    try:
        late = time.monotonic() - begin_at
        if late > 0:
            raise RuntimeError(f"The browsers joined {late:.1f} s after the tasks began.")
        time.sleep(-late)
        watchers.ask("mark")
        begun = site.mark()
        # A browser that misses an event, and may not read, never sees its task end.
        unseen = 1 if swallow and not reads else 0
        waves = -(-tasks // len(site.workers))
        deadline = begin_at + waves * (facts + 1) * interval + PATIENCE
        while (said := watchers.ask("count"))["ended"] < tasks - unseen and time.monotonic() < deadline:
            time.sleep(0.2)
        used = site.used(begun, browsers=said["cpu"])
        found = watchers.ask("end")
    finally:
        watchers.close()
    with site.journal() as journal:
        heads = journal.heads(feeds)
    checked = tally(found["feeds"], heads, count=facts)
    size = found["bytes"] / max(found["events"], 1)
    return Run(
        *(len(site.workers), tasks, checked, found["delays"], used, found["events"]),
        frame_bytes=size,
        reads=found["reads"],
        resets=found["resets"],
    )


def main() -> None:
    growth: list[dict[str, Any]] = []
    with fleet(webs=WEBS) as site:
        for number in GROWTH:
            begun = time.monotonic()
            site.start_workers(number)
            started = time.monotonic() - begun
            growth.append(grown(site, number) | {"started_in": started})
        print(growth_table(growth), flush=True)
        large = measure(site, tasks=TASKS, browsers=BROWSERS, facts=FACTS, interval=INTERVAL)
        print(
            f"{TASKS:,} tasks, {BROWSERS} browsers: {large.tally}; {large.reads} reads, {large.resets} resets",
            flush=True,
        )
        kinds = memory(site)
        lost, healed = controls(site)
    hundred = summary(large) | {"memory": kinds}
    path = RESULTS / "scale.json"
    costs = costs_in(json.loads(path.read_text())) if path.exists() else None
    if costs is None:
        print("There are no costs yet to predict from. Run python -m benchmarks scale, then this again.")
    found = {"growth": growth, "hundred": hundred, "unread": summary(lost), "healed": summary(healed)}
    print("\n\n".join(tables(found, costs).values()), flush=True)
    write("workers", rows(large, lost, healed), **found)
    if not large.tally.clean or lost.tally.clean or not healed.tally.clean:
        raise SystemExit("The run with a hundred workers has failed: see the rows.")


def grown(site: Fleet, number: int) -> dict[str, Any]:
    """Measure so many workers idle, and at the common rate."""
    idle = site.idle(IDLE)
    facts, interval = GROWTH_FACTS // number, number / RATE
    runs = [measure(site, tasks=number, browsers=number, facts=facts, interval=interval) for _ in range(ROUNDS)]
    for run in runs:
        print(f"{number} workers: {run.tally}; p50 {run.p50:.2f} ms, p99 {run.p99:.2f} ms", flush=True)
        if not run.tally.clean:
            raise SystemExit(f"Something was lost with {number} workers: {run.tally}")
    middle = sorted(runs, key=lambda run: run.used.busy("redis"))[len(runs) // 2]
    return summary(middle) | {
        "p50": statistics.median(run.p50 for run in runs),
        "p99": statistics.median(run.p99 for run in runs),
        "busy": {
            kind: statistics.median(run.used.busy(kind) for run in runs)
            for kind in ("web", "redis", "workers", "browsers")
        },
        "idle": {kind: idle.busy(kind) for kind in ("web", "redis", "workers")}
        | {"commands": idle.commands / idle.seconds},
        "worker_memory": memory_of(site.workers) / number,
    }


def summary(run: Run) -> dict[str, Any]:
    """Return a run as plain numbers."""
    return {
        "workers": run.workers,
        "tasks": run.tasks,
        "tally": asdict(run.tally),
        "p50": run.p50,
        "p99": run.p99,
        "seconds": run.used.seconds,
        "rate": run.rate,
        "busy": {kind: run.used.busy(kind) for kind in ("web", "redis", "workers", "browsers")},
        "frame_bytes": run.frame_bytes,
        "redis_commands": run.used.commands / run.used.seconds,
        "redis_bytes_in": run.used.bytes_in / run.used.seconds,
        "redis_bytes_out": run.used.bytes_out / run.used.seconds,
        "reads": run.reads,
        "resets": run.resets,
    }


def controls(site: Fleet) -> tuple[Run, Run]:
    """Swallow one event of one browser: without reading the check must notice, and with reading nothing is lost."""
    sizes: dict[str, Any] = {
        "tasks": CONTROL_TASKS,
        "browsers": CONTROL_TASKS // 2,
        "facts": CONTROL_FACTS,
        "interval": 0.2,
    }
    lost = measure(site, **sizes, swallow=SWALLOWED, reads=False)
    print(f"control, one event swallowed and not read again: {lost.tally}", flush=True)
    healed = measure(site, **sizes, swallow=SWALLOWED)
    print(f"control, one event swallowed and read again: {healed.tally}; {healed.reads} reads", flush=True)
    return lost, healed


def memory(site: Fleet) -> dict[str, float]:
    """Return the total memory of each kind of process, in MiB."""
    return {
        "web": memory_of(site.webs) / 2**20,
        "redis": memory_of_one(site.redis_process.popen.pid) / 2**20,
        "redis data": site.redis_memory() / 2**20,
        "workers": memory_of(site.workers) / 2**20,
    }


def rows(large: Run, lost: Run, healed: Run) -> list[Row]:
    at = f"{large.workers} workers, {large.tasks:,} tasks, {BROWSERS} browsers, {WEBS} web processes"
    note = f"{large.tally.received:,} of {large.tally.expected:,} received, {large.reads} reads"
    return [
        Row("M14", f"facts lost, {at}", "", large.tally.lost, limit=0, limited="measured", note=note),
        Row("M14", "wrong receipts", "", large.tally.wrong_receipts, limit=0, limited="measured"),
        Row("M14", f"emit → browser, p50, {large.rate:,.0f} events/s", "ms", large.p50),
        Row("M14", "emit → browser, p99, the same", "ms", large.p99),
        Row(
            *("M14", "control: facts lost when one event is swallowed and not read again", "", lost.tally.lost),
            limit=1,
            limited="measured",
            at_least=True,
        ),
        Row(
            *("M14", "control: facts lost when one event is swallowed and read again", "", healed.tally.lost),
            limit=0,
            limited="measured",
        ),
    ]


def tables(found: Mapping[str, Any], costs: Costs | None) -> dict[str, str]:
    """Return the results as tables, with the predictions from the costs, if these are known."""
    measured = {
        "outcome": outcome_table(found),
        "workers": growth_table(found["growth"]),
        "hundred": busy_table(found["hundred"]),
    }
    if costs is None:
        return measured
    return {**measured, "check": check_table([*found["growth"], found["hundred"]], costs)}


def outcome_table(found: Mapping[str, Any]) -> str:
    """Return the losses and the delays: of the large run, and of its controls."""
    names = {
        "hundred": "a hundred workers",
        "unread": "control: one event swallowed, not read again",
        "healed": "control: one event swallowed, read again",
    }
    lines = []
    for key, name in names.items():
        run = found[key]
        checked = Tally(**run["tally"])
        lines.append(
            [
                name,
                f"{checked.expected:,}",
                f"{checked.received:,}",
                f"{checked.lost:,}",
                f"{checked.receipts - checked.wrong_receipts:,} of {checked.receipts:,}",
                f"{run['reads']:,}",
                # A control doesn't measure delays: all of its tasks begin together.
                *(
                    (f"{run['rate']:,.0f}/s", f"{run['p50']:.2f} ms", f"{run['p99']:.1f} ms")
                    if key == "hundred"
                    else "–––"
                ),
            ]
        )
    header = ["run", "facts", "received", "lost", "receipts right", "reads", "rate", "p50", "p99"]
    return markdown(header, lines)


def growth_table(growth: Sequence[Mapping[str, Any]]) -> str:
    """Return how cost grows with the number of workers."""
    header = [
        "workers",
        "p50",
        "p99",
        "workers' CPU",
        "Redis",
        "web",
        "idle: workers",
        "idle: Redis",
        "a worker's memory",
    ]
    lines = [
        [
            str(one["workers"]),
            f"{one['p50']:.2f} ms",
            f"{one['p99']:.1f} ms",
            *(f"{one['busy'][kind]:.3f}" for kind in ("workers", "redis", "web")),
            *(f"{one['idle'][kind]:.3f}" for kind in ("workers", "redis")),
            f"{one['worker_memory'] / 2**20:.0f} MiB",
        ]
        for one in growth
    ]
    return markdown(header, lines)


def busy_table(large: Mapping[str, Any]) -> str:
    """Return the load of each kind of process in the large run, and its memory."""
    busy, kinds = large["busy"], large["memory"]
    return markdown(
        ["kind", "processes", "cores busy", "memory of all"],
        [
            ["workers", str(large["workers"]), f"{busy['workers']:.2f}", f"{kinds['workers']:,.0f} MiB"],
            ["web", str(WEBS), f"{busy['web']:.2f}", f"{kinds['web']:,.0f} MiB"],
            ["Redis", "1", f"{busy['redis']:.2f}", f"{kinds['redis']:,.0f} MiB"],
            ["browsers", "1", f"{busy['browsers']:.2f}", "–"],
        ],
    )


def load_of(run: Mapping[str, Any]) -> Load:
    """Return a run as a load for the arithmetic."""
    browsers = min(run["tasks"], BROWSERS)
    return Load(
        browsers=browsers,
        events=run["rate"],
        feeds=run["tasks"],
        webs=WEBS,
        workers=run["workers"],
    )


def check_table(runs: Sequence[Mapping[str, Any]], costs: Costs) -> str:
    """Return the predictions of the arithmetic for runs, from costs that were measured elsewhere, next to the measurements."""
    lines = []
    for run in runs:
        busy = cores(costs, load_of(run))
        name = f"{run['workers']} workers, {run['tasks']:,} tasks, {run['rate']:,.0f} events/s"
        lines += [line(name, f"{kind}, cores", busy[kind], run["busy"][kind]) for kind in ("web", "redis", "workers")]
    return markdown(HEADER, lines)

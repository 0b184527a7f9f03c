"""T1 to T5: text that streams, from a token's write to the browser, its cost in each process, and what it takes in Redis."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Final

import redis
import requests

from benchmarks import text_costs
from benchmarks.live import LEAD, ROOM, start_worker
from benchmarks.report import Row, compared, write
from benchmarks.site import RIVALS, ROOT, Browsers, Site, cpu_of, quantile, running
from benchmarks.tokens import SIZE, due_at
from petiole.protocol.events import task_feed

ROUNDS: Final = 5
# T1: one stream, and the first chunk beside a fact of the same task.
RATES: Final = (20, 200)
SECONDS: Final = 5.0
FIRSTS: Final = 10
APART: Final = 0.2
# T2: many streams in one web process; the rival has the highest of its rates that the machine carries.
STREAMS: Final = 500
STREAM_RATE: Final = 100
STREAM_SECONDS: Final = 8.0
RIVAL_RATES: Final = (2, 5, 10, 20, 50, 100)
LIMIT: Final = 60.0


def main() -> None:
    rows: list[Row] = []
    with ExitStack() as stack:
        sites = {kind: stack.enter_context(running(kind)) for kind in RIVALS}
        for site in sites.values():
            start_worker(site)
        rows += [first_chunk(sites["petiole"]), *one_stream(sites)]
    with ExitStack() as stack:
        rows += many_streams({kind: stack.enter_context(running(kind)) for kind in RIVALS})
    rows += [*text_costs.worker(), *text_costs.memory(), *text_costs.joining()]
    write("text", rows)


def first_chunk(site: Site) -> Row:
    """Compare the delay of a task's first chunk with that of a fact of the same task, one before the other in turn."""
    chunks: list[list[float]] = []
    facts: list[list[float]] = []
    for number in range(ROUNDS):
        found = [first_of_each(site, text_first=turn % 2 == 0) for turn in range(FIRSTS)]
        chunks.append([chunk for chunk, _ in found])
        facts.append([fact for _, fact in found])
        print(
            f"first, round {number + 1}: chunk p50 {quantile(chunks[-1], 0.5):.2f} ms, fact {quantile(facts[-1], 0.5):.2f} ms",
            flush=True,
        )
    medians = [[quantile(delays, 0.5) for delays in rounds] for rounds in (chunks, facts)]
    return compared("T1", "first write → browser, p50 (rival: a fact of the same task)", "ms", *medians, limit=1.2)


def first_of_each(site: Site, *, text_first: bool) -> tuple[float, float]:
    """Run one task, and return the delay of its first chunk and of its fact, in milliseconds."""
    begin_at, token = time.monotonic() + LEAD, uuid.uuid4().hex
    browser = Browsers("petiole", site.url, [start(site, "begin_petiole", [begin_at, APART, text_first, token])])
    delays: list[float] = []
    arrived: list[tuple[int, int]] = []
    while not delays or not arrived:
        time.sleep(0.1)
        report = browser.report()
        delays += report["delays"]
        # A fact says how long the text is, too.
        arrived += [pair for pair in report["lengths"][0] if pair[0] == SIZE]
    browser.close()
    [written] = instants(site, token)
    return (arrived[0][1] - written) / 1e6, delays[0]


def one_stream(sites: dict[str, Site]) -> Iterator[Row]:
    """Measure one stream at each rate, the rivals in turn."""
    for rate in RATES:
        rounds: dict[str, list[list[float]]] = {kind: [] for kind in RIVALS}
        for number in range(ROUNDS):
            for kind, site in sites.items():
                found = delays_of_one(kind, site, rate)
                rounds[kind].append(found)
                print(
                    f"{rate} tokens/s, round {number + 1}: {kind}: {len(found)} of {int(rate * SECONDS)}, "
                    f"p50 {quantile(found, 0.5):.2f} ms, p99 {quantile(found, 0.99):.2f} ms",
                    flush=True,
                )
        at = f"one stream at {rate} tokens/s"
        yield from (beside("T1", f"write → browser, p{share * 100:.0f}, {at}", rounds, share) for share in (0.5, 0.99))


def beside(goal: str, what: str, rounds: dict[str, list[list[float]]], share: float) -> Row:
    """Return a row of two rivals' delays; the goal is an absolute one, of the 99th percentile."""
    mine, theirs = (statistics.median(quantile(found, share) for found in rounds[kind]) for kind in RIVALS)
    limit = LIMIT if share == 0.99 else None
    return Row(goal, what, "ms", mine, theirs, limit=limit, limited="measured")


def delays_of_one(kind: str, site: Site, rate: int) -> list[float]:
    """Run one task that streams, and return the delays of its tokens."""
    begin_at, count, token = time.monotonic() + LEAD, int(rate * SECONDS), uuid.uuid4().hex
    arguments = [begin_at, count, 1 / rate, False, token if kind == "petiole" else ROOM]
    if kind == "petiole":
        browser = Browsers(kind, site.url, [start(site, "write_petiole", arguments)])
    else:
        browser = Browsers(kind, site.url, [ROOM])
        start(site, "write_plain", arguments)
    if time.monotonic() > begin_at:
        raise RuntimeError(f"The browser of {kind} joined after the task had begun.")
    delays: list[float] = []
    arrived: list[tuple[int, int]] = []
    deadline = begin_at + SECONDS + 10.0
    while max(len(delays), arrived[-1][0] // SIZE if arrived else 0) < count and time.monotonic() < deadline:
        time.sleep(0.2)
        report = browser.report()
        delays += report["delays"]
        arrived += report["lengths"][0]
    browser.close()
    return delays if kind == "plain" else list(delays_of(arrived, instants(site, token).__getitem__))


def start(site: Site, name: str, arguments: Sequence[object]) -> str:
    answer = requests.post(f"{site.url}/start/{name}", json=arguments, timeout=10)
    answer.raise_for_status()
    return task_feed(answer.json()["id"])


def instants(site: Site, token: str) -> list[int]:
    """Return when a task wrote each of its tokens; it says so after the last one."""
    with redis.Redis.from_url(site.redis_url) as client:
        deadline = time.monotonic() + 10.0
        while (found := client.get(f"instants:{token}")) is None and time.monotonic() < deadline:
            time.sleep(0.05)
    written: list[int] = json.loads(found or "[]")
    return written


def delays_of(arrived: Iterable[tuple[int, int]], written: Callable[[int], int], *, before: int = 0) -> Iterator[float]:
    """Yield each token's delay in milliseconds: until the text was so long that the token was shown.

    `arrived`: how long the text was, and when; `before`: how long it had been. `written(number)`: when a token was written.
    """
    for (begin, _), (end, instant) in pairwise([(before, 0), *arrived]):
        for number in range(begin // SIZE, end // SIZE):
            yield (instant - written(number)) / 1e6


@dataclass(frozen=True)
class Streamed:
    """Measurements of many streams: each token's delay in milliseconds, and the load of each process (share of a core)."""

    rate: int
    delays: list[float]
    missing: int
    # How many events brought them.
    events: int
    seconds: float
    loads: dict[str, float]

    @property
    def p99(self) -> float:
        return quantile(self.delays, 0.99)

    @property
    def tokens_an_event(self) -> float:
        """More than the rate and the merge give, if the feeder or Redis can't keep the pace."""
        return len(self.delays) / max(self.events, 1)

    @property
    def web_microseconds(self) -> float:
        return self.loads["web"] * self.seconds * 1e6 / max(len(self.delays), 1)

    @property
    def redis_microseconds(self) -> float:
        return self.loads["Redis"] * self.seconds * 1e6 / max(self.events, 1)

    @property
    def is_held(self) -> bool:
        return self.p99 < LIMIT and not self.missing

    def __str__(self) -> str:
        loads = ", ".join(f"{name} {load:.2f}" for name, load in self.loads.items())
        return (
            f"{self.rate} tokens/s each: {self.missing} missing, {self.tokens_an_event:.1f} in an event, "
            f"p50 {quantile(self.delays, 0.5):.2f} ms, p99 {self.p99:.2f} ms, "
            f"web {self.web_microseconds:.1f} µs a token, Redis {self.redis_microseconds:.1f} µs an event; busy: {loads}"
        )


def many_streams(sites: dict[str, Site]) -> list[Row]:
    """Measure many streams in one web process; the rival at the highest rate that the machine carries."""
    crowds = {kind: site.browsers(site.rooms(STREAMS)) for kind, site in sites.items()}
    before = 0
    rival = RIVAL_RATES[0]
    for rate in RIVAL_RATES:  # from below, until the delay shows that a rate is too high
        found = stream(sites["plain"], crowds["plain"], rate=rate, seconds=3.0)
        print(f"plain at {found}", flush=True)
        if not found.is_held:
            break
        rival = rate
    rounds: dict[str, list[Streamed]] = {kind: [] for kind in RIVALS}
    rates = {"petiole": STREAM_RATE, "plain": rival}
    # The first events are slower everywhere.
    stream(sites["petiole"], crowds["petiole"], rate=STREAM_RATE, seconds=2.0)
    before = int(STREAM_RATE * 2.0)
    for number in range(ROUNDS):
        for kind, site in sites.items():
            found = stream(site, crowds[kind], rate=rates[kind], seconds=STREAM_SECONDS, before=before)
            rounds[kind].append(found)
            print(f"{STREAMS} streams, round {number + 1}: {kind} at {found}", flush=True)
        before += int(STREAM_RATE * STREAM_SECONDS)
    for crowd in crowds.values():
        crowd.close()
    at = f"{STREAMS} streams at {STREAM_RATE} tokens/s in one web process"
    merged = statistics.median(found.tokens_an_event for found in rounds["petiole"])
    note = f"{merged:.1f} tokens an event; the rival at {rival} tokens/s, the most of {RIVAL_RATES} with p99 < {LIMIT:.0f} ms"
    p99s = [statistics.median(found.p99 for found in rounds[kind]) for kind in RIVALS]
    missing = sum(found.missing for found in rounds["petiole"])
    costs = [[found.web_microseconds for found in rounds[kind]] for kind in RIVALS]
    return [
        Row(*("T2", f"write → browser, p99, {at}", "ms", p99s[0], p99s[1]), limit=LIMIT, limited="measured", note=note),
        Row("T2", "the same: tokens that did not arrive", "", missing, limit=0, limited="measured"),
        compared("T2", "the same: web CPU for each token", "µs", *costs, limit=0.3, note=note),
    ]


def stream(site: Site, crowd: Browsers, *, rate: int, seconds: float, before: int = 0) -> Streamed:
    """Send `rate` tokens a second to each browser; waits until all have them, for at most five seconds."""
    crowd.report()
    web, server = cpu_of(site.web), cpu_of(site.redis_process)
    started = time.monotonic()
    command = [sys.executable, "-m", "benchmarks.tokens", site.kind, site.redis_url]
    pace = [str(rate), str(seconds), str(before)]
    fed = json.loads(
        subprocess.run([*command, *pace, *crowd.rooms], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    )
    expected = fed["tokens"] * len(crowd.rooms)
    delays: list[float] = []
    lasts = [before * SIZE] * len(crowd.rooms)
    busy, events = 0.0, 0
    deadline = time.monotonic() + 5.0
    while True:
        report = crowd.report()
        delays += report["delays"]
        busy += report["cpu"]
        events += len(report["delays"])
        for index, arrived in enumerate(report["lengths"]):
            events += len(arrived)
            written = partial(due_at, fed["begun"], index, rate=rate, rooms=len(crowd.rooms), first=before)
            delays += delays_of(arrived, written, before=lasts[index])
            lasts[index] = arrived[-1][0] if arrived else lasts[index]
        if len(delays) >= expected or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    taken = time.monotonic() - started
    loads = {
        "web": (cpu_of(site.web) - web) / taken,
        "Redis": (cpu_of(site.redis_process) - server) / taken,
        "feeder": fed["cpu"] / taken,
        "browsers": busy / taken,
    }
    return Streamed(rate, delays, expected - len(delays), events, taken, loads)

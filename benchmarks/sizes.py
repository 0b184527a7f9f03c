"""The cost of the journal's verbs with 10² to 10⁵ feeds, and a feed's memory in Redis."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import redis

from benchmarks.site import LONG, quantile, redis_server
from petiole.journal.redis.journal import RedisJournal
from petiole.protocol.events import Draft, task_feed
from petiole.settings import Settings

SIZES: Final = (100, 1_000, 10_000, 100_000)
FACTS: Final = 5  # including queued and running
BYTES: Final = 100
TASKS_OF_AN_OWNER: Final = 10
AT_ONCE: Final = 500
CALLS: Final = 400
ROUNDS: Final = 3
SEVERAL: Final = 100
OTHERS: Final = 1_000_000
HEADS: Final = 100
# The verbs' commands that clients send: the time of a script includes the commands that it calls.
SENT: Final = ("cmdstat_evalsha", "cmdstat_eval", "cmdstat_zrevrangebyscore")
# The replies that `Pipelined` fakes, where the caller checks them.
_OPENED: Final = (b"opened", b"00000000", b"1", b"1", b"0" * 16, 0)


class Pipelined(RedisJournal):
    """A journal that sends its scripts without waiting for their answers: for many feeds in a short time."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._pipeline: Any = self._client.pipeline(transaction=False)
        client: Any = self._client
        for name in ("open", "claim", "append", "index"):
            client.script_load(self._script(name).source)

    def send(self) -> None:
        """Send the collected calls, and raise their errors."""
        self._pipeline.execute()

    def _run(self, name: str, keys: Any, arguments: Any) -> Any:
        self._pipeline.evalsha(self._script(name).digest, len(keys), *keys, *arguments)
        return _OPENED if name == "open" else (b"missing",)


def seed(url: str, first: int, last: int) -> list[str]:
    """Open, claim and fill feeds, and return their names."""
    journal = Pipelined(Settings(journal_url=url))
    feeds = [task_feed(f"{index:07}") for index in range(first, last)]
    for at in range(0, len(feeds), AT_ONCE):
        for index, feed in enumerate(feeds[at : at + AT_ONCE], first + at):
            owner = f"user:{index // TASKS_OF_AN_OWNER}"
            journal.open(feed, owner=owner, draft=Draft("state", {"state": "queued", "title": "Export"}))
            running = Draft("state", {"state": "running"})
            journal.claim(feed, running, worker="here", delivery=feed, retries=0, lease=LONG)
            for fact in range(1, FACTS - 1):
                journal.append(feed, _line(), run=1, fact=fact + 1)
        journal.send()
    journal.close()
    return feeds


def measure(report: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return for each number of feeds the cost of each verb for Redis, and its caller's waiting time, in microseconds."""
    found = []
    with tempfile.TemporaryDirectory() as directory, redis_server(Path(directory)) as url:
        journal = RedisJournal(Settings(journal_url=url))
        with redis.Redis.from_url(url) as client:
            # Scripts and buffers take memory too, but only once.
            costs_of_verbs(journal, client, seed(url, OTHERS, OTHERS + 2 * TASKS_OF_AN_OWNER))
            empty = client.info("memory")["used_memory"]
            feeds: list[str] = []
            for size in SIZES:
                feeds += seed(url, len(feeds), size)
                memory = (client.info("memory")["used_memory"] - empty) / size / 1024
                verbs = costs_of_verbs(journal, client, feeds)
                found.append({"feeds": size, "kib": memory, "verbs": verbs})
                report(
                    f"{size:,} feeds: {memory:.2f} KiB each; "
                    + ", ".join(f"{n} {v[0]:.0f} µs" for n, v in verbs.items())
                )
        journal.close()
    return found


def costs_of_verbs(journal: RedisJournal, client: redis.Redis, feeds: list[str]) -> dict[str, tuple[float, float]]:
    """Return for each verb the median of Redis's own time, and of the caller's, in microseconds."""
    chosen = random.sample(feeds, min(CALLS, len(feeds)))
    calls = [chosen[number % len(chosen)] for number in range(CALLS)]
    groups = [random.sample(feeds, min(HEADS, len(feeds))) for _ in range(SEVERAL)]
    known = [{feed: head.cursor for feed, head in journal.heads(group).items()} for group in groups]
    owners = [f"user:{number % (len(feeds) // TASKS_OF_AN_OWNER)}" for number in range(SEVERAL)]
    # As web and reaper append: without a run's numbers, so that a feed chosen twice accepts it too.
    ways: dict[str, list[Callable[[], object]]] = {
        # As the relay compares silent feeds: first, before anything is appended to them.
        f"{HEADS} compared": [partial(journal.changed_heads, cursors) for cursors in known],
        "append": [partial(journal.append, feed, _line()) for feed in calls],
        "read": [partial(journal.read, feed, None, limit=500) for feed in calls],
        "snapshot": [partial(journal.snapshot, feed) for feed in calls],
        "list": [partial(journal.list, owner, limit=50) for owner in owners],
        "expired": [partial(journal.expired, limit=100)] * SEVERAL,
        "pending": [partial(journal.pending, limit=100)] * SEVERAL,
    }
    return {name: _cost(client, way, name) for name, way in ways.items()}


def _cost(client: redis.Redis, calls: Sequence[Callable[[], object]], name: str) -> tuple[float, float]:
    sent = ("cmdstat_zrange",) if name == "pending" else SENT
    rounds, taken = [], []
    for call in calls[:5]:
        call()
    for _ in range(ROUNDS):
        client.config_resetstat()
        for call in calls:
            begun = time.perf_counter()
            call()
            taken.append((time.perf_counter() - begun) * 1e6)
        stats: Any = client.info("commandstats")
        rounds.append(sum(stats[command]["usec"] for command in sent if command in stats) / len(calls))
    return statistics.median(rounds), quantile(taken, 0.5)


def _line() -> Draft:
    return Draft("log", data={"level": "info", "message": "x" * BYTES})

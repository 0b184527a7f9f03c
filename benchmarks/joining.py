"""P11: joining a feed of a thousand facts, one browser after the other, and a thousand browsers within a second."""

from __future__ import annotations

import json
import time
from typing import Final

import redis

from benchmarks.browsers import Connection, connect
from benchmarks.report import alone, write
from benchmarks.site import Site, quantile, running
from petiole.journal.redis.journal import RedisJournal
from petiole.protocol.events import Draft
from petiole.settings import Settings

FACTS: Final = 1000
BYTES: Final = 100
JOINS: Final = 300
HERD: Final = 1000
ROUNDS: Final = 3


def main() -> None:
    taken: list[float] = []
    reads: list[float] = []
    answered: list[float] = []
    with running("petiole") as site:
        [room] = site.rooms(1)
        journal = RedisJournal(Settings(journal_url=site.redis_url))
        for number in range(FACTS):
            journal.append(room, Draft("log", data={"level": "info", "message": "x" * BYTES}), run=1, fact=number + 2)
        [other] = site.rooms(1)
        for _ in range(JOINS):
            # Already connected, as a page is: this measures the watch, with every page of facts.
            connection = connect("petiole", site.url, other)
            begun = time.perf_counter()
            join(connection, room)
            taken.append((time.perf_counter() - begun) * 1000)
            connection.socket.close()
        for _ in range(ROUNDS):
            count, last = herd(site, room, other)
            reads.append(count)
            answered.append(last)
            print(
                f"{HERD} browsers: {count} reads of the journal, the last one answered after {last:.2f} s", flush=True
            )
    write(
        "joining",
        [
            alone(
                *("P11a", f"joining a feed of {FACTS:,} facts of {BYTES} bytes, p99", "ms"),
                [quantile(taken, 0.99)],
                limit=100.0,
            ),
            alone("P11a", "the same, p50", "ms", [quantile(taken, 0.5)]),
            alone(
                "P11b", f"{HERD:,} browsers join one feed within a second: reads of the journal", "", reads, limit=10.0
            ),
            alone("P11b", "the same: until the last one is answered", "s", answered, limit=2.0),
        ],
    )


def join(connection: Connection, room: str) -> None:
    """Watch a feed and read on until there are no more facts."""
    asked = {"feed": room}
    for number in range(2, 100):
        connection.send(f"42/petiole,{number}" + json.dumps(["watch", asked]))
        while not (frame := connection.next()).startswith(b"43/petiole,"):
            pass
        answer = json.loads(frame[frame.index(b"[") :])[0]
        if not answer["more"]:
            return
        asked["cursor"] = answer["cursor"]


def herd(site: Site, room: str, other: str) -> tuple[int, float]:
    """Have many browsers watch within a second; return the number of reads of the journal, and when the last had its answer."""
    connections = [connect("petiole", site.url, other) for _ in range(HERD)]
    watch = "42/petiole,2" + json.dumps(["watch", {"feed": room}])
    with redis.Redis.from_url(site.redis_url) as client:
        before = pages_read(client)
        begun = time.perf_counter()
        for connection in connections:
            connection.send(watch)
        for connection in connections:
            while not connection.next().startswith(b"43/petiole,2["):
                pass
        last = time.perf_counter() - begun
        count = pages_read(client) - before
    for connection in connections:
        connection.socket.close()
    return count, last


def pages_read(client: redis.Redis) -> int:
    """Return the number of pages of facts that the journal's script has read so far."""
    calls = client.info("commandstats").get("cmdstat_lrange", {"calls": 0})["calls"]
    return int(calls)

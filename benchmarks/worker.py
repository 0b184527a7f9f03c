"""P9 and P13: the cost of an event in the worker, compared with the plain emitter, and the cost of a task in Redis."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import redis
from flask_socketio import SocketIO

from benchmarks.report import Row, alone, compared, write
from benchmarks.site import redis_server
from benchmarks.steps import FEED, run_of_a_task
from petiole.journal.redis.journal import RedisJournal
from petiole.protocol.events import Draft, task_feed
from petiole.settings import Settings
from petiole.worker.progress import progress

EVENTS: Final = 500
ROUNDS: Final = 29
# The rate of a busy task; without a pause in between caches would stay warm, and an emit would cost half.
INTERVAL: Final = 0.001
TASKS: Final = 2000
FACTS: Final = 20
BYTES: Final = 100
# The message that `start` keeps of a task, so that it can be sent again.
MESSAGE: Final = '{"task":"shop.export","args":["all_flights"],"kwargs":{"year":2013},"options":{}}'


def microseconds(say: Callable[[int], object]) -> float:
    """Return the whole process's CPU for an event, minus that of the pauses."""
    begun = time.process_time()
    for number in range(EVENTS):
        say(number)
        time.sleep(INTERVAL)
    busy = time.process_time() - begun
    begun = time.process_time()
    for _ in range(EVENTS):
        time.sleep(INTERVAL)
    return (busy - (time.process_time() - begun)) / EVENTS * 1e6


def main() -> None:
    found: dict[str, list[float]] = {"append": [], "emit": [], "plain": []}
    with tempfile.TemporaryDirectory() as directory, redis_server(Path(directory)) as url, run_of_a_task(url) as run:
        emitter = SocketIO(message_queue=url)
        journal = RedisJournal(Settings(journal_url=url))

        def data(number: int) -> dict[str, object]:
            return {"progress": number, "task_id": FEED, "stamp": time.monotonic_ns()}

        ways = {
            "append": lambda number: journal.append(FEED, Draft("custom", data=data(number))),
            "emit": lambda number: progress.emit("progress", data(number)),
            "plain": lambda number: emitter.emit("task_progress", data(number), to=FEED),
        }
        for _ in range(ROUNDS):
            for name, say in ways.items():
                found[name].append(microseconds(say))
                run.outbox.flush(5.0)
        rows = [
            compared("P9", "CPU in the worker of one atomic append (rival: the plain emitter's emit)", "µs",
                     found["append"], found["plain"], limit=1.0),
            compared("P9", "CPU in the worker of progress.emit, which never waits (rival: the same)", "µs",
                     found["emit"], found["plain"]),
            memory(url),
        ]  # fmt: skip
    write("worker", rows)


def memory(url: str) -> Row:
    """Measure the memory of a finished task with `FACTS` facts in Redis."""
    journal = RedisJournal(Settings(journal_url=url))
    with redis.Redis.from_url(url) as client:
        before = client.info("memory")["used_memory"]
        for number in range(TASKS):
            feed = task_feed(f"memory-{number:06}")
            queued = Draft("state", {"state": "queued", "title": "Export"})
            journal.open(feed, owner="user:reader", draft=queued, message=MESSAGE)
            journal.claim(
                feed, Draft("state", {"state": "running"}), worker="here", delivery=feed, retries=0, lease=86400.0
            )
            for fact in range(FACTS):
                journal.append(feed, Draft("log", data={"level": "info", "message": "x" * BYTES}), run=1, fact=fact + 2)
        used = (client.info("memory")["used_memory"] - before) / TASKS / 1024
    return alone("P13", f"Redis memory of a task with {FACTS} facts of {BYTES} bytes", "KiB", [used], limit=6.0)

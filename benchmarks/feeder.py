"""The worker's side of a load: facts of many feeds at a steady rate, as many of them in one round trip as are due.

What is sent is what `RedisJournal.append` and Flask-SocketIO's emitter send, byte for byte; only the waiting for each single
answer is left out, so that one process can feed more than one web process takes.

`python -m benchmarks.feeder petiole|plain URL RATE SECONDS ROOMS…` prints what it has sent, in what time, and at what cost.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from itertools import cycle
from typing import Any, Final, Protocol

import redis
from socketio import RedisManager

from petiole.events import Draft
from petiole.journal.redis import RedisJournal
from petiole.journal.scripts import script
from petiole.settings import Settings

MOST_AT_ONCE: Final = 200


class Source(Protocol):
    """Adds one event of a room to a pipeline."""

    client: Any

    def add(self, pipeline: Any, room: str, progress: int) -> None: ...


class JournalSource:
    """Appends facts to open feeds, each as the run that has claimed it."""

    def __init__(self, url: str, feeds: Sequence[str]) -> None:
        self._journal = RedisJournal(Settings(journal_url=url))
        self._append = script("append")
        # The first fact of a feed is its opener's.
        self._facts = {feed: head.cursor.facts - 1 for feed, head in self._journal.heads(feeds).items()}
        self.client: Any = self._journal._client
        self.client.script_load(self._append.source)

    def add(self, pipeline: Any, room: str, progress: int) -> None:
        self._facts[room] += 1
        data = {"progress": progress, "stamp": time.monotonic_ns()}
        event = self._journal._event(room, Draft("custom", data={"name": "progress", "data": data}), run=1)
        keys = self._journal._names.feed(room)
        numbers = [str(self._facts[room]), "0", room, "0"]
        pipeline.evalsha(self._append.digest, len(keys), *keys, *numbers, *self._journal._limits, *event)


class PlainSource(RedisManager):  # type: ignore[misc]
    """The emitter of the plain pattern, which publishes into a pipeline."""

    def __init__(self, url: str) -> None:
        super().__init__(url, channel="flask-socketio", write_only=True)
        self.client: Any = redis.Redis.from_url(url)
        self._pipeline: Any = None

    def add(self, pipeline: Any, room: str, progress: int) -> None:
        self._pipeline = pipeline
        data = {"progress": progress, "task_id": room, "stamp": time.monotonic_ns()}
        self.emit("task_progress", data, namespace="/", room=room)

    def _publish(self, data: dict[str, Any]) -> None:
        self._pipeline.publish(self.channel, self.json.dumps(data))


def feed(source: Source, rooms: Sequence[str], *, rate: float, seconds: float) -> int:
    """Send at `rate` events a second in all, to the rooms in turn; returns how many were sent."""
    turn = cycle(rooms)
    begun = time.monotonic()
    sent, whole = 0, int(rate * seconds)
    while sent < whole:
        passed = time.monotonic() - begun
        due = min(int(passed * rate) + 1, whole)
        if due <= sent:
            time.sleep(max(sent / rate - passed, 0.0))
            continue
        pipeline = source.client.pipeline(transaction=False)
        for _ in range(min(due - sent, MOST_AT_ONCE)):
            source.add(pipeline, next(turn), sent)
            sent += 1
        pipeline.execute()
    return sent


def main() -> None:
    kind, url, rate, seconds, *rooms = sys.argv[1:]
    source: Source = JournalSource(url, rooms) if kind == "petiole" else PlainSource(url)
    begun, busy = time.monotonic(), time.process_time()
    sent = feed(source, rooms, rate=float(rate), seconds=float(seconds))
    print(json.dumps({"sent": sent, "seconds": time.monotonic() - begun, "cpu": time.process_time() - busy}))


if __name__ == "__main__":
    main()

"""The worker side of a load: facts of many feeds at a steady rate, all that are due in one round trip.

It sends the same bytes as `RedisJournal.append` and Flask-SocketIO's emitter, to the same keys and channels; it only
doesn't wait for each single answer, so that one process can feed more than one web process can handle.

`python -m benchmarks.feeder petiole|plain URL RATE SECONDS ROOMS…` prints the number of events, the time and the cost.
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

from petiole.journal.redis.journal import RedisJournal
from petiole.protocol.events import Draft
from petiole.protocol.texts import NO_TEXTS, Texts
from petiole.redis.connections import Command
from petiole.settings import Settings

MOST_AT_ONCE: Final = 200


class Source(Protocol):
    """Collects events, and sends them in one round trip."""

    def add(self, room: str, progress: int) -> None: ...

    def send(self) -> None: ...


class JournalSource:
    """Appends facts to open feeds, as the run that has claimed each."""

    def __init__(self, url: str, feeds: Sequence[str]) -> None:
        self._journal = RedisJournal(Settings(journal_url=url))
        # The first fact of a feed comes from `open`.
        self._facts = {feed: head.cursor.facts - 1 for feed, head in self._journal.heads(feeds).items()}
        self._journal._call(("SCRIPT", "LOAD", self._journal._script("append").source))
        self._commands: list[Command] = []

    def add(self, room: str, progress: int) -> None:
        self._facts[room] += 1
        data = {"progress": progress, "stamp": time.monotonic_ns()}
        draft = Draft("custom", data={"name": "progress", "data": data})
        self.append(room, draft, fact=self._facts[room])

    def append(self, room: str, draft: Draft, *, fact: int, texts: Texts = NO_TEXTS) -> None:
        """Collect what the run has to say after `texts`: its fact of this number, or a chunk after that fact."""
        step = self._journal._to_append(room, draft, run=1, fact=fact, counter=0, delivery=room, texts=texts)
        self._commands.append(self._journal._command("EVALSHA", *step))

    def send(self) -> None:
        commands, self._commands = self._commands, []
        self._journal._call(*commands)


class PlainSource(RedisManager):  # type: ignore[misc]
    """The emitter of the plain pattern, which publishes into a pipeline."""

    def __init__(self, url: str) -> None:
        super().__init__(url, channel="flask-socketio", write_only=True)
        self._pipeline: Any = redis.Redis.from_url(url).pipeline(transaction=False)

    def add(self, room: str, progress: int) -> None:
        data = {"progress": progress, "task_id": room, "stamp": time.monotonic_ns()}
        self.emit("task_progress", data, namespace="/", room=room)

    def send(self) -> None:
        self._pipeline.execute()

    def _publish(self, data: dict[str, Any]) -> None:
        self._pipeline.publish(self.channel, self.json.dumps(data))


def feed(source: Source, rooms: Sequence[str], *, rate: float, seconds: float) -> int:
    """Send at `rate` events a second in total, to the rooms in turn; returns the number of events."""
    turn = cycle(rooms)
    begun = time.monotonic()
    sent, whole = 0, int(rate * seconds)
    while sent < whole:
        passed = time.monotonic() - begun
        due = min(int(passed * rate) + 1, whole)
        if due <= sent:
            time.sleep(max(sent / rate - passed, 0.0))
            continue
        for _ in range(min(due - sent, MOST_AT_ONCE)):
            source.add(next(turn), sent)
            sent += 1
        source.send()
    return sent


def main() -> None:
    kind, url, rate, seconds, *rooms = sys.argv[1:]
    source: Source = JournalSource(url, rooms) if kind == "petiole" else PlainSource(url)
    begun, busy = time.monotonic(), time.process_time()
    sent = feed(source, rooms, rate=float(rate), seconds=float(seconds))
    print(json.dumps({"sent": sent, "seconds": time.monotonic() - begun, "cpu": time.process_time() - busy}))


if __name__ == "__main__":
    main()

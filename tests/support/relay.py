"""A relay in this process on a real Redis, with a bus that loses, doubles and swaps rings, and pages that read from it."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import random
import signal
import threading
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from petiole.bus import Bus
from petiole.bus.contract import Ring
from petiole.bus.redis import RedisBus
from petiole.journal import Journal
from petiole.journal.answers import Claimed, Stored
from petiole.journal.redis.journal import RedisJournal
from petiole.protocol.events import Cursor, Document, Draft, Event, task_feed
from petiole.protocol.reader import Action, Read, Reader, Reading, Reset, Show
from petiole.protocol.texts import NO_TEXTS, Chunk, Texts, size_of
from petiole.servers.processes import Process, Processes
from petiole.servers.redis import free_port
from petiole.settings import Settings
from petiole.web.relay.relay import TICK, Relay
from tests.support.system import start_redis
from tests.support.waiting import wait_until

HEAD_CHECK = 0.3
# The relay wakes every TICK seconds, so a head check takes at least that long; the rest is for a busy machine.
HEALED = max(HEAD_CHECK, TICK) + 4.0


@dataclass
class Server:
    processes: Processes
    port: int
    directory: Path
    process: Process

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def redis(self) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=2)

    def kill(self) -> None:
        os.kill(self.process.popen.pid, signal.SIGKILL)
        self.process.popen.wait(5)
        self.processes.forget(self.process)

    def start(self) -> None:
        self.process = start_redis(self.processes, self.port, self.directory)

    def subscribers(self, feed: str) -> int:
        """The number of connections that are subscribed to the feed's channel."""
        with self.redis() as client:
            channels = client.pubsub_channels(f"*:{feed}")
            return sum(count for _, count in client.pubsub_numsub(*channels)) if channels else 0


@contextmanager
def serving(directory: Path) -> Iterator[Server]:
    processes = Processes(lambda name, line: None)
    port = free_port()
    try:
        yield Server(processes, port, directory, start_redis(processes, port, directory))
    finally:
        processes.stop()


class Writer:
    """One run of one task; numbers its facts and counters like a worker."""

    def __init__(self, journal: Journal, *, owner: str = "user:ann") -> None:
        self.journal = journal
        self.owner = owner
        self.feed = task_feed(str(uuid.uuid4()))
        self.opened = journal.open(self.feed, owner=owner, draft=Draft("state", {"state": "queued"}))
        self.first_document = {"state": "queued"}
        self.completed = self._run = 0
        self.begin_run()

    def begin_run(self) -> None:
        """Begin the task's run, or the next one of a task that is tried again: its texts begin anew."""
        claimed = self.journal.claim(
            self.feed,
            Draft("state", {"state": "running"}),
            worker="w",
            delivery=f"d{self._run}",
            retries=self._run,
            lease=60,
        )
        assert isinstance(claimed, Claimed)
        self._run, self._fact, self._counter = claimed.run, claimed.facts_written, 0
        self.written: dict[str, str] = {}

    def fact(self, draft: Draft | None = None) -> Cursor:
        self._fact += 1
        self._counter = 0
        return self._append(draft or Draft("log", data={"level": "info", "message": f"fact {self._fact}"}))

    def count(self) -> Cursor:
        self._counter += 1
        self.completed += 1
        return self._append(Draft("counter", progress={"completed": self.completed, "total": None}))

    def text(self, text: str, *, name: str = "output") -> Cursor:
        """Append to a text."""
        before = self.written.get(name, "")
        cursor = self._append(Draft.of_text(Chunk(name, size_of(before), text)))
        self.written[name] = before + text
        return cursor

    def write(self, facts: int) -> None:
        """Write so many facts, with a counter or two between them."""
        for number in range(facts):
            self.fact()
            for _ in range(number % 3):
                self.count()

    def end(self) -> Cursor:
        return self.fact(Draft("state", {"state": "succeeded", **self.receipts()}))

    def receipts(self) -> dict[str, Any]:
        """Return what the last fact says of the texts, as a field of the document."""
        if not self.written:
            return {}
        texts = {name: text.encode() for name, text in self.written.items()}
        return {
            "texts": {
                name: {"length": len(text), "sha256": hashlib.sha256(text).hexdigest()} for name, text in texts.items()
            }
        }

    @property
    def _texts(self) -> Texts:
        if not self.written:
            return NO_TEXTS
        return Texts.of(self._run, {name: size_of(text) for name, text in self.written.items()})

    def rebase(self, last: Cursor, document: Document) -> Cursor:
        cursor = self.journal.rebase(
            self.feed,
            owner=self.owner,
            run=self._run,
            delivery=f"d{self._run - 1}",
            retries=0,
            last=last,
            fact=self._fact,
            document=document,
            worker="w",
            lease=60,
        )
        assert isinstance(cursor, Cursor)
        return cursor

    def _append(self, draft: Draft) -> Cursor:
        stored = self.journal.append(
            self.feed, draft, run=self._run, fact=self._fact, counter=self._counter, texts=self._texts
        )
        assert isinstance(stored, Stored)
        return stored.cursor


class FaultyBus:
    """A real bus whose rings are lost, doubled and swapped on their way to the relay, by a seed."""

    def __init__(
        self,
        bus: Bus,
        *,
        seed: int = 0,
        drop: float = 0.0,
        double: float = 0.0,
        swap: float = 0.0,
        drop_if: Callable[[Event], bool] = lambda event: False,
    ) -> None:
        self._bus = bus
        self._random = random.Random(seed)
        self._drop, self._double, self._swap = drop, double, swap
        self._drop_if = drop_if
        self.did: Counter[str] = Counter()

    @property
    def trouble(self) -> str | None:
        return self._bus.trouble

    def listen(self, ring: Ring, *, on_return: Callable[[], None]) -> None:
        self._bus.listen(functools.partial(self._pass_on, ring, []), on_return=on_return)

    def follow(self, feed: str, *, timeout: float) -> bool:
        return self._bus.follow(feed, timeout=timeout)

    def unfollow(self, feed: str) -> None:
        self._bus.unfollow(feed)

    def probe(self, *, timeout: float) -> bool:
        return self._bus.probe(timeout=timeout)

    def restart(self) -> None:
        self.did["restarted"] += 1
        self._bus.restart()

    def close(self) -> None:
        self._bus.close()

    def _pass_on(self, ring: Ring, held: list[tuple[str, str | bytes]], feed: str, text: str | bytes) -> None:
        chance = self._random.random()
        if self._drop_if(Event.from_text(text)) or chance < self._drop:
            self.did["dropped"] += 1
            return
        if held:
            self.did["swapped"] += 1
            ring(feed, text)
            ring(*held.pop())
            return
        if chance > 1 - self._swap:
            held.append((feed, text))
            return
        self.did["passed"] += 1
        ring(feed, text)
        if chance < self._drop + self._double:
            self.did["doubled"] += 1
            ring(feed, text)


class Web:
    """A web process without a server: the relay, and rooms with browsers."""

    def __init__(self, settings: Settings, *, bus: Bus | None = None) -> None:
        self.settings = settings
        self.journal = RedisJournal(settings)
        self.bus = bus or RedisBus(settings)
        self.emitted: list[tuple[str, str, dict[str, Any]]] = []
        self.rooms: defaultdict[str, list[Page]] = defaultdict(list)
        self.relay = Relay(self.journal, self.bus, settings, emit=self._emit, spawn=spawn)

    def events(self, feed: str) -> list[Event]:
        """The emitted events of a feed."""
        return [
            Event.from_wire(wire) for name, its_feed, wire in list(self.emitted) if (name, its_feed) == ("event", feed)
        ]

    def close(self) -> None:
        # The journal stays open: the relay's threads may be in the middle of a call.
        self.relay.close()

    def _emit(self, name: str, text: str, *, feed: str) -> None:
        wire = json.loads(text)
        self.emitted.append((name, feed, wire))
        for browser in list(self.rooms[feed]):
            browser.take(name, wire)


def spawn(function: Callable[..., object], *args: Any, **kwargs: Any) -> threading.Thread:
    thread = threading.Thread(target=function, args=args, kwargs=kwargs, daemon=True)
    thread.start()
    return thread


class Page:
    """One reader, as in the browser file: joins the room, then watches, and reads by the reader's rule."""

    def __init__(self, web: Web, feed: str, *, cursor: Cursor | None = None, document: Document | None = None) -> None:
        self.web = web
        self.reader = Reader(feed, cursor=cursor, document=document)
        self.first = cursor.facts if cursor else 0
        self.shown: list[Event] = []
        self.resets = 0
        self._lock = threading.RLock()
        self._asking = 0
        web.rooms[feed].append(self)
        self._act(self.reader.start(), ask=web.relay.watch)

    def take(self, name: str, wire: dict[str, Any]) -> None:
        with self._lock:
            if name == "event":
                self._act(self.reader.offer(Event.from_wire(wire)))
            else:
                self._asking += 1
                self._act(self.reader.reset(Reading.from_wire(wire)))

    def leave(self) -> None:
        self.web.rooms[self.reader.feed].remove(self)
        self.web.relay.unwatch(self.reader.feed)

    def _act(self, actions: list[Action], *, ask: Callable[..., Reading | None] | None = None) -> None:
        for action in actions:
            match action:
                case Show(event):
                    self.shown.append(event)
                case Reset():
                    self.resets += 1
                case Read(cursor):
                    self._asking += 1
                    spawn(self._ask, ask or self.web.relay.read, cursor, self._asking)

    def _ask(self, ask: Callable[..., Reading | None], cursor: Cursor | None, asking: int) -> None:
        reading = ask(self.reader.feed, cursor)
        assert reading is not None
        with self._lock:
            if asking == self._asking:
                self._act(self.reader.answer(Reading.from_wire(json.loads(json.dumps(reading.to_wire())))))

    def is_at_the_head(self) -> bool:
        snapshot = self.web.journal.snapshot(self.reader.feed)
        with self._lock:
            return snapshot is not None and not self.reader.reading and self.reader.cursor == snapshot.cursor

    def wait(self, *, timeout: float = HEALED) -> None:
        wait_until(self.is_at_the_head, what="the browser is at the journal's head", timeout=timeout)


def assert_saw_everything(browser: Page) -> None:
    """Every fact once, in order; the journal's document; and it knows that nothing is missing."""
    feed, journal = browser.reader.feed, browser.web.journal
    kept = journal.read(feed, None, limit=100_000)
    assert kept is not None
    assert [event.id for event in browser.shown if event.is_fact] == [event.id for event in kept.events][
        browser.first :
    ]
    assert browser.resets == 0
    assert browser.reader.complete
    assert browser.reader.shown == kept.cursor.facts
    assert browser.reader.document == kept.document


def assert_emitted_in_order(web: Web, feed: str) -> None:
    """The emitted events are already healed: the numbers only rise, and no fact is skipped or repeated."""
    events = web.events(feed)
    numbers = [event.seq for event in events]
    assert numbers == sorted(set(numbers))
    facts = [event.facts for event in events if event.is_fact]
    assert facts == list(range(facts[0], facts[0] + len(facts)))

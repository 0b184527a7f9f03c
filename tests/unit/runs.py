"""A run with a journal that fails on request, for the tests of the worker side."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from petiole.errors import Unavailable
from petiole.journal.answers import Appended, Claimed
from petiole.journal.contract import Journal, PendingAppend, SupportsAsync
from petiole.journal.redis.journal import RedisJournal
from petiole.protocol.events import Document, Draft, Event, task_feed
from petiole.protocol.texts import NO_TEXTS, Texts
from petiole.settings import Settings
from petiole.worker.outbox import Outbox
from petiole.worker.run import Run
from petiole.worker.run_state import RunStart

FEED = task_feed("a")
OWNER = "alice"
WORKER = "worker-1"
SOON = 10.0


class Faults:
    """Forwards every verb to a journal and breaks some appends: before the journal has the event, or only the reply.

    `begins`: an append may be begun here even if the journal itself can't.
    """

    def __init__(self, target: Journal, *, begins: bool = False) -> None:
        self.target = target
        self.begins = begins
        self.begun = 0
        self.away = False
        self.lose_request: deque[bool] = deque()
        self.lose_reply: deque[bool] = deque()
        # Whether the answer to a begun append comes only once a caller waits for it.
        self.late = False
        # Raised in the task's thread, like a time limit, when the journal has the begun append.
        self.interrupt: list[BaseException] = []
        self.sent: list[tuple[Draft, int, int]] = []
        self.checks = 0
        self.heads_asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.target, name)

    def append(
        self,
        feed: str,
        draft: Draft,
        *,
        run: int = 0,
        fact: int = 0,
        counter: int = 0,
        delivery: str = "",
        texts: Texts = NO_TEXTS,
    ) -> Appended:
        self._fail_if(self.away)
        self.sent.append((draft, fact, counter))
        self._fail_if(self.lose_request.popleft() if self.lose_request else False)
        answer = self.target.append(feed, draft, run=run, fact=fact, counter=counter, delivery=delivery, texts=texts)
        self._fail_if(self.lose_reply.popleft() if self.lose_reply else False)
        return answer

    def open_async(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("a run opens no feed")

    def append_async(
        self,
        feed: str,
        draft: Draft,
        *,
        run: int = 0,
        fact: int = 0,
        counter: int = 0,
        delivery: str = "",
        texts: Texts = NO_TEXTS,
    ) -> PendingAppend | None:
        self._fail_if(self.away)
        numbers: Any = {"run": run, "fact": fact, "counter": counter, "delivery": delivery, "texts": texts}
        lost = bool(self.lose_request and self.lose_request[0])
        begun = None
        if not lost and isinstance(self.target, SupportsAsync):
            begun = self.target.append_async(feed, draft, **numbers)
        if begun is None and self.begins and not lost:
            begun = Answered(self.target.append(feed, draft, **numbers), late=self.late)
        if begun is None and not (lost and (self.begins or isinstance(self.target, RedisJournal))):
            return None
        self.begun += 1
        self.sent.append((draft, fact, counter))
        if self.lose_request:
            self.lose_request.popleft()

        if self.interrupt:
            raise self.interrupt.pop()
        if lost or (self.lose_reply.popleft() if self.lose_reply else False):
            return Lost(begun)
        return begun

    def check(self, feed: str, run: int, **more: Any) -> Any:
        self.checks += 1
        self._fail_if(self.away)
        return self.target.check(feed, run, **more)

    def heads(self, feeds: Sequence[str]) -> Any:
        self.heads_asked += 1
        self._fail_if(self.away)
        return self.target.heads(feeds)

    def _fail_if(self, broken: bool) -> None:
        if broken:
            raise Unavailable("The connection was cut. Try again.")


@dataclass
class Answered:
    """An append that was begun, and answered at once, or late."""

    reply: Appended
    late: bool

    def __call__(self) -> Appended:
        return self.reply

    def poll(self) -> Appended | None:
        return None if self.late else self.reply


@dataclass
class Lost:
    """An append whose answer doesn't come."""

    begun: PendingAppend | None

    def __call__(self) -> Appended:
        if self.begun is not None:
            self.begun()
        raise Unavailable("The connection was cut. Try again.")

    def poll(self) -> Appended | None:
        return None


class Counted:
    """The progress that an outbox reads."""

    def __init__(self) -> None:
        self.completed = 0
        self.asked = 0

    def __call__(self) -> Document:
        self.asked += 1
        return {"completed": self.completed}


def begin(journal: Any, *, delivery: str = "delivery-1", retries: int = 0, lease: float = 600.0) -> RunStart:
    """Open a feed, if it isn't, and claim its execution."""
    journal.open(FEED, owner=OWNER, draft=Draft("state", {"state": "queued", "title": "Export"}), epoch="0123abcd")
    draft = Draft("state", {"state": "running"})
    claimed = journal.claim(FEED, draft, worker=WORKER, delivery=delivery, retries=retries, lease=lease)
    assert isinstance(claimed, Claimed)
    return RunStart(
        delivery=delivery,
        retries=retries,
        feed=FEED,
        owner=OWNER,
        worker=WORKER,
        run=claimed.run,
        facts_written=claimed.facts_written,
        cursor=claimed.cursor,
        document=claimed.document,
    )


@contextmanager
def started(journal: Any, settings: Settings, newest: Callable[[], Document] | None = None) -> Iterator[Outbox]:
    """A sending outbox, which has ended afterwards."""
    outbox = Outbox(journal, begin(journal), settings, newest=newest or Counted())
    outbox.start()
    yield outbox
    outbox.close()
    assert outbox.flush(SOON), "the outbox still holds events"
    thread_ended(outbox)


@contextmanager
def running(journal: Any, settings: Settings, **options: Any) -> Iterator[Run]:
    """A run that is current in this context, as within a task."""
    run = Run(journal, begin(journal), settings, **options)
    run.outbox.start()
    try:
        with run.current():
            yield run
    finally:
        run.outbox.close()
        thread_ended(run.outbox)


def thread_ended(outbox: Outbox) -> None:
    thread = outbox._thread
    assert isinstance(thread, threading.Thread)
    thread.join(SOON)
    assert not thread.is_alive(), "the outbox's thread has not ended"


def line(message: str) -> Draft:
    return Draft("log", data={"level": "info", "message": message})


def facts(journal: Any) -> list[Event]:
    """All facts in the journal."""
    reading = journal.read(FEED, None, limit=100_000)
    assert reading is not None
    assert reading.recovered
    return list(reading.events)


def messages(journal: Any) -> list[str]:
    """The log lines, including those about set-aside and dropped events, in order."""
    return [event.data["message"] for event in facts(journal) if event.kind == "log"]


def document(journal: Any) -> Document:
    snapshot = journal.snapshot(FEED)
    assert snapshot is not None
    return snapshot.document


def counters(journal: Any) -> int:
    """The number of counters that the journal has numbered."""
    cursor = journal.snapshot(FEED).cursor
    return cursor.seq - cursor.facts

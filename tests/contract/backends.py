"""The stores for the journal's contract, and the calls that its tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from petiole.journal import Journal
from petiole.journal.answers import Claimed, Stored
from petiole.journal.redis.journal import RedisJournal
from petiole.journal.sql import SqlJournal
from petiole.protocol.events import Cursor, Document, Draft, Event, fold, task_feed
from petiole.protocol.reader import Reading
from petiole.settings import Settings
from tests.support.memory_journal import MemoryJournal
from tests.support.redis import RedisServer
from tests.support.waiting import wait_until

FEED = task_feed("a")
OWNER = "alice"
WORKER = "worker-1"
LONG = 600.0
SHORT = 0.02
HOSTILE = [
    'a "quoted" word',
    "two\nlines\r\nand a tab\t",
    "]]> ]=] --[[ lua ]] \\ \\\\ \\n",
    "</script><script>alert(1)</script>",
    "naïve Ελλάδα 日本語 🎉👩‍👩‍👧",
    "\u2028\u2029\x00\x1f\x7f",
    "null",
    "",
    "{" * 50,
    "'; DROP TABLE feeds; --",
    "%s %d {0} $1 \\1",
]


class Backend:
    """Creates journals on one store; `settle` lets a lease end, in that store's time."""

    name: str

    def __init__(self, make_settings: Callable[..., Settings]) -> None:
        self._make_settings = make_settings
        self._made: list[Journal] = []

    def make(self, **overrides: Any) -> Journal:
        raise NotImplementedError

    def end_lease(self, journal: Journal, feed: str) -> None:
        raise NotImplementedError

    def close(self) -> None:
        for journal in self._made:
            journal.close()


class MemoryBackend(Backend):
    name = "memory"

    def __init__(self, make_settings: Callable[..., Settings]) -> None:
        super().__init__(make_settings)
        self.now = 1_764_000_000.0

    def make(self, **overrides: Any) -> Journal:
        journal = MemoryJournal(self._make_settings(**overrides), clock=lambda: self.now)
        self._made.append(journal)
        return journal

    def end_lease(self, journal: Journal, feed: str) -> None:
        left = journal.heads([feed])[feed].lease_left
        assert left is not None
        self.now += max(left, 0.0) + 0.001


class ServerBackend(Backend):
    """A store with its own clock."""

    def __init__(self, make_settings: Callable[..., Settings], url: str, name: str) -> None:
        super().__init__(make_settings)
        self.url = url
        self.name = name

    def end_lease(self, journal: Journal, feed: str) -> None:
        def ended() -> bool:
            left = journal.heads([feed])[feed].lease_left
            assert left is not None
            return left < 0

        wait_until(ended, what=f"the lease of {feed} has ended")


class ManyServersBackend(ServerBackend):
    """Redis behind Sentinels, or in a cluster."""

    def make(self, **overrides: Any) -> RedisJournal:
        journal = RedisJournal(self._make_settings(self.url, **overrides))
        self._made.append(journal)
        return journal


class RedisBackend(ManyServersBackend):
    """Redis on one server, which a test may inspect."""

    def __init__(self, make_settings: Callable[..., Settings], server: RedisServer, name: str) -> None:
        super().__init__(make_settings, server.url, name)
        self.server = server


class SqlBackend(ServerBackend):
    def make(self, **overrides: Any) -> SqlJournal:
        # A long timeout: these tests don't measure how fast a busy machine starts a database's processes.
        journal = SqlJournal(self._make_settings(self.url, **{"journal_timeout": 10.0, **overrides}))
        self._made.append(journal)
        return journal


def state(name: str, **fields: Any) -> Draft:
    return Draft("state", {"state": name, **fields})


def line(message: str = "a line", **more: Any) -> Draft:
    return Draft("log", data={"level": "info", "message": message}, **more)


def counter(completed: float) -> Draft:
    return Draft("counter", progress={"completed": completed, "total": 100})


def opened(journal: Journal, feed: str = FEED, **more: Any) -> Cursor:
    return journal.open(feed, **{"owner": OWNER, "draft": state("queued", title="Export"), **more})


def claim(journal: Journal, feed: str = FEED, **more: Any) -> Any:
    options = {"worker": WORKER, "delivery": "delivery-1", "retries": 0, "lease": LONG, **more}
    return journal.claim(feed, options.pop("draft", state("running")), **options)


def claimed(journal: Journal, feed: str = FEED, **more: Any) -> Claimed:
    opened(journal, feed)
    answer = claim(journal, feed, **more)
    assert isinstance(answer, Claimed)
    return answer


def stored(answer: object) -> Stored:
    assert isinstance(answer, Stored), answer
    return answer


def reading(journal: Journal, cursor: Cursor | None = None, *, feed: str = FEED, limit: int = 10_000) -> Reading:
    answer = journal.read(feed, cursor, limit=limit)
    assert answer is not None
    return answer


def document(journal: Journal, feed: str = FEED) -> Document:
    snapshot = journal.snapshot(feed)
    assert snapshot is not None
    return snapshot.document


def folded(events: tuple[Event, ...]) -> Document:
    result: Document = {}
    for event in events:
        result = fold(result, event)
    return result

"""Starts groups in a system's queue, from the test's own process, and reads what became of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celery import Celery, Signature

from petiole.dispatch.tracking import Handle, Tracking, track_app
from petiole.protocol import states
from petiole.protocol.events import Document
from petiole.settings import Settings
from tests.support.system import System
from tests.support.waiting import wait_until

NAMES = "tests.apps.worker_app"
PERSON = "ann"
OWNER = f"user:{PERSON}"


@dataclass
class Groups:
    """Groups of one test: `file` is where its tasks note that they run."""

    celery_app: Celery
    tracking: Tracking
    directory: Path
    file: Path

    def task(self, name: str, *args: Any, **options: Any) -> Signature:
        return self.celery_app.signature(f"{NAMES}.{name}", args=args, options=options)

    def part(self, name: str, kind: str = "part", *args: Any, **options: Any) -> Signature:
        """A task that notes its name; what the task before it returns isn't passed on."""
        return self.task(kind, name, str(self.file), *args, **options).set(immutable=True)

    def body(self, *args: Any) -> Signature:
        return self.task("collect", str(self.file), *args)

    def start(self, canvas: Signature, **options: Any) -> Handle:
        return self.tracking.start(canvas, owner=OWNER, **options)

    def document(self, handle: Handle) -> Document:
        snapshot = self.tracking.journal.snapshot(handle.feed)
        assert snapshot is not None, "the group is gone"
        return snapshot.document

    def wait(self, handle: Handle, *, timeout: float = 30.0) -> Document:
        """Wait for the group's end, and return its last document."""

        def ended() -> Document | None:
            document = self.document(handle)
            return document if states.is_terminal(document["state"]) else None

        try:
            return wait_until(ended, what="the group has ended", timeout=timeout)
        except TimeoutError:
            print(self.document(handle), self.states(handle))
            raise

    def wait_for(self, handle: Handle, **counts: int) -> Document:
        """Wait until so many children are in these states."""

        def come() -> Document | None:
            document = self.document(handle)
            children = document["progress"]["children"]
            return document if all(children[state] == number for state, number in counts.items()) else None

        try:
            return wait_until(come, what=f"the children are {counts}", timeout=20)
        except TimeoutError:
            print(self.document(handle), self.states(handle))
            raise

    def states(self, handle: Handle) -> list[str]:
        """The states of its children, by their numbers."""
        page = self.tracking.journal.children(handle.feed, limit=1000)
        assert page is not None
        return [child.state for child in page[0]]

    def lines(self) -> list[str]:
        return self.file.read_text().splitlines() if self.file.exists() else []

    def is_empty(self) -> bool:
        """Whether nothing waits in the queue of the broker, a Redis."""
        with self.celery_app.connection_for_read() as connection:
            return bool(connection.default_channel.client.llen("celery") == 0)

    def is_drained(self) -> bool:
        """Whether the broker, a Redis, has no message any more, not even one that a worker has."""
        with self.celery_app.connection_for_read() as connection:
            return self.is_empty() and bool(connection.default_channel.client.hlen("unacked") == 0)

    def runs(self, line: str) -> int:
        return self.lines().count(line)


def counts(document: Document) -> dict[str, int]:
    """The counts of a group's children that aren't zero."""
    return {state: number for state, number in document["progress"]["children"].items() if number}


@contextmanager
def groups_of(system: System, file: Path) -> Iterator[Groups]:
    broker = system.environment["CELERY_BROKER_URL"]
    backend = system.environment.get("CELERY_RESULT_BACKEND", broker)
    celery_app = Celery("starter", broker=broker, backend=backend, set_as_current=False)
    given = {name: text for name, text in system.environment.items() if name.startswith("PETIOLE_")}
    tracking = track_app(celery_app, Settings.load({"PETIOLE_JOURNAL_URL": broker, "PETIOLE_BUS_URL": broker, **given}))
    try:
        yield Groups(celery_app, tracking, system.directory, file)
    finally:
        tracking.journal.close()
        celery_app.close()

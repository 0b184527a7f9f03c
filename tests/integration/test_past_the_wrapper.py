"""Workers that run a task in an unusual way: embedded in a test, with tasks registered late, with a failing publish."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from celery import Celery, Task
from celery.contrib.testing.worker import start_worker
from celery.exceptions import Reject

from petiole import init_celery, progress
from petiole.dispatch.tracking import Handle, Tracking
from petiole.protocol.events import Document
from petiole.protocol.states import is_terminal
from petiole.servers.processes import Processes
from petiole.servers.redis import free_port
from tests.support.system import start_redis
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Celery]:
    """An application whose worker is embedded in this process, as in users' tests."""
    processes = Processes(lambda _name, _line: None)
    port = free_port()
    start_redis(processes, port, tmp_path_factory.mktemp("redis"))
    url = f"redis://127.0.0.1:{port}/0"
    app = Celery("embedded", broker=url, backend=url, set_as_current=False)
    app.conf.update(petiole_lease=0.6, petiole_heartbeat=0.1, broker_connection_retry_on_startup=True)
    init_celery(app)

    @app.task(name="embedded.long", bind=True, shared=False)
    def long(self: Task) -> float:
        """Watch its own lease for longer than a lease."""
        feed, ends = f"task:{self.request.id}", []
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            ends.append(app.petiole.journal.heads([feed])[feed].lease_left)
            time.sleep(0.02)
        return min(ends)

    @app.task(name="embedded.register", shared=False)
    def register(name: str) -> None:
        @app.task(name=name, shared=False)
        def late() -> str:
            progress.log("late")
            return "done"

        assert app.tasks[name] is not None

    @app.task(name="embedded.retry_with", bind=True, shared=False)
    def retry_with(self: Task, how: str) -> str:
        progress.log("before")
        if how == "retry":
            self.retry(args=[object()], countdown=0)
        with suppress(Reject):
            self.retry(args=[object()], countdown=0, throw=False)
        progress.log("not published")
        return "done"

    with start_worker(app, pool="threads", concurrency=2, perform_ping_check=False, shutdown_timeout=30) as worker:
        app.worker = worker
        yield app
    processes.stop()


@pytest.fixture
def tracking(app: Celery) -> Tracking:
    tracking: Tracking = app.petiole
    return tracking


def ended(tracking: Tracking, handle: Handle) -> Document:
    def document() -> Document:
        snapshot = tracking.journal.snapshot(handle.feed)
        assert snapshot is not None
        return snapshot.document

    wait_until(lambda: is_terminal(document()["state"]), what="the task has ended", timeout=20)
    return document()


def logged(tracking: Tracking, handle: Handle) -> list[Any]:
    reading = tracking.journal.read(handle.feed, None, limit=1000)
    assert reading is not None
    return [event.data["message"] for event in reading.events if event.kind == "log"]


def test_an_embedded_worker_tracks_its_tasks_and_keeps_their_leases(tracking: Tracking) -> None:
    document = ended(tracking, tracking.start("embedded.long", owner="me"))
    assert document["state"] == "succeeded"
    assert document["result"] > 0


def test_a_task_that_is_registered_after_the_worker_began_is_followed(
    tracking: Tracking, caplog: pytest.LogCaptureFixture
) -> None:
    ended(tracking, tracking.start("embedded.register", ["embedded.late"], owner="me"))
    # As `worker.reload` does.
    tracking.celery_app.worker.consumer.update_strategies()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            handle = tracking.start("embedded.late", owner="me")
            document = ended(tracking, handle)
            assert (document["state"], document["result"]) == ("succeeded", "done")
            assert logged(tracking, handle) == ["late"]
    assert [record.msg for record in caplog.records].count("task_wrapped_late") <= 1


def test_a_retry_that_can_not_be_published_has_failed(tracking: Tracking) -> None:
    handle = tracking.start("embedded.retry_with", ["retry"], owner="me")
    document = ended(tracking, handle)
    assert (document["state"], document["reason"]) == ("failed", "The task couldn't be published again.")
    assert logged(tracking, handle) == ["before"]


def test_a_task_that_goes_on_where_its_retry_was_not_published_ends_as_it_does(tracking: Tracking) -> None:
    handle = tracking.start("embedded.retry_with", ["go on"], owner="me")
    document = ended(tracking, handle)
    assert (document["state"], document["result"]) == ("succeeded", "done")
    assert logged(tracking, handle) == ["before", "not published"]

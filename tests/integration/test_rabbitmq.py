"""The whole way on the second backbone: Celery's broker and the bus in RabbitMQ, the journal in PostgreSQL, no Redis."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import amqp
import pytest
from celery import Celery

from petiole import init_celery
from petiole.client import TaskView
from petiole.errors import Unavailable
from petiole.journal.sql.server import upgrade
from petiole.protocol.events import Event
from tests.support.postgres import PostgresServer
from tests.support.rabbitmq import RabbitServer
from tests.support.system import System, running
from tests.support.waiting import wait_until

# RabbitMQ is started again in the middle of some.
pytestmark = pytest.mark.timeout(240)

_names = (f"rabbitmq{number}" for number in itertools.count(1))


@dataclass(frozen=True)
class Backbone:
    """A test's own virtual host and database."""

    name: str
    broker: RabbitServer
    settings: dict[str, str]

    @contextmanager
    def running(self, directory: Path, **settings: str) -> Iterator[System]:
        with running(directory, settings=self.settings | settings) as system:
            yield system
            print("\n".join(system.log[-200:]))

    def bus_queue(self) -> str:
        """The queue of the one web process."""
        [name] = [queue for queue in self.broker.queues(self.name) if queue.startswith("amq.gen-")]
        return name


@pytest.fixture
def backbone(own_rabbitmq: RabbitServer, postgres_server: PostgresServer) -> Backbone:
    name = next(_names)
    journal_url = postgres_server.create(name)
    upgrade(journal_url)
    settings = {
        "CELERY_BROKER_URL": own_rabbitmq.create(name),
        "CELERY_RESULT_BACKEND": "disabled",
        "PETIOLE_JOURNAL_URL": journal_url,
        "QUEUE_TYPE": "quorum",
    }
    return Backbone(name, own_rabbitmq, settings)


def lines(events: list[Event]) -> list[str]:
    return [event.data["message"] for event in events if event.kind == "log"]


def has_counted(view: TaskView, count: int, *, timeout: float = 30) -> None:
    view.wait_until(lambda document: (document.get("progress") or {}).get("completed") == count, timeout=timeout)


def check_complete(view: TaskView, events: list[Event], total: int) -> None:
    assert lines(events) == [f"item {number}" for number in range(total)]
    assert [event.facts for event in events if event.is_fact] == list(range(2, view.receipt.facts + 1))
    assert view.receipt.complete
    assert view.resets == 0


def test_every_fact_arrives_in_order_once_with_a_receipt(backbone: Backbone, tmp_path: Path) -> None:
    # Without the head check, so that every event that arrives has been rung.
    with backbone.running(tmp_path, PETIOLE_HEAD_CHECK="60") as system:
        events: list[Event] = []
        client = system.client("ann")
        view = client.start("/start/count", {"args": [200], "title": "Two hundred"}, on_event=events.append)
        document = view.wait(timeout=30)
        assert (document["state"], document["result"], document["title"]) == ("succeeded", 200, "Two hundred")
        check_complete(view, events, 200)

        late: list[Event] = []
        again = system.client("ann").watch(view.feed, on_event=late.append)
        assert again.wait(timeout=10) == document
        assert again.receipt == view.receipt
        assert lines(late) == lines(events)

        retried = client.start("/start/fail_twice", {}).wait(timeout=30)
        assert (retried["result"], retried["run"]) == ("attempt 2", 3)
        # Celery's queue is a quorum queue, and the bus has its own, which is deleted with the web process.
        assert "celery" in backbone.broker.queues(backbone.name)
        assert backbone.bus_queue()
        kinds = backbone.broker.node.control("list_queues", "-p", backbone.name, "name", "type")
        assert "celery\tquorum" in kinds


def test_a_broker_that_is_killed_and_restarted_in_mid_task_loses_nothing(backbone: Backbone, tmp_path: Path) -> None:
    with backbone.running(tmp_path) as system:
        first, second = system.gate("first"), system.gate("second")
        events: list[Event] = []
        client = system.client("ann")
        view = client.start(
            "/start/count", {"args": [300, {"100": str(first), "200": str(second)}]}, on_event=events.append
        )
        has_counted(view, 100)
        backbone.broker.kill()
        try:
            first.touch()
            # By the head check: the bus is down.
            has_counted(view, 200)
            assert system.said("bus_away")
            refused = client.session.post(f"{system.url}/start/silent", json={}, timeout=30)
            assert refused.status_code == 503
        finally:
            backbone.broker.start()
        second.touch()
        assert view.wait(timeout=30)["result"] == 300
        check_complete(view, events, 300)
        # All are back: the web process's queue, and the worker.
        wait_until(
            lambda: any(each.startswith("amq.gen-") for each in backbone.broker.queues(backbone.name)), what="a queue"
        )
        assert client.start("/start/silent", {}).wait(timeout=60)["result"] == "done"


def test_a_memory_alarm_in_mid_task_slows_nothing_and_loses_nothing(backbone: Backbone, tmp_path: Path) -> None:
    with backbone.running(tmp_path) as system:
        gate = system.gate("go")
        events: list[Event] = []
        view = system.client("ann").start("/start/time_its_calls", {"args": [300, str(gate)]}, on_event=events.append)
        view.wait_until(lambda document: document["state"] == "running", timeout=20)
        backbone.broker.raise_memory_alarm()
        try:
            gate.touch()
            document = view.wait(timeout=60)
            check_not_slowed(document["result"])
            wait_until(lambda: system.said("bus_away"), what="the ringer was notified")
        finally:
            backbone.broker.clear_memory_alarm()
        check_complete(view, events, 300)


def test_a_task_is_at_most_5_percent_longer_with_the_broker_away(backbone: Backbone, tmp_path: Path) -> None:
    with backbone.running(tmp_path) as system:
        gate = system.gate("go")
        events: list[Event] = []
        view = system.client("ann").start("/start/time_its_calls", {"args": [500, str(gate)]}, on_event=events.append)
        view.wait_until(lambda document: document["state"] == "running", timeout=20)
        backbone.broker.kill()
        try:
            gate.touch()
            check_not_slowed(view.wait(timeout=60)["result"])
        finally:
            backbone.broker.start()
        check_complete(view, events, 500)


def check_not_slowed(result: dict[str, float]) -> None:
    """A task can only take longer by its progress calls."""
    print(result)
    assert result["in_calls"] < 0.05 * (result["elapsed"] - result["in_calls"])


def test_a_deleted_queue_is_made_again_and_nothing_is_lost(backbone: Backbone, tmp_path: Path) -> None:
    with backbone.running(tmp_path, PETIOLE_HEAD_CHECK="60") as system:
        first, second = system.gate("first"), system.gate("second")
        events: list[Event] = []
        view = system.client("ann").start(
            "/start/count", {"args": [300, {"100": str(first), "200": str(second)}]}, on_event=events.append
        )
        has_counted(view, 100)
        queue = backbone.bus_queue()
        backbone.broker.delete_queue(queue, backbone.name)
        first.touch()
        has_counted(view, 200)
        wait_until(
            lambda: backbone.broker.queues(backbone.name) != [] and backbone.bus_queue() != queue, what="a new queue"
        )
        second.touch()
        assert view.wait(timeout=30)["result"] == 300
        check_complete(view, events, 300)


def test_a_killed_worker_is_noticed_and_a_late_acknowledged_task_runs_again(backbone: Backbone, tmp_path: Path) -> None:
    with backbone.running(tmp_path) as system:
        gate, file = system.gate("go"), tmp_path / "file"
        view = system.client("ann").start("/start/count_late", {"args": [10, {"5": str(gate)}, str(file)]})
        has_counted(view, 5)
        system.kill_worker()
        system.start_worker("worker2")
        view.wait_until(lambda document: document["run"] == 2, timeout=60)
        gate.touch()
        assert view.wait(timeout=30)["state"] == "succeeded"
        assert file.read_text() == "published\n"


def test_what_rabbitmq_does_not_confirm_is_refused_and_never_runs_later(backbone: Backbone, tmp_path: Path) -> None:
    with backbone.running(tmp_path) as system:
        client = system.client("ann")
        assert client.start("/start/silent", {}).wait(timeout=30)["result"] == "done"
        backbone.broker.raise_memory_alarm()
        try:
            for _ in range(2):
                refused = client.session.post(f"{system.url}/start/silent", json={}, timeout=30)
                assert refused.status_code == 503
                assert "Nothing was started" in refused.text
        finally:
            backbone.broker.clear_memory_alarm()
        # The broker had both in its buffers. The next message comes after them.
        assert client.start("/start/silent", {}).wait(timeout=30)["result"] == "done"
        passed_over = [line for line in system.log if "worker_app.silent" in line and "ignored" in line]
        assert len(passed_over) == 2
        tasks = client.session.get(f"{system.url}/petiole/tasks", timeout=5).json()["tasks"]
        assert [task["document"]["state"] for task in tasks] == ["succeeded"] * 2


def test_the_broker_confirms_each_task_that_is_started(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in backbone.settings.items():
        if name.startswith("PETIOLE_"):
            monkeypatch.setenv(name, value)
    app = Celery("confirmed", broker=backbone.settings["CELERY_BROKER_URL"], set_as_current=False)
    tracking = init_celery(app)
    acknowledged: list[int] = []
    seen = amqp.Channel._on_basic_ack
    monkeypatch.setattr(
        amqp.Channel, "_on_basic_ack", lambda self, tag, multiple: (acknowledged.append(tag), seen(self, tag, multiple))
    )
    for number in range(1, 4):
        tracking.start("tasks.work", owner="me")
        assert len(acknowledged) == number
    # The control: with Celery's own publish the broker doesn't confirm.
    app.send_task("tasks.work")
    assert len(acknowledged) == 3


def test_more_starts_than_connections_are_refused_in_a_sentence_while_the_broker_is_silent(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in backbone.settings.items():
        if name.startswith("PETIOLE_"):
            monkeypatch.setenv(name, value)
    app = Celery("silent", broker=backbone.settings["CELERY_BROKER_URL"], set_as_current=False)
    app.conf.broker_connection_timeout = 1.0
    tracking = init_celery(app)
    tracking.start("tasks.work", owner="me")
    backbone.broker.pause()
    try:
        with ThreadPoolExecutor(30) as threads:
            began = time.monotonic()
            answers = [threads.submit(tracking.start, "tasks.work", owner="me") for _ in range(30)]
            errors = [answer.exception(timeout=60) for answer in answers]
            assert time.monotonic() - began < 30
    finally:
        backbone.broker.resume()
    assert all(isinstance(error, Unavailable) and "Nothing was started" in str(error) for error in errors), errors
    assert tracking.start("tasks.work", owner="me").document["state"] == "queued"

"""What happens to a delivery whose task runs elsewhere, as Celery records it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery, Task
from celery import states as celery_states
from celery.app.trace import build_tracer
from celery.exceptions import SoftTimeLimitExceeded

from petiole.dispatch.message import Header
from petiole.dispatch.tracking import Tracking
from petiole.journal.answers import Claimed
from petiole.protocol.events import Draft, task_feed
from petiole.worker import claims
from petiole.worker.claims import Claims
from tests.support.memory_journal import MemoryJournal

ID = "11111111-2222-4333-8444-555555555555"
FEED = task_feed(ID)
AWAY = OSError("no broker")


class Delivery:
    """A message that arrives while its task runs elsewhere; `publish` is called first by its copy's `apply_async`."""

    def __init__(self, make_settings: Callable[..., Any]) -> None:
        self.now = 1_764_000_000.0
        self.publish: Callable[[], object] = lambda: None
        self.tries = 0
        delivery = self

        class Publishing(Task):  # type: ignore[misc]
            def apply_async(self, *args: Any, **options: Any) -> Any:
                delivery.tries += 1
                delivery.publish()
                return super().apply_async(*args, **options)

        self.app = Celery("claims-test", broker="memory://", backend="cache+memory://")
        self.app.backend.forget(ID)  # its store is shared by the process
        with self.app.connection_for_write() as connection:
            connection.default_channel.queue_declare("celery")
            connection.default_channel.queue_purge("celery")
        self.tracking = Tracking(self.app, make_settings())
        self.journal = self.tracking.journal = MemoryJournal(self.tracking.settings, clock=lambda: self.now)
        self.claimed: list[Claimed] = []

        @self.app.task(bind=True, base=Publishing, name="claims.say", shared=False)  # type: ignore[untyped-decorator]
        def say(task: Task) -> None:
            self.claimed.append(
                Claims(self.tracking, worker="here").claim(
                    task, Header(FEED, "", "ann", ""), delivery="second", retries=0, forcible=False
                )
            )

        self.task = say
        self.journal.open(FEED, owner="ann", draft=Draft("state", {"state": "queued"}))
        running = Draft("state", {"state": "running"})
        self.journal.claim(FEED, running, worker="there", delivery="first", retries=0, lease=10)
        self.app.backend.store_result(ID, {"by": "the execution that lives"}, "PROGRESS")

    def arrive(self) -> str | None:
        """Have Celery execute it, and return Celery's outcome."""
        request = {"id": ID, "retries": 0, "delivery_info": {"redelivered": True}, "headers": {}}
        _, information, _, _ = build_tracer(self.task.name, self.task, app=self.app)(ID, (), {}, request)
        return None if information is None else str(information.state)

    @property
    def copies(self) -> int:
        with self.app.connection_for_read() as connection:
            return int(connection.default_channel._size("celery"))

    @property
    def record(self) -> str:
        return str(self.app.backend.get_state(ID))


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "FIRST_PAUSE", 0.001)


@pytest.mark.parametrize("error", [AWAY, RuntimeError("max requests limit exceeded"), KeyError("class")])
def test_a_copy_that_is_not_taken_is_published_again_until_it_is(make_settings, error):
    delivery = Delivery(make_settings)

    def publish() -> None:
        if delivery.tries < 3:
            raise error

    delivery.publish = publish
    assert delivery.arrive() == celery_states.IGNORED
    assert (delivery.tries, delivery.copies, delivery.claimed) == (3, 1, [])
    assert delivery.record == "PROGRESS"


@pytest.mark.parametrize("state", ["succeeded", "failed"])
def test_while_no_copy_is_taken_the_delivery_waits_for_the_end_of_the_other_and_is_no_failure(make_settings, state):
    delivery = Delivery(make_settings)

    def end_the_other() -> None:
        if delivery.tries == 3:
            delivery.journal.append(FEED, Draft("state", {"state": state}), run=1, fact=2, delivery="first")
        raise AWAY

    delivery.publish = end_the_other
    assert delivery.arrive() == celery_states.IGNORED
    assert (delivery.tries, delivery.claimed, delivery.record) == (3, [], "PROGRESS")
    assert delivery.journal.snapshot(FEED).document["state"] == state


def test_what_could_not_be_published_again_runs_where_the_other_has_died(make_settings):
    delivery = Delivery(make_settings)

    def let_the_other_die() -> None:
        delivery.now += 6
        raise AWAY

    delivery.publish = let_the_other_die
    assert delivery.arrive() is None
    assert [claim.run for claim in delivery.claimed] == [2]
    assert delivery.record == celery_states.SUCCESS


@pytest.mark.parametrize("at", [1, 3])
def test_a_time_limit_that_ends_the_wait_gives_the_message_back_and_leaves_the_record(make_settings, at):
    delivery = Delivery(make_settings)

    def publish() -> None:
        if delivery.tries == at:
            raise SoftTimeLimitExceeded()
        raise AWAY

    delivery.publish = publish
    assert delivery.arrive() == celery_states.REJECTED
    assert (delivery.record, delivery.claimed) == ("PROGRESS", [])
    assert delivery.journal.snapshot(FEED).document["state"] == "running"

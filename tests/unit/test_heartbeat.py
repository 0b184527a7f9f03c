"""The worker's heartbeat goes on whatever a single task or message is like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from celery.worker import state as worker_state

from petiole.dispatch.message import Header
from petiole.protocol.events import Draft
from petiole.settings import Settings
from petiole.worker.heartbeat import Heartbeat
from petiole.worker.lifecycle import _running_feeds
from tests.support.memory_journal import MemoryJournal
from tests.support.waiting import wait_until
from tests.unit.runs import FEED, WORKER, begin, document


@contextmanager
def beating(journal: MemoryJournal, settings: Settings, **more: Callable[..., object]) -> Iterator[Heartbeat]:
    options = {"running": lambda: [FEED], "end_process": lambda _feed: None, **more}
    heartbeat = Heartbeat(journal, settings, worker=WORKER, **options)
    heartbeat.start()
    try:
        yield heartbeat
    finally:
        heartbeat.stop()


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(heartbeat=0.02, lease=0.5)


@pytest.mark.parametrize(
    "header", [{"v": 1}, {"v": 1, "feed": 7, "epoch": "", "owner": "", "title": ""}, {"v": 2}, [], "petiole", None, {}]
)
def test_a_header_that_is_not_ours_is_none(header):
    assert Header.from_message({"petiole": header}, "a") is None


def test_messages_with_headers_of_others_are_passed_over(monkeypatch):
    others = [SimpleNamespace(request_dict={"petiole": {"v": 1}}) for _ in range(3000)]
    own = SimpleNamespace(request_dict={"id": "a", **Header(FEED, "0123abcd", "ann", "Export").to_message()})
    monkeypatch.setattr(worker_state, "active_requests", [*others, own])
    assert list(_running_feeds()) == [FEED]


def test_it_goes_on_after_anything_that_is_raised(settings):
    journal = MemoryJournal(settings)
    begin(journal, lease=0.5)
    raised = [KeyError("feed"), ValueError("x"), RuntimeError("dictionary changed size during iteration")]

    def running() -> list[str]:
        if raised:
            raise raised.pop()
        return [FEED]

    # A failure delays it by less than a lease: the pause after it is a heartbeat's.
    with beating(journal, settings, running=running):
        wait_until(
            lambda: not raised and journal.heads([FEED])[FEED].lease_left > 0.3, what="the lease is renewed again"
        )


def test_a_task_that_cannot_be_ended_keeps_nobody_from_being_renewed(settings):
    journal = MemoryJournal(settings)
    begin(journal, lease=0.5)
    cancelling, cancelled = Draft("state", {"state": "cancelling"}), Draft("state", {"state": "cancelled"})
    for force in (False, True):
        journal.cancel(FEED, cancelling=cancelling, cancelled=cancelled, force=force)
    asked = []

    def end_process(feed: str) -> None:
        asked.append(feed)
        raise ConnectionError("the broker")

    with beating(journal, settings, end_process=end_process):
        wait_until(lambda: len(asked) > 3, what="it is requested repeatedly")
        assert journal.heads([FEED])[FEED].lease_left > 0


def test_a_verdict_that_raises_does_not_keep_the_next(settings):
    journal = MemoryJournal(settings)
    begin(journal)
    append = journal.append

    def picky(feed: str, draft: Draft, **numbers: object) -> object:
        if feed != FEED:
            raise ValueError(feed)
        return append(feed, draft, **numbers)

    journal.append = picky
    with beating(journal, settings) as heartbeat:
        heartbeat.conclude("task:spoiled", Draft("state", {"state": "failed"}))
        heartbeat.conclude(FEED, Draft("state", {"state": "failed"}))
        wait_until(lambda: document(journal)["state"] == "failed", what="the other verdict is written")


def test_the_end_of_a_second_delivery_is_no_end_of_the_run_that_another_worker_has(settings):
    journal = MemoryJournal(settings)
    begin(journal, lease=30.0)
    second = Heartbeat(journal, settings, worker="worker-2", running=list, end_process=lambda _feed: None)
    second.start()
    second.conclude(FEED, Draft("state", {"state": "failed"}))
    second.stop()
    assert document(journal)["state"] == "running"
    with beating(journal, settings) as heartbeat:
        heartbeat.conclude(FEED, Draft("state", {"state": "failed"}))
        wait_until(lambda: document(journal)["state"] == "failed", what="the worker that runs it decides")


def test_a_task_that_nobody_has_claimed_ends_where_its_message_was(settings):
    journal = MemoryJournal(settings)
    journal.open(FEED, owner="ann", draft=Draft("state", {"state": "queued"}))
    journal.confirm(FEED, lease=30.0)
    assert journal.heads([FEED])[FEED].lease_left > 0
    with beating(journal, settings) as heartbeat:
        heartbeat.conclude(FEED, Draft("state", {"state": "cancelled"}))
        wait_until(lambda: document(journal)["state"] == "cancelled", what="the verdict is written")

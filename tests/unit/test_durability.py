"""A task that ended right before the journal lost its newest second is sent again."""

from __future__ import annotations

import pytest

from petiole.protocol.events import Draft
from petiole.worker import durability
from petiole.worker.durability import DurabilityCheck
from petiole.worker.outbox import Outbox
from tests.support.memory_journal import MemoryJournal
from tests.support.waiting import wait_until
from tests.unit.outbox.shared import fall_back
from tests.unit.runs import FEED, SOON, Counted, Faults, begin, document, facts, line, thread_ended


@pytest.fixture
def journal(make_settings) -> Faults:
    return Faults(MemoryJournal(make_settings()))


def finish(journal, make_settings, *, on_end=lambda _outbox: None) -> Outbox:
    """Run a task to its end; its thread has ended then."""
    outbox = Outbox(journal, begin(journal), make_settings(), newest=Counted(), on_end=on_end)
    outbox.start()
    for number in range(10):
        outbox.put(line(str(number)))
    outbox.put(Draft("state", {"state": "succeeded"}))
    outbox.close()
    assert outbox.flush(SOON)
    thread_ended(outbox)
    return outbox


@pytest.mark.parametrize("keep", [3, 11, 12])
def test_an_end_that_the_journal_lost_is_sent_again(journal, make_settings, monkeypatch, keep):
    monkeypatch.setattr(durability, "SYNCED_WITHIN", 0.05)
    outbox = finish(journal, make_settings)
    before = facts(journal)
    fall_back(journal, make_settings, keep=keep)
    assert document(journal)["state"] == "running"
    DurabilityCheck(journal).add(outbox)
    wait_until(lambda: document(journal)["state"] == "succeeded", timeout=SOON, what="the end is back")
    assert [event.id for event in facts(journal)] == [event.id for event in before]
    assert facts(journal)[-1].chain == before[-1].chain


def test_a_task_that_the_journal_forgot_is_opened_again_as_ended(journal, make_settings, monkeypatch):
    monkeypatch.setattr(durability, "SYNCED_WITHIN", 0.05)
    outbox = finish(journal, make_settings)
    cursor = journal.snapshot(FEED).cursor
    journal.forget(FEED)
    DurabilityCheck(journal).add(outbox)
    wait_until(lambda: journal.snapshot(FEED) is not None, timeout=SOON, what="the feed is back")
    assert document(journal)["state"] == "succeeded"
    assert journal.snapshot(FEED).cursor.facts == cursor.facts
    assert journal.pending(limit=10) == [FEED]


def test_a_journal_that_is_away_is_asked_again(journal, make_settings, monkeypatch):
    monkeypatch.setattr(durability, "SYNCED_WITHIN", 0.05)
    outbox = finish(journal, make_settings)
    fall_back(journal, make_settings, keep=5)
    journal.away = True
    after = DurabilityCheck(journal)
    after.add(outbox)
    wait_until(lambda: journal.heads_asked >= 3, timeout=SOON, what="it is called again")
    journal.away = False
    wait_until(lambda: document(journal)["state"] == "succeeded", timeout=SOON, what="the end is back")


def test_an_end_that_was_kept_costs_one_question_and_writes_nothing(journal, make_settings, monkeypatch):
    monkeypatch.setattr(durability, "SYNCED_WITHIN", 0.05)
    outbox = finish(journal, make_settings)
    sent = len(journal.sent)
    DurabilityCheck(journal).add(outbox)
    wait_until(lambda: journal.heads_asked == 1, timeout=SOON, what="it is called")
    assert len(journal.sent) == sent


def test_a_run_that_ended_its_task_is_looked_after_and_one_that_gave_way_is_not(journal, make_settings):
    ended: list[Outbox] = []
    outbox = finish(journal, make_settings, on_end=ended.append)
    assert ended == [outbox]
    journal.forget(FEED)
    fenced = Outbox(journal, begin(journal), make_settings(), newest=Counted(), on_end=ended.append)
    journal.append(FEED, Draft("state", {"state": "lost"}))
    fenced.start()
    fenced.put(Draft("state", {"state": "succeeded"}))
    fenced.close()
    thread_ended(fenced)
    assert ended == [outbox]

"""What `rebase` and `cancel` promise, held against every backend."""

from __future__ import annotations

from typing import Any

import pytest

from petiole.journal.answers import (
    Busy,
    Claimed,
    Closed,
    Duplicate,
    Fenced,
    Held,
    Missing,
)
from petiole.journal.contract import Journal
from petiole.journal.rules import MAX_SILENT_ENDS
from petiole.protocol.events import (
    Cursor,
    Draft,
    advance_chain,
)
from petiole.protocol.states import TERMINAL
from tests.contract.backends import (
    FEED,
    HOSTILE,
    LONG,
    OWNER,
    SHORT,
    WORKER,
    claim,
    claimed,
    counter,
    document,
    line,
    opened,
    reading,
    state,
    stored,
)


class TestRebase:
    def rebase(self, journal: Journal, last: Cursor, **more: Any) -> Any:
        options = {
            "owner": OWNER,
            "run": 1,
            "delivery": "delivery-1",
            "retries": 0,
            "last": last,
            "fact": 2,
            "document": {"state": "running", "title": "Export", "run": 1, "progress": {"completed": 5}},
            "worker": WORKER,
            "lease": LONG,
            **more,
        }
        return journal.rebase(FEED, **options)

    def written(self, journal: Journal) -> Cursor:
        claimed(journal)
        return stored(journal.append(FEED, line(), run=1, fact=2)).cursor

    def test_the_feed_is_open_again_in_a_new_epoch_at_the_writers_numbers(self, journal):
        last = self.written(journal)
        journal.forget(FEED)
        cursor = self.rebase(journal, last)
        assert isinstance(cursor, Cursor)
        assert cursor.epoch != last.epoch
        assert (cursor.seq, cursor.facts, cursor.chain) == (last.seq, last.facts, last.chain)
        snapshot = journal.snapshot(FEED)
        assert snapshot.cursor == cursor
        assert snapshot.owner == OWNER
        assert snapshot.document == {"state": "running", "title": "Export", "run": 1, "progress": {"completed": 5}}

    def test_what_the_task_is_started_by_again_is_back_too(self, journal):
        last = self.written(journal)
        journal.forget(FEED)
        self.rebase(journal, last, message='{"task":"say"}')
        assert journal.message(FEED) == '{"task":"say"}'

    def test_no_key_of_a_feed_is_ever_without_a_lifetime(self, redis_backend):
        journal = redis_backend.make()
        prefix = journal._names._prefix

        def lifetimes() -> list[int]:
            with redis_backend.server.client() as client:
                return [client.pttl(key) for key in client.keys(f"{prefix}:*{FEED}:*")]

        opened(journal, message="to be sent again")
        assert len(lifetimes()) == 4
        assert all(left > 0 for left in lifetimes())
        claim(journal)
        last = stored(journal.append(FEED, line(), run=1, fact=2)).cursor
        stored(journal.append(FEED, Draft("counter", progress={"completed": 1}), run=1, fact=2, counter=1))
        assert all(left > 0 for left in lifetimes())
        journal.forget(FEED)
        assert lifetimes() == []
        self.rebase(journal, last)
        stored(journal.append(FEED, line(), run=1, fact=3))
        assert len(lifetimes()) == 3
        assert all(left > 0 for left in lifetimes())

    def test_numbers_go_on_after_a_rebase(self, journal):
        last = self.written(journal)
        journal.forget(FEED)
        cursor = self.rebase(journal, last)
        draft = line()
        after = stored(journal.append(FEED, draft, run=1, fact=3)).cursor
        assert (after.epoch, after.seq, after.facts) == (cursor.epoch, last.seq + 1, last.facts + 1)
        assert after.chain == advance_chain(last.chain, draft.id)
        assert [event.id for event in reading(journal, cursor).events] == [draft.id]

    def test_a_reader_of_the_earlier_epoch_is_not_recovered(self, journal):
        last = self.written(journal)
        journal.forget(FEED)
        self.rebase(journal, last)
        answer = reading(journal, last)
        assert not answer.recovered
        assert answer.document["state"] == "running"
        assert not reading(journal).recovered

    def test_the_run_and_its_lease_go_on_after_a_rebase(self, journal):
        last = self.written(journal)
        journal.forget(FEED)
        self.rebase(journal, last)
        assert journal.check(FEED, 1) == Held(True, False)
        assert journal.heads([FEED])[FEED].lease_left == pytest.approx(LONG, abs=10)
        assert journal.renew(WORKER, [FEED], lease=LONG) == {FEED: Held(True, False)}
        assert journal.renew("worker-2", [FEED], lease=LONG) == {FEED: Held(False, False)}
        assert isinstance(claim(journal, delivery="delivery-2"), Busy)

    def test_a_rebase_over_what_fell_back_replaces_it(self, journal):
        last = self.written(journal)
        journal.forget(FEED)
        opened(journal)
        cursor = self.rebase(journal, last)
        assert isinstance(cursor, Cursor)
        assert journal.snapshot(FEED).cursor == cursor
        assert reading(journal).events == ()

    def test_a_rebase_over_what_fell_back_leaves_its_message_and_its_silent_ends(self, backend, journal):
        opened(journal, message="to be sent again")
        failed = state("failed")
        last = None
        for number in range(1, MAX_SILENT_ENDS + 1):
            answer = claim(journal, delivery=f"delivery-{number}", lease=SHORT)
            assert answer.run == number
            last = answer.cursor
            backend.end_lease(journal, FEED)
        execution = {"run": MAX_SILENT_ENDS, "delivery": f"delivery-{MAX_SILENT_ENDS}", "fact": 1, "lease": SHORT}
        assert isinstance(self.rebase(journal, last, **execution), Cursor)
        assert journal.message(FEED) == "to be sent again"
        backend.end_lease(journal, FEED)
        assert claim(journal, delivery="one more", failed=failed) == Closed("failed")

    def test_the_same_run_under_another_delivery_is_fenced(self, journal):
        last = self.written(journal)
        journal.forget(FEED)
        opened(journal)
        claim(journal, delivery="delivery-2")
        before = journal.snapshot(FEED)
        assert self.rebase(journal, last) == Fenced(1)
        assert journal.append(FEED, line(), run=1, fact=3, delivery="delivery-1") == Fenced(1)
        assert not journal.check(FEED, 1, delivery="delivery-1").valid
        assert journal.snapshot(FEED) == before
        stored(journal.append(FEED, line(), run=1, fact=2, delivery="delivery-2"))

    def test_a_later_run_takes_the_feed_from_one_that_began_after_the_loss(self, journal):
        last = self.written(journal)
        journal.forget(FEED)
        opened(journal)
        claim(journal, delivery="delivery-3")
        self.rebase(journal, last, run=2, delivery="delivery-2")
        assert journal.append(FEED, line(), run=1, fact=2, delivery="delivery-3") == Fenced(2)
        stored(journal.append(FEED, line(), run=2, fact=3, delivery="delivery-2"))

    def test_a_cancel_goes_on_after_a_rebase(self, backend, journal):
        last = self.written(journal)
        journal.cancel(FEED, cancelling=state("cancelling"), cancelled=state("cancelled"))
        journal.forget(FEED)
        self.rebase(journal, last, document={"state": "cancelling"}, lease=SHORT)
        assert journal.check(FEED, 1).cancel
        backend.end_lease(journal, FEED)
        again = claim(journal, delivery="delivery-2")
        assert again.cancel
        assert document(journal)["state"] == "cancelling"

    def test_the_retries_go_on_after_a_rebase(self, journal):
        last = self.written(journal)
        journal.forget(FEED)
        self.rebase(journal, last, retries=1)
        assert isinstance(claim(journal, delivery="delivery-2", retries=1), Busy)
        assert isinstance(claim(journal, delivery="delivery-2", retries=2), Claimed)

    def test_a_task_that_has_ended_is_opened_again_as_ended(self, journal):
        last = self.written(journal)
        journal.forget(FEED)
        cursor = self.rebase(journal, last, document={"state": "succeeded"})
        assert journal.heads([FEED])[FEED].lease_left is None
        assert journal.snapshot(FEED).cursor == cursor
        assert claim(journal, delivery="delivery-2") == Closed("succeeded")
        assert not journal.check(FEED, 1).valid
        assert journal.pending(limit=10) == [FEED]

    def test_a_rebase_of_an_earlier_run_is_fenced(self, backend, journal):
        last = self.written(journal)
        journal.renew(WORKER, [FEED], lease=SHORT)
        backend.end_lease(journal, FEED)
        claim(journal, delivery="delivery-2")
        before = journal.snapshot(FEED)
        assert self.rebase(journal, last) == Fenced(2)
        assert journal.snapshot(FEED) == before

    @pytest.mark.parametrize("terminal", TERMINAL)
    def test_a_finished_feed_is_not_opened_again(self, journal, terminal):
        last = self.written(journal)
        stored(journal.append(FEED, state(terminal), run=1, fact=3))
        before = journal.snapshot(FEED)
        assert self.rebase(journal, last) == Closed(terminal)
        assert journal.snapshot(FEED) == before

    def test_a_rebased_feed_is_listed_once(self, journal):
        last = self.written(journal)
        journal.forget(FEED)
        self.rebase(journal, last)
        found, _ = journal.list(OWNER, limit=10)
        assert [snapshot.feed for snapshot in found] == [FEED]

    def test_a_hostile_document_comes_back_as_it_went_in(self, journal):
        last = self.written(journal)
        hostile = {text: text for text in HOSTILE} | {"state": "running"}
        self.rebase(journal, last, document=hostile)
        assert document(journal) == hostile


class TestCancel:
    def cancel(self, journal: Journal) -> Any:
        return journal.cancel(FEED, cancelling=state("cancelling"), cancelled=state("cancelled"))

    def test_a_queued_task_is_cancelled_at_once(self, journal):
        opened(journal, lease=LONG)
        answer = stored(self.cancel(journal))
        assert answer.cursor == journal.snapshot(FEED).cursor
        assert document(journal)["state"] == "cancelled"
        assert journal.heads([FEED])[FEED].lease_left is None
        assert claim(journal) == Closed("cancelled")

    def test_a_running_task_is_asked_to_stop(self, journal):
        claimed(journal)
        answer = stored(self.cancel(journal))
        assert answer.cancel is True
        assert document(journal)["state"] == "cancelling"
        assert journal.check(FEED, 1) == Held(True, True)

    def test_the_replies_to_a_running_task_carry_the_flag(self, journal):
        claimed(journal)
        assert stored(journal.append(FEED, counter(1), run=1, fact=1, counter=1)).cancel is False
        self.cancel(journal)
        assert stored(journal.append(FEED, counter(2), run=1, fact=1, counter=2)).cancel is True
        again = journal.append(FEED, counter(2), run=1, fact=1, counter=2)
        assert isinstance(again, Duplicate)
        assert again.cancel is True
        assert claim(journal).cancel is True

    def test_asking_twice_is_a_duplicate(self, journal):
        claimed(journal)
        cursor = stored(self.cancel(journal)).cursor
        assert self.cancel(journal) == Duplicate(cursor, cancel=True)
        assert journal.snapshot(FEED).cursor == cursor

    def test_a_retrying_task_is_cancelled_at_once(self, journal):
        claimed(journal)
        journal.append(FEED, state("retrying"), run=1, fact=2)
        stored(self.cancel(journal))
        assert document(journal)["state"] == "cancelled"

    def test_a_stalled_task_is_asked_to_stop(self, journal):
        claimed(journal)
        journal.append(FEED, state("stalled"))
        stored(self.cancel(journal))
        assert document(journal)["state"] == "cancelling"

    def test_a_stalled_task_that_only_the_broker_can_return_is_cancelled_at_once(self, backend, journal):
        claimed(journal, lease=SHORT)
        backend.end_lease(journal, FEED)
        stored(journal.conclude(FEED, 1, state("stalled")))
        stored(self.cancel(journal))
        assert document(journal)["state"] == "cancelled"
        assert not journal.check(FEED, 1).valid
        assert journal.append(FEED, line(), run=1, fact=2) == Closed("cancelled")
        assert claim(journal, delivery="delivery-2") == Closed("cancelled")

    def test_force_is_asked_for_after_a_cancel_and_once(self, journal):
        claimed(journal)
        self.cancel(journal)
        assert journal.renew(WORKER, [FEED], lease=LONG) == {FEED: Held(True, True)}
        by_force = {"cancelling": state("cancelling", forced=True), "cancelled": state("cancelled"), "force": True}
        cursor = stored(journal.cancel(FEED, **by_force)).cursor
        assert document(journal)["forced"] is True
        assert journal.cancel(FEED, **by_force) == Duplicate(cursor, cancel=True)
        assert self.cancel(journal) == Duplicate(cursor, cancel=True)
        forced = Held(True, True, force=True)
        assert journal.check(FEED, 1) == forced
        assert journal.renew(WORKER, [FEED], lease=LONG) == {FEED: forced}
        stored(journal.append(FEED, state("cancelled"), run=1, fact=2))

    @pytest.mark.parametrize("last", TERMINAL)
    def test_a_finished_task_is_not_cancelled(self, journal, last):
        claimed(journal)
        journal.append(FEED, state(last), run=1, fact=2)
        before = journal.snapshot(FEED)
        assert self.cancel(journal) == Closed(last)
        assert journal.snapshot(FEED) == before

    def test_a_task_that_was_cancelled_at_once_is_closed_the_second_time(self, journal):
        opened(journal)
        self.cancel(journal)
        assert self.cancel(journal) == Closed("cancelled")

    def test_a_task_may_be_faster_than_the_cancel(self, journal):
        claimed(journal)
        self.cancel(journal)
        stored(journal.append(FEED, state("succeeded"), run=1, fact=2))
        assert document(journal)["state"] == "succeeded"

    def test_an_unknown_feed_is_not_cancelled(self, journal):
        assert self.cancel(journal) == Missing()

"""What `Runs` promises of claims, leases and verdicts, held against every backend."""

from __future__ import annotations

import threading

import pytest

from petiole.journal.answers import (
    Busy,
    Claimed,
    Closed,
    Expired,
    Fenced,
    Held,
    Missing,
)
from petiole.journal.rules import MAX_SILENT_ENDS
from petiole.protocol.events import (
    task_feed,
)
from petiole.protocol.states import TERMINAL
from tests.contract.backends import (
    FEED,
    LONG,
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


class TestClaim:
    def test_a_claim_begins_run_one_with_its_first_fact(self, journal):
        before = opened(journal)
        draft = state("running", worker="w")
        answer = claim(journal, draft=draft)
        assert answer.run == 1
        assert answer.facts_written == 1
        assert answer.cancel is False
        assert answer.cursor == journal.snapshot(FEED).cursor
        assert answer.cursor.facts == before.facts + 1
        assert answer.document == document(journal) == {"state": "running", "title": "Export", "worker": "w", "run": 1}
        event = reading(journal, before).events[0]
        assert (event.id, event.run, event.kind) == (draft.id, 1, "state")

    def test_a_claim_begins_the_lease(self, journal):
        claimed(journal)
        head = journal.heads([FEED])[FEED]
        assert head.lease_left == pytest.approx(LONG, abs=10)
        assert head.run == 1
        assert head.state == "running"

    def test_a_claim_ends_the_lease_of_the_dispatch(self, backend, journal):
        opened(journal, lease=SHORT)
        claim(journal)
        assert journal.heads([FEED])[FEED].lease_left > SHORT
        assert journal.expired(limit=10) == []

    def test_the_same_delivery_again_is_answered_as_before(self, journal):
        first = claimed(journal)
        assert claim(journal, draft=state("running")) == first
        assert len(reading(journal).events) == 2

    def test_the_same_delivery_again_learns_how_many_facts_it_has_written(self, journal):
        claimed(journal)
        journal.append(FEED, line(), run=1, fact=2)
        journal.append(FEED, line(), run=1, fact=3)
        again = claim(journal)
        assert (again.run, again.facts_written, again.cursor.facts) == (1, 3, 4)

    def test_another_delivery_is_busy_while_the_lease_lasts(self, journal):
        claimed(journal)
        before = journal.snapshot(FEED)
        answer = claim(journal, delivery="delivery-2", worker="worker-2")
        assert isinstance(answer, Busy)
        assert answer.run == 1
        assert answer.lease_left == pytest.approx(LONG, abs=10)
        assert journal.snapshot(FEED) == before

    def test_another_delivery_takes_over_after_the_lease(self, backend, journal):
        claimed(journal)
        journal.append(FEED, line(), run=1, fact=2)
        journal.append(FEED, counter(5), run=1, fact=2, counter=9)
        journal.renew(WORKER, [FEED], lease=SHORT)
        backend.end_lease(journal, FEED)
        answer = claim(journal, delivery="delivery-2", worker="worker-2")
        assert isinstance(answer, Claimed)
        assert (answer.run, answer.facts_written) == (2, 1)
        assert document(journal)["run"] == 2
        stored(journal.append(FEED, counter(1), run=2, fact=1, counter=1))
        assert journal.check(FEED, 1) == Held(False, False)
        assert journal.check(FEED, 2) == Held(True, False)

    def test_a_delivery_with_more_retries_supersedes_a_live_run(self, journal):
        claimed(journal)
        answer = claim(journal, delivery="delivery-2", retries=1)
        assert isinstance(answer, Claimed)
        assert answer.run == 2
        assert journal.append(FEED, line(), run=1, fact=2) == Fenced(2)

    def test_a_delivery_with_as_many_or_fewer_retries_is_busy(self, journal):
        claimed(journal, retries=2)
        assert isinstance(claim(journal, delivery="delivery-2", retries=2), Busy)
        assert isinstance(claim(journal, delivery="delivery-3", retries=1), Busy)

    def test_after_retrying_the_next_delivery_claims_at_once(self, journal):
        claimed(journal)
        stored(journal.append(FEED, state("retrying"), run=1, fact=2))
        answer = claim(journal, delivery="delivery-2")
        assert isinstance(answer, Claimed)
        assert answer.run == 2
        assert document(journal)["state"] == "running"

    @pytest.mark.parametrize("last", TERMINAL)
    def test_a_finished_task_is_not_claimed(self, journal, last):
        claimed(journal)
        journal.append(FEED, state(last), run=1, fact=2)
        before = journal.snapshot(FEED)
        assert claim(journal, delivery="delivery-2", retries=9) == Closed(last)
        assert claim(journal) == Closed(last)
        assert journal.snapshot(FEED) == before

    def test_an_unknown_feed_is_not_claimed(self, journal):
        assert claim(journal) == Missing()
        assert journal.snapshot(FEED) is None

    def test_a_cancelled_run_is_claimed_without_saying_running(self, backend, journal):
        claimed(journal, lease=SHORT)
        journal.cancel(FEED, cancelling=state("cancelling"), cancelled=state("cancelled"))
        backend.end_lease(journal, FEED)
        answer = claim(journal, delivery="delivery-2")
        assert isinstance(answer, Claimed)
        assert (answer.run, answer.facts_written, answer.cancel) == (2, 0, True)
        assert answer.document["state"] == "cancelling"
        assert reading(journal).events[-1].patch == {"state": "cancelling"}
        stored(journal.append(FEED, state("cancelled"), run=2, fact=1))

    def run_ends_silently(self, backend, journal, number, **more):
        journal.renew(WORKER, [FEED], lease=SHORT)
        backend.end_lease(journal, FEED)
        return claim(journal, delivery=f"silent-{number}", **more)

    def test_a_task_whose_runs_end_too_often_without_a_word_has_failed(self, backend, journal):
        claimed(journal)
        failed = state("failed", reason="its worker died each time")
        for number in range(1, MAX_SILENT_ENDS):
            assert self.run_ends_silently(backend, journal, number, failed=failed).run == number + 1
        assert self.run_ends_silently(backend, journal, MAX_SILENT_ENDS, failed=failed) == Closed("failed")
        snapshot = journal.snapshot(FEED)
        assert snapshot.document["state"] == "failed"
        assert snapshot.document["reason"] == "its worker died each time"
        assert reading(journal).events[-1].id == failed.id
        assert journal.heads([FEED])[FEED].lease_left is None
        assert journal.check(FEED, MAX_SILENT_ENDS) == Held(False, False)
        assert claim(journal, delivery="one more", failed=failed) == Closed("failed")
        assert journal.snapshot(FEED) == snapshot

    def test_without_a_verdict_for_it_silent_ends_are_not_limited(self, backend, journal):
        claimed(journal)
        for number in range(1, MAX_SILENT_ENDS + 3):
            assert self.run_ends_silently(backend, journal, number).run == number + 1

    def test_runs_that_end_with_a_retry_are_not_silent(self, journal):
        claimed(journal)
        failed = state("failed")
        for number in range(1, MAX_SILENT_ENDS + 3):
            if number % 2:
                stored(journal.append(FEED, state("retrying"), run=number, fact=2))
            answer = claim(journal, delivery=f"retry-{number}", retries=number, failed=failed)
            assert isinstance(answer, Claimed)
            assert answer.run == number + 1

    def test_eight_deliveries_at_once_give_one_run(self, journal):
        opened(journal)
        start = threading.Barrier(8)
        answers = []

        def run(number: int) -> None:
            start.wait()
            answers.append(claim(journal, delivery=f"delivery-{number}"))

        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(type(answer).__name__ for answer in answers) == ["Busy"] * 7 + ["Claimed"]


class TestLeases:
    def test_a_worker_renews_what_it_has_claimed(self, journal):
        feeds = [task_feed(f"t{number}") for number in range(10)]
        for feed in feeds:
            claimed(journal, feed, lease=SHORT)
        assert journal.renew(WORKER, feeds, lease=LONG) == dict.fromkeys(feeds, Held(True, False))
        assert all(head.lease_left > SHORT for head in journal.heads(feeds).values())
        assert journal.expired(limit=10) == []

    def test_a_worker_does_not_renew_what_another_has_claimed(self, backend, journal):
        claimed(journal, lease=SHORT)
        assert journal.renew("worker-2", [FEED], lease=LONG) == {FEED: Held(False, False)}
        backend.end_lease(journal, FEED)
        assert journal.expired(limit=10) == [Expired(FEED, 1)]

    def test_a_worker_does_not_renew_what_nobody_has_claimed(self, journal):
        opened(journal)
        assert journal.renew(WORKER, [FEED, task_feed("unknown")], lease=LONG) == {
            FEED: Held(False, False),
            task_feed("unknown"): Held(False, False),
        }
        assert journal.heads([FEED])[FEED].lease_left is None

    def test_renewing_tells_of_a_cancel(self, journal):
        claimed(journal)
        journal.cancel(FEED, cancelling=state("cancelling"), cancelled=state("cancelled"))
        assert journal.renew(WORKER, [FEED], lease=LONG) == {FEED: Held(True, True)}

    def test_renewing_nothing_says_nothing(self, journal):
        assert journal.renew(WORKER, [], lease=LONG) == {}

    def test_check_says_how_a_run_stands_and_changes_nothing(self, journal):
        claimed(journal)
        before = journal.snapshot(FEED)
        assert journal.check(FEED, 1) == Held(True, False)
        assert journal.check(FEED, 2) == Held(False, False)
        assert journal.check(task_feed("unknown"), 1) == Held(False, False)
        assert journal.snapshot(FEED) == before

    def test_check_and_renew_tell_of_a_reapers_mark(self, backend, journal):
        claimed(journal, lease=SHORT)
        backend.end_lease(journal, FEED)
        journal.conclude(FEED, 1, state("stalled"), lease=LONG)
        assert journal.check(FEED, 1) == Held(True, False, stalled=True)
        assert journal.renew(WORKER, [FEED], lease=LONG) == {FEED: Held(True, False, stalled=True)}
        stored(journal.append(FEED, state("running")))
        assert journal.check(FEED, 1) == Held(True, False, stalled=False)
        assert journal.renew(WORKER, [FEED], lease=LONG) == {FEED: Held(True, False, stalled=False)}

    def test_what_a_run_says_prolongs_its_lease_and_what_others_say_does_not(self, backend):
        journal = backend.make(lease=LONG)
        claimed(journal, lease=SHORT)
        backend.end_lease(journal, FEED)
        stored(journal.append(FEED, line("of the web")))
        assert journal.expired(limit=10) == [Expired(FEED, 1)]
        stored(journal.append(FEED, line(), run=1, fact=2))
        assert journal.expired(limit=10) == []
        assert journal.conclude(FEED, 1, state("stalled")) == Closed("running")

    @pytest.mark.parametrize("say", ["fact", "counter", "check"])
    def test_a_stalled_run_that_says_something_is_told_so_and_has_a_lease_again(self, backend, say):
        journal = backend.make(lease=LONG)
        claimed(journal, lease=SHORT)
        backend.end_lease(journal, FEED)
        stored(journal.conclude(FEED, 1, state("stalled")))
        assert journal.heads([FEED])[FEED].lease_left is None
        match say:
            case "fact":
                assert stored(journal.append(FEED, line(), run=1, fact=2)).stalled
            case "counter":
                assert stored(journal.append(FEED, counter(1), run=1, fact=1, counter=1)).stalled
            case _:
                assert journal.check(FEED, 1, delivery="delivery-1", lease=LONG).stalled
        assert journal.heads([FEED])[FEED].lease_left > 0
        stored(journal.append(FEED, state("running")))
        assert not stored(journal.append(FEED, line(), run=1, fact=3 if say == "fact" else 2)).stalled

    def test_who_only_looks_prolongs_nothing_and_neither_does_another_run(self, backend, journal):
        claimed(journal, lease=SHORT)
        backend.end_lease(journal, FEED)
        assert journal.check(FEED, 1).valid
        assert not journal.check(FEED, 1, delivery="another", lease=LONG).valid
        assert not journal.check(FEED, 2, lease=LONG).valid
        assert journal.expired(limit=10) == [Expired(FEED, 1)]

    def test_the_last_word_of_a_run_ends_its_lease(self, journal):
        claimed(journal)
        stored(journal.append(FEED, state("succeeded"), run=1, fact=2))
        assert journal.heads([FEED])[FEED].lease_left is None

    def test_leases_from_before_the_clock_was_set_back_are_cut(self, backend):
        journal = backend.make()
        # An hour longer than any lease: as if the server's clock had been set back by an hour.
        claimed(journal, lease=3600.0)
        claimed(journal, task_feed("b"), lease=5.0)
        journal.expired(limit=10)
        heads = journal.heads([FEED, task_feed("b")])
        assert 0 < heads[FEED].lease_left <= 8.0
        assert heads[task_feed("b")].lease_left <= 5.0

    def test_check_tells_of_a_cancel(self, journal):
        claimed(journal)
        journal.cancel(FEED, cancelling=state("cancelling"), cancelled=state("cancelled"))
        assert journal.check(FEED, 1) == Held(True, True)

    def test_only_leases_that_have_ended_are_expired(self, backend, journal):
        claimed(journal, task_feed("live"))
        claimed(journal, task_feed("dead"), lease=SHORT)
        opened(journal, task_feed("queued"))
        backend.end_lease(journal, task_feed("dead"))
        assert journal.expired(limit=10) == [Expired(task_feed("dead"), 1)]
        assert journal.heads([task_feed("dead")])[task_feed("dead")].lease_left < 0

    def test_an_expired_feed_that_was_forgotten_is_missing_and_then_gone(self, backend, journal):
        claimed(journal, lease=SHORT)
        backend.end_lease(journal, FEED)
        journal.forget(FEED)
        assert journal.conclude(FEED, 1, state("lost")) == Missing()
        assert journal.expired(limit=10) == []


class TestConclude:
    def test_a_verdict_is_written_over_an_expired_run(self, backend, journal):
        claimed(journal, lease=SHORT)
        backend.end_lease(journal, FEED)
        cursor = stored(journal.conclude(FEED, 1, state("lost", reason="gone"))).cursor
        assert cursor == journal.snapshot(FEED).cursor
        assert document(journal)["state"] == "lost"
        assert reading(journal).events[-1].run == 0
        assert journal.expired(limit=10) == []
        assert journal.append(FEED, line(), run=1, fact=2) == Closed("lost")

    def test_a_lease_that_was_renewed_meanwhile_is_not_concluded(self, backend, journal):
        claimed(journal, lease=SHORT)
        backend.end_lease(journal, FEED)
        journal.renew(WORKER, [FEED], lease=LONG)
        assert journal.conclude(FEED, 1, state("lost")) == Closed("running")
        assert document(journal)["state"] == "running"

    def test_another_run_than_the_one_that_expired_is_not_concluded(self, backend, journal):
        claimed(journal, lease=SHORT)
        backend.end_lease(journal, FEED)
        claim(journal, delivery="delivery-2", lease=SHORT)
        backend.end_lease(journal, FEED)
        assert journal.conclude(FEED, 1, state("lost")) == Closed("running")
        stored(journal.conclude(FEED, 2, state("lost")))

    def test_a_feed_without_a_lease_is_not_concluded(self, journal):
        opened(journal)
        assert journal.conclude(FEED, 0, state("lost")) == Closed("queued")

    def test_a_verdict_that_may_not_follow_is_not_written(self, backend, journal):
        claimed(journal, lease=SHORT)
        backend.end_lease(journal, FEED)
        assert journal.conclude(FEED, 1, state("queued")) == Closed("running")
        assert journal.expired(limit=10) == [Expired(FEED, 1)]

    def test_an_unknown_feed_is_not_concluded(self, journal):
        assert journal.conclude(FEED, 0, state("lost")) == Missing()

    def test_a_dispatch_that_was_never_confirmed_can_be_concluded(self, backend, journal):
        opened(journal, lease=SHORT)
        backend.end_lease(journal, FEED)
        stored(journal.conclude(FEED, 0, state("failed", reason="never sent")))
        assert document(journal)["state"] == "failed"

    def test_the_reapers_mark_expires_again_and_then_it_speaks(self, backend, journal):
        claimed(journal, lease=SHORT)
        backend.end_lease(journal, FEED)
        stored(journal.conclude(FEED, 1, state("stalled"), lease=SHORT))
        assert document(journal)["state"] == "stalled"
        backend.end_lease(journal, FEED)
        assert journal.expired(limit=10) == [Expired(FEED, 1)]
        stored(journal.conclude(FEED, 1, state("lost")))
        assert journal.expired(limit=10) == []

    def test_a_mark_that_has_not_ended_is_not_concluded_again(self, backend, journal):
        claimed(journal, lease=SHORT)
        backend.end_lease(journal, FEED)
        stored(journal.conclude(FEED, 1, state("stalled"), lease=LONG))
        assert journal.expired(limit=10) == []
        assert journal.conclude(FEED, 1, state("lost")) == Closed("stalled")

    def test_a_worker_that_comes_back_goes_on_after_the_mark(self, backend, journal):
        claimed(journal, lease=SHORT)
        backend.end_lease(journal, FEED)
        journal.conclude(FEED, 1, state("stalled"), lease=LONG)
        assert journal.renew(WORKER, [FEED], lease=LONG) == {FEED: Held(True, False, stalled=True)}
        stored(journal.append(FEED, state("running"), run=1, fact=2))

    def test_eight_reapers_conclude_once(self, backend, journal):
        claimed(journal, lease=SHORT)
        backend.end_lease(journal, FEED)
        start = threading.Barrier(8)
        answers = []

        def reap() -> None:
            start.wait()
            answers.append(journal.conclude(FEED, 1, state("lost")))

        threads = [threading.Thread(target=reap) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(type(answer).__name__ for answer in answers) == ["Closed"] * 7 + ["Stored"]

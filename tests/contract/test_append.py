"""What `append` promises, held against every backend."""

from __future__ import annotations

import threading

import pytest

from petiole.journal.answers import (
    Closed,
    Conflict,
    Duplicate,
    Fenced,
    Held,
    Missing,
)
from petiole.protocol.events import (
    ZERO_CHAIN,
    Cursor,
    Draft,
)
from petiole.protocol.reader import follow
from petiole.protocol.states import ACTIVE, PREDECESSORS, TERMINAL
from tests.contract.backends import (
    FEED,
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


class TestAppend:
    def test_a_runs_facts_are_taken_in_the_order_of_their_numbers(self, journal):
        claimed(journal)
        for number in range(2, 6):
            stored(journal.append(FEED, line(str(number)), run=1, fact=number))
        messages = [event.data["message"] for event in reading(journal).events[2:]]
        assert messages == ["2", "3", "4", "5"]

    def test_the_same_fact_again_is_a_duplicate_and_changes_nothing(self, journal):
        claimed(journal)
        draft = line()
        cursor = stored(journal.append(FEED, draft, run=1, fact=2)).cursor
        assert journal.append(FEED, draft, run=1, fact=2) == Duplicate(cursor)
        assert len(reading(journal).events) == 3
        assert journal.snapshot(FEED).cursor == cursor

    def test_the_fact_that_the_claim_wrote_is_a_duplicate(self, journal):
        answer = claimed(journal)
        assert journal.append(FEED, state("running"), run=1, fact=1) == Duplicate(answer.cursor)

    def test_a_skipped_fact_is_a_conflict_that_says_the_last(self, journal):
        claimed(journal)
        journal.append(FEED, line(), run=1, fact=2)
        before = journal.snapshot(FEED)
        assert journal.append(FEED, line(), run=1, fact=4) == Conflict(2)
        assert journal.append(FEED, line(), run=1, fact=1_000_000) == Conflict(2)
        assert journal.snapshot(FEED) == before

    def test_a_counter_of_a_fact_that_is_missing_is_a_conflict(self, journal):
        claimed(journal)
        assert journal.append(FEED, counter(1), run=1, fact=2, counter=1) == Conflict(1)

    @pytest.mark.parametrize(("fact", "number"), [(1, 1), (2, 0), (2, 2), (2, 3)])
    def test_a_counter_not_after_the_last_pair_is_a_duplicate(self, journal, fact, number):
        claimed(journal)
        journal.append(FEED, line(), run=1, fact=2)
        last = stored(journal.append(FEED, counter(50), run=1, fact=2, counter=3)).cursor
        assert journal.append(FEED, counter(1), run=1, fact=fact, counter=number) == Duplicate(last)
        assert document(journal)["progress"]["completed"] == 50

    def test_a_counters_number_may_skip(self, journal):
        claimed(journal)
        stored(journal.append(FEED, counter(1), run=1, fact=1, counter=5))
        stored(journal.append(FEED, counter(2), run=1, fact=1, counter=50))
        assert document(journal)["progress"]["completed"] == 2

    def test_the_next_fact_lets_counters_begin_at_one_again(self, journal):
        claimed(journal)
        stored(journal.append(FEED, counter(1), run=1, fact=1, counter=9))
        stored(journal.append(FEED, line(), run=1, fact=2))
        stored(journal.append(FEED, counter(2), run=1, fact=2, counter=1))

    def test_a_fact_begins_the_counters_anew_whatever_number_it_bears(self, journal):
        claimed(journal)
        stored(journal.append(FEED, line(), run=1, fact=2, counter=9))
        stored(journal.append(FEED, counter(2), run=1, fact=2, counter=1))

    def test_an_earlier_run_is_fenced_and_is_told_by_which(self, backend, journal):
        claimed(journal, lease=SHORT)
        backend.end_lease(journal, FEED)
        claim(journal, delivery="delivery-2")
        before = journal.snapshot(FEED)
        assert journal.append(FEED, line(), run=1, fact=2) == Fenced(2)
        assert journal.append(FEED, counter(1), run=1, fact=1, counter=1) == Fenced(2)
        assert journal.append(FEED, state("running"), run=1, fact=1) == Fenced(2)
        assert journal.snapshot(FEED) == before

    def test_a_run_that_the_journal_never_gave_is_missing(self, journal):
        opened(journal)
        assert journal.append(FEED, line(), run=1, fact=1) == Missing()

    def test_an_unknown_feed_is_missing(self, journal):
        assert journal.append(FEED, line()) == Missing()
        assert journal.append(FEED, line(), run=1, fact=2) == Missing()
        assert journal.snapshot(FEED) is None

    @pytest.mark.parametrize("last", TERMINAL)
    def test_a_terminal_state_is_final_for_everybody(self, journal, last):
        claimed(journal)
        if last == "succeeded":
            stored(journal.append(FEED, state(last), run=1, fact=2))
        else:
            stored(journal.append(FEED, state(last)))
        before = journal.snapshot(FEED)
        fact = 3 if last == "succeeded" else 2
        for name in (*ACTIVE, *TERMINAL):
            assert journal.append(FEED, state(name)) == Closed(last)
        assert journal.append(FEED, line()) == Closed(last)
        assert journal.append(FEED, counter(1)) == Closed(last)
        assert journal.append(FEED, line(), run=1, fact=fact) == Closed(last)
        assert journal.append(FEED, counter(1), run=1, fact=fact - 1, counter=1) == Closed(last)
        assert journal.snapshot(FEED) == before

    def test_the_terminal_fact_again_is_a_duplicate_and_not_closed(self, journal):
        claimed(journal)
        draft = state("succeeded")
        cursor = stored(journal.append(FEED, draft, run=1, fact=2)).cursor
        assert journal.append(FEED, draft, run=1, fact=2) == Duplicate(cursor)

    @pytest.mark.parametrize("current", ["queued", "running", "retrying", "stalled", "cancelling"])
    @pytest.mark.parametrize("name", [*ACTIVE, *TERMINAL])
    def test_a_state_that_may_not_follow_is_closed(self, journal, current, name):
        opened(journal)
        path = {"retrying": ["running"], "cancelling": ["running"]}.get(current, [])
        for step in [*path, *([] if current == "queued" else [current])]:
            stored(journal.append(FEED, state(step)))
        answer = journal.append(FEED, state(name))
        if current in PREDECESSORS[name]:
            stored(answer)
        else:
            assert answer == Closed(current)

    def test_cancelling_is_not_followed_by_retrying(self, journal):
        claimed(journal)
        journal.append(FEED, state("cancelling"))
        assert journal.append(FEED, state("retrying"), run=1, fact=2) == Closed("cancelling")
        assert journal.check(FEED, 1).valid
        stored(journal.append(FEED, state("cancelled"), run=1, fact=2))

    def test_a_patch_without_a_state_is_taken_in_every_active_state(self, journal):
        opened(journal)
        for name in ("running", "cancelling"):
            journal.append(FEED, state(name))
            stored(journal.append(FEED, line()))

    @pytest.mark.parametrize("name", ["retrying", "succeeded", "failed", "cancelled", "lost"])
    def test_a_state_that_ends_the_run_ends_its_lease(self, journal, name):
        claimed(journal)
        stored(journal.append(FEED, state(name), run=1, fact=2))
        assert journal.heads([FEED])[FEED].lease_left is None
        assert not journal.check(FEED, 1).valid
        assert journal.renew(WORKER, [FEED], lease=LONG) == {FEED: Held(False, False)}

    def test_a_feed_of_a_user_has_no_state_to_guard_it(self, journal):
        feed = "user:alice"
        journal.open(feed, owner=OWNER, draft=Draft("custom", {"unread": 0}))
        stored(journal.append(feed, Draft("custom", {"unread": 1})))
        assert journal.heads([feed])[feed].state is None
        assert document(journal, feed) == {"unread": 1}

    def test_eight_threads_without_a_run_number_gaplessly(self, journal):
        opened(journal)
        start = threading.Barrier(8)

        def write(name: int) -> None:
            start.wait()
            for number in range(25):
                stored(journal.append(FEED, line(f"{name}.{number}")))
                stored(journal.append(FEED, counter(number)))

        threads = [threading.Thread(target=write, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        answer = reading(journal)
        assert [event.facts for event in answer.events] == list(range(1, 202))
        assert follow(Cursor(answer.cursor.epoch, 0, 0, ZERO_CHAIN), answer.events)
        assert answer.cursor.seq == 1 + 8 * 25 * 2
        for name in range(8):
            own = [m for m in (e.data["message"] for e in answer.events[1:]) if m.startswith(f"{name}.")]
            assert own == [f"{name}.{number}" for number in range(25)]

    def test_eight_threads_that_send_the_same_fact_store_it_once(self, journal):
        claimed(journal)
        draft = line()
        start = threading.Barrier(8)
        answers = []

        def write() -> None:
            start.wait()
            answers.append(journal.append(FEED, draft, run=1, fact=2))

        threads = [threading.Thread(target=write) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(type(answer).__name__ for answer in answers) == ["Duplicate"] * 7 + ["Stored"]
        assert len(reading(journal).events) == 3

"""What `Feeds` promises of opening, numbering and the document, held against every backend."""

from __future__ import annotations

import time

import pytest

from petiole.errors import InvalidEvent
from petiole.journal.answers import (
    Duplicate,
    Expired,
    Stored,
)
from petiole.journal.contract import SupportsAsync
from petiole.protocol.events import (
    MAX_EVENT_BYTES,
    MAX_NUMBER,
    ZERO_CHAIN,
    Cursor,
    Draft,
    advance_chain,
    task_feed,
)
from petiole.protocol.reader import follow
from tests.contract.backends import (
    FEED,
    HOSTILE,
    LONG,
    OWNER,
    SHORT,
    MemoryBackend,
    claim,
    claimed,
    counter,
    document,
    folded,
    line,
    opened,
    reading,
    state,
    stored,
)
from tests.support.waiting import wait_until


class TestOpen:
    def test_an_opened_feed_stands_at_its_first_fact(self, journal):
        draft = state("queued", title="Export")
        cursor = journal.open(FEED, owner=OWNER, draft=draft)
        assert (cursor.seq, cursor.facts) == (1, 1)
        assert cursor.chain == advance_chain(ZERO_CHAIN, draft.id)
        snapshot = journal.snapshot(FEED)
        assert snapshot.feed == FEED
        assert snapshot.owner == OWNER
        assert snapshot.cursor == cursor
        assert snapshot.document == {"state": "queued", "title": "Export"}

    def test_opening_again_leaves_the_feed_as_it_is(self, journal):
        first = opened(journal)
        again = opened(journal, draft=state("queued", title="Another"), owner="mallory")
        assert again == first
        assert journal.snapshot(FEED).owner == OWNER
        assert document(journal)["title"] == "Export"

    def test_a_caller_that_chose_the_epoch_learns_it_although_the_reply_was_lost(self, journal):
        draft = state("queued")
        journal.open(FEED, owner=OWNER, draft=draft, epoch="0123abcd")
        cursor = journal.open(FEED, owner=OWNER, draft=draft, epoch="0123abcd")
        assert cursor == Cursor("0123abcd", 1, 1, advance_chain(ZERO_CHAIN, draft.id))

    def test_epochs_are_random_and_of_eight_digits(self, journal):
        epochs = {opened(journal, task_feed(f"t{number}")).epoch for number in range(20)}
        assert len(epochs) == 20
        assert all(len(epoch) == 8 and int(epoch, 16) >= 0 for epoch in epochs)

    def test_a_feed_that_was_opened_after_it_was_forgotten_is_of_another_epoch(self, journal):
        first = opened(journal)
        journal.forget(FEED)
        assert opened(journal).epoch != first.epoch

    def test_an_oversized_draft_opens_nothing(self, journal):
        with pytest.raises(InvalidEvent):
            opened(journal, draft=state("queued", title="x" * MAX_EVENT_BYTES))
        assert journal.snapshot(FEED) is None

    def test_a_feed_whose_dispatch_was_not_confirmed_expires(self, backend, journal):
        opened(journal, lease=SHORT)
        backend.end_lease(journal, FEED)
        assert journal.expired(limit=10) == [Expired(FEED, 0)]

    def test_a_confirmed_dispatch_does_not_expire(self, journal):
        opened(journal, lease=LONG)
        assert journal.heads([FEED])[FEED].lease_left == pytest.approx(LONG, abs=10)
        journal.confirm(FEED)
        assert journal.heads([FEED])[FEED].lease_left is None

    def test_a_dispatch_may_be_confirmed_without_waiting(self, journal):
        opened(journal, lease=LONG)
        journal.confirm(FEED, wait=False)
        wait_until(lambda: journal.heads([FEED])[FEED].lease_left is None, what="its lease has ended")

    def test_a_feed_that_has_begun_to_be_opened_is_open_when_its_answer_is_there(self, journal):
        draft = Draft("state", {"state": "queued", "title": "Export"})
        if not isinstance(journal, SupportsAsync):
            return
        answers = [journal.open_async(FEED, owner=OWNER, draft=draft, epoch="0123abcd", lease=LONG) for _ in range(2)]
        first, again = (answer() for answer in answers)
        assert first == again == journal.heads([FEED])[FEED].cursor
        assert (first.epoch, first.facts) == ("0123abcd", 1)
        assert [snapshot.feed for snapshot in journal.list(OWNER, limit=10)[0]] == [FEED]

    def test_an_append_that_has_begun_is_kept_as_any_other(self, journal):
        claimed(journal)
        if not isinstance(journal, SupportsAsync):
            return
        begun = [journal.append_async(FEED, line(), run=1, fact=fact) for fact in (2, 2)]
        answers = [answer() for answer in begun if answer is not None]
        assert [type(answer) for answer in answers] in ([], [Stored], [Stored, Duplicate])
        assert journal.heads([FEED])[FEED].cursor.facts == 2 + bool(answers)

    def test_the_answer_to_an_append_that_has_begun_is_heard_without_waiting(self, journal):
        claimed(journal)
        # After an append whose answer was read: a server that doesn't know the script yet answers with an error.
        journal.append(FEED, line(), run=1, fact=2)
        begun = journal.append_async(FEED, line(), run=1, fact=3) if isinstance(journal, SupportsAsync) else None
        if begun is not None:
            wait_until(lambda: begun.poll() is not None, what="the answer has arrived")
            assert begun.poll() == begun() == Stored(journal.heads([FEED])[FEED].cursor, cancel=False)

    def test_confirm_leaves_the_lease_of_a_claimed_feed(self, journal):
        claimed(journal)
        journal.confirm(FEED)
        assert journal.heads([FEED])[FEED].lease_left == pytest.approx(LONG, abs=10)

    def test_confirm_of_an_unknown_feed_does_nothing(self, journal):
        journal.confirm(FEED)
        assert journal.snapshot(FEED) is None


class TestNumbers:
    def test_seq_rises_with_every_event_and_facts_with_every_fact(self, journal):
        claimed(journal)
        places = []
        for draft, fact, count in [(counter(1), 1, 1), (line(), 2, 0), (counter(2), 2, 1), (counter(3), 2, 2)]:
            cursor = stored(journal.append(FEED, draft, run=1, fact=fact, counter=count)).cursor
            places.append((cursor.seq, cursor.facts))
        assert places == [(3, 2), (4, 3), (5, 3), (6, 3)]

    def test_the_chain_follows_from_the_ids_of_all_facts(self, journal):
        chain = advance_chain(ZERO_CHAIN, (first := state("queued")).id)
        journal.open(FEED, owner=OWNER, draft=first)
        for number in range(5):
            draft = line(str(number))
            chain = advance_chain(chain, draft.id)
            assert stored(journal.append(FEED, draft)).cursor.chain == chain

    def test_a_counter_leaves_facts_and_chain(self, journal):
        before = opened(journal)
        after = stored(journal.append(FEED, counter(5))).cursor
        assert (after.facts, after.chain) == (before.facts, before.chain)
        assert after.seq == before.seq + 1

    def test_the_facts_that_are_read_follow_one_by_one(self, journal):
        cursor = opened(journal)
        for number in range(10):
            journal.append(FEED, line(str(number)))
            journal.append(FEED, counter(number))
        answer = reading(journal)
        assert follow(Cursor(cursor.epoch, 0, 0, ZERO_CHAIN), answer.events)
        assert [event.facts for event in answer.events] == list(range(1, 12))
        assert [event.seq for event in answer.events] == [1, *range(2, 22, 2)]

    def test_an_event_is_read_as_it_was_written(self, journal):
        claimed(journal)
        progress = {"completed": 3, "total": None}
        draft = Draft("custom", {"note": "n", "gone": None}, progress, {"name": "x", "data": [1, 2.5, None, {"a": []}]})
        cursor = stored(journal.append(FEED, draft, run=1, fact=2)).cursor
        event = reading(journal).events[-1]
        assert event.id == draft.id
        assert event.feed == FEED
        assert event.cursor == cursor
        assert event.run == 1
        assert event.kind == "custom"
        assert event.patch == {"note": "n", "gone": None}
        assert event.progress == progress
        assert event.data == {"name": "x", "data": [1, 2.5, None, {"a": []}]}
        assert event.v == 1

    def test_an_event_bears_the_journals_time(self, backend, journal):
        opened(journal)
        now = backend.now if isinstance(backend, MemoryBackend) else time.time()
        assert reading(journal).events[0].at == pytest.approx(now * 1000, abs=60_000)

    def test_an_event_without_a_run_says_run_zero(self, journal):
        claimed(journal)
        journal.append(FEED, line())
        assert reading(journal).events[-1].run == 0
        assert document(journal)["run"] == 1


class TestDocument:
    def test_null_deletes_a_field(self, journal):
        opened(journal)
        journal.append(FEED, Draft("state", {"reason": "why", "retry_at": 5}))
        assert document(journal)["reason"] == "why"
        journal.append(FEED, Draft("state", {"reason": None, "never": None}))
        assert document(journal) == {"state": "queued", "title": "Export", "retry_at": 5}

    def test_null_within_a_value_is_kept(self, journal):
        opened(journal)
        journal.append(FEED, Draft("state", {"error": {"message": None}}))
        assert document(journal)["error"] == {"message": None}

    def test_the_text_null_is_not_null(self, journal):
        opened(journal, draft=state("queued", title="null"))
        assert document(journal)["title"] == "null"

    def test_a_run_above_zero_sets_the_field_run(self, journal):
        opened(journal)
        assert "run" not in document(journal)
        claim(journal)
        assert document(journal)["run"] == 1

    def test_every_event_carries_the_progress_as_of_its_seq(self, journal):
        claimed(journal)
        journal.append(FEED, counter(10), run=1, fact=1, counter=1)
        journal.append(FEED, line(), run=1, fact=2)
        journal.append(FEED, counter(20), run=1, fact=2, counter=1)
        journal.append(FEED, line(progress={"completed": 30, "total": 100}), run=1, fact=3)
        assert [event.progress and event.progress["completed"] for event in reading(journal).events] == [
            None,
            None,
            10,
            30,
        ]
        assert document(journal)["progress"] == {"completed": 30, "total": 100}

    def test_a_counter_is_folded_and_not_kept(self, journal):
        opened(journal)
        journal.append(FEED, counter(7))
        answer = reading(journal)
        assert answer.document["progress"] == {"completed": 7, "total": 100}
        assert [event.kind for event in answer.events] == ["state"]

    def test_a_patch_of_progress_is_folded_before_the_progress(self, journal):
        opened(journal)
        journal.append(FEED, Draft("custom", {"progress": {"completed": 1}}, {"completed": 2}))
        assert document(journal)["progress"] == {"completed": 2}
        journal.append(FEED, Draft("custom", {"progress": {"completed": 3}}))
        assert document(journal)["progress"] == {"completed": 3}
        journal.append(FEED, Draft("custom", {"progress": None}))
        assert "progress" not in document(journal)
        answer = reading(journal)
        assert [event.progress for event in answer.events] == [None, {"completed": 2}, {"completed": 3}, None]
        assert folded(answer.events) == answer.document

    def test_folding_the_facts_gives_the_document(self, journal):
        claimed(journal)
        for number in range(2, 30):
            patch = {f"field{number % 7}": None if number % 3 == 0 else number}
            journal.append(FEED, Draft("custom", patch, {"completed": number}), run=1, fact=number)
        answer = reading(journal)
        assert folded(answer.events) == answer.document

    @pytest.mark.parametrize("text", HOSTILE)
    def test_hostile_text_comes_back_as_it_went_in(self, journal, text):
        opened(journal, draft=state("queued", title=text), owner=OWNER)
        draft = Draft("custom", {"note": text, "deep": [{"k": text}]}, {"description": text}, {"name": text, text: 1})
        journal.append(FEED, draft)
        event = reading(journal).events[-1]
        assert event.patch == draft.patch
        assert event.progress == {"description": text}
        assert event.data == {"name": text, text: 1}
        assert document(journal)["title"] == text
        assert document(journal)["note"] == text

    def test_hostile_field_names_come_back_as_they_went_in(self, journal):
        opened(journal)
        patch = {text: number for number, text in enumerate(HOSTILE)}
        journal.append(FEED, Draft("custom", patch))
        assert {name: document(journal)[name] for name in patch} == patch
        assert reading(journal).events[-1].patch == patch

    def test_large_and_exact_numbers_come_back_as_they_went_in(self, journal):
        opened(journal)
        patch = {"a": MAX_NUMBER, "b": -MAX_NUMBER, "c": 0.1, "d": 1e300, "e": 2**70, "f": 1.0, "g": True, "h": 0}
        journal.append(FEED, Draft("custom", patch))
        assert {name: document(journal)[name] for name in patch} == patch

    def test_empty_lists_and_objects_stay_what_they_are(self, journal):
        opened(journal)
        journal.append(FEED, Draft("custom", {"list": [], "object": {}}, {}, []))
        assert document(journal)["list"] == []
        assert document(journal)["object"] == {}
        assert document(journal)["progress"] == {}
        assert reading(journal).events[-1].data == []

    def test_an_event_over_the_limit_is_refused_with_a_sentence(self, journal):
        before = opened(journal)
        with pytest.raises(InvalidEvent, match=r"over the limit of 8,192\. Send less"):
            journal.append(FEED, line("x" * MAX_EVENT_BYTES))
        with pytest.raises(InvalidEvent, match=r"over the limit"):
            journal.append(FEED, line("é" * (MAX_EVENT_BYTES // 2)))
        assert journal.snapshot(FEED).cursor == before

    def test_an_event_just_below_the_limit_is_taken(self, journal):
        opened(journal)
        stored(journal.append(FEED, line("x" * (MAX_EVENT_BYTES - 100))))

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), b"bytes", "\ud800"])
    def test_what_is_not_json_is_refused_with_a_sentence(self, journal, value):
        before = opened(journal)
        with pytest.raises(InvalidEvent, match="can't become JSON"):
            journal.append(FEED, Draft("custom", {"value": value}))
        assert journal.snapshot(FEED).cursor == before

    def test_what_a_caller_changes_in_a_snapshot_changes_nothing(self, journal):
        opened(journal, draft=state("queued", deep={"list": [1]}))
        document(journal)["deep"]["list"].append(2)
        reading(journal).document["deep"]["list"].append(3)
        assert document(journal) == {"state": "queued", "deep": {"list": [1]}}

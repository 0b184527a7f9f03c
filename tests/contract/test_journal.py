"""The promises of `petiole/journal/contract.py`, tested on every backend."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from petiole.errors import InvalidEvent, Refusal, Unavailable
from petiole.journal.answers import (
    Busy,
    Claimed,
    Closed,
    Conflict,
    Duplicate,
    Expired,
    Fenced,
    Gone,
    Held,
    Missing,
    Stored,
)
from petiole.journal.contract import Journal, SupportsAsync
from petiole.journal.redis.journal import RedisJournal
from petiole.journal.rules import MAX_SILENT_ENDS
from petiole.journal.sql import SqlJournal
from petiole.protocol.events import (
    MAX_EVENT_BYTES,
    MAX_NUMBER,
    ZERO_CHAIN,
    Cursor,
    Draft,
    advance_chain,
    task_feed,
)
from petiole.protocol.reader import Read, Reader, Reading, Reset, Show, follow
from petiole.protocol.states import ACTIVE, PREDECESSORS, TERMINAL
from tests.conftest import VARIANTS
from tests.contract.backends import (
    FEED,
    LONG,
    OWNER,
    SHORT,
    WORKER,
    MemoryBackend,
    RedisBackend,
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
from tests.support.redis import RedisServer
from tests.support.waiting import wait_until

HOSTILE = [
    'a "quoted" word',
    "two\nlines\r\nand a tab\t",
    "]]> ]=] --[[ lua ]] \\ \\\\ \\n",
    "</script><script>alert(1)</script>",
    "naïve Ελλάδα 日本語 🎉👩‍👩‍👧",
    "\u2028\u2029\x00\x1f\x7f",
    "null",
    "",
    "{" * 50,
    "'; DROP TABLE feeds; --",
    "%s %d {0} $1 \\1",
]


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


class TestRetention:
    def test_a_feed_keeps_so_many_facts(self, backend):
        journal = backend.make(facts_kept=5)
        opened(journal)
        cursors = [stored(journal.append(FEED, line(str(number)))).cursor for number in range(9)]
        assert [event.facts for event in reading(journal, cursors[3]).events] == [6, 7, 8, 9, 10]
        assert reading(journal, cursors[3]).recovered
        assert not reading(journal, cursors[2]).recovered

    def test_a_feed_keeps_so_much_text(self, backend):
        journal = backend.make(bytes_kept=20_000)
        opened(journal)
        cursors = [stored(journal.append(FEED, line("x" * 4000))).cursor for _ in range(10)]
        kept = [reading(journal, cursor).recovered for cursor in cursors]
        assert kept == [False] * 5 + [True] * 5

    def test_text_is_counted_in_bytes(self, backend):
        journal = backend.make(bytes_kept=20_000)
        opened(journal)
        cursors = [stored(journal.append(FEED, line("é" * 2000))).cursor for _ in range(10)]
        assert [reading(journal, cursor).recovered for cursor in cursors] == [False] * 5 + [True] * 5

    def test_the_newest_fact_is_kept_however_large(self, backend):
        journal = backend.make(bytes_kept=100)
        opened(journal)
        before = stored(journal.append(FEED, line("first"))).cursor
        last = line("x" * 4000)
        journal.append(FEED, last)
        assert [event.id for event in reading(journal, before).events] == [last.id]

    def test_a_trimmed_feed_keeps_its_document_and_its_numbers(self, backend):
        journal = backend.make(facts_kept=2)
        opened(journal)
        for number in range(10):
            journal.append(FEED, line(str(number)))
        answer = reading(journal)
        assert not answer.recovered
        assert answer.cursor.facts == 11
        assert answer.document == {"state": "queued", "title": "Export"}

    @pytest.mark.parametrize("limit", [1, 2, 3, 100])
    def test_a_reader_without_a_cursor_gets_what_is_kept_and_how_many_came_before(self, backend, limit):
        journal = backend.make(facts_kept=3)
        opened(journal)
        for number in range(10):
            journal.append(FEED, line(str(number)))
        journal.append(FEED, counter(5))
        reader, shown, pages = Reader(FEED), [], 0
        actions = reader.start()
        while actions and isinstance(actions[-1], Read):
            answer = reading(journal, reader.cursor, limit=limit)
            pages += 1
            actions = reader.answer(answer)
            if pages == 1:
                assert answer.start is not None
                assert (answer.recovered, answer.start.facts) == (False, 8)
                assert actions[0] == Reset(answer.start)
                assert Reading.from_wire(json.loads(answer.to_text())) == answer
            shown += [action.event.data["message"] for action in actions if isinstance(action, Show)]
        assert shown == ["7", "8", "9"]
        assert (reader.cursor, reader.shown, reader.complete) == (journal.snapshot(FEED).cursor, 3, False)

    def test_a_reader_without_a_cursor_of_a_feed_that_was_opened_again_gets_how_many_came_before(self, journal):
        claimed(journal)
        last = stored(journal.append(FEED, line(), run=1, fact=2)).cursor
        journal.forget(FEED)
        execution = {"run": 1, "delivery": "delivery-1", "retries": 0, "fact": 2, "worker": WORKER, "lease": LONG}
        journal.rebase(FEED, owner=OWNER, last=last, document={"state": "running"}, **execution)
        answer = reading(journal)
        assert (answer.recovered, answer.events, answer.start.facts) == (False, (), last.facts)
        stored(journal.append(FEED, line("after"), run=1, fact=3))
        answer = reading(journal)
        assert ([event.facts for event in answer.events], answer.start.chain) == ([last.facts + 1], last.chain)

    def test_a_finished_feed_is_forgotten_after_its_time(self, server_backend):
        journal = server_backend.make(kept_for=0.05)
        claimed(journal)
        stored(journal.append(FEED, state("succeeded"), run=1, fact=2))
        wait_until(lambda: journal.snapshot(FEED) is None, what="the finished feed is forgotten")
        assert journal.read(FEED, None, limit=10) is None

    def test_a_live_feed_that_nobody_renews_is_forgotten_after_its_time(self, server_backend):
        journal = server_backend.make(live_kept_for=0.05)
        opened(journal)
        wait_until(lambda: journal.snapshot(FEED) is None, what="the live feed is forgotten")

    def test_renewing_prolongs_a_feed_that_would_have_gone(self, server_backend):
        claimed(server_backend.make(live_kept_for=2.0))
        began = time.monotonic()
        journal = server_backend.make(live_kept_for=LONG)
        journal.renew(WORKER, [FEED], lease=LONG)
        wait_until(lambda: time.monotonic() - began > 2.5, what="its first lifetime is over")
        assert document(journal)["state"] == "running"

    def test_renewing_prolongs_a_live_feed(self, redis_backend):
        claimed(redis_backend.make(live_kept_for=30.0))
        redis_backend.make(live_kept_for=LONG).renew(WORKER, [FEED], lease=LONG)
        with redis_backend.server.client() as client:
            keys = client.keys(f"{redis_backend.make()._names._prefix}:*{FEED}:*")
            assert len(keys) == 3
            assert all(client.pttl(key) > 60_000 for key in keys)


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


class TestRead:
    def written(self, journal: Journal, facts: int = 6) -> list[Cursor]:
        cursors = [opened(journal)]
        cursors += [stored(journal.append(FEED, line(str(number)))).cursor for number in range(facts - 1)]
        return cursors

    def test_an_unknown_feed_has_no_reading(self, journal):
        assert journal.read(FEED, None, limit=10) is None
        assert journal.read(FEED, Cursor("00000000", 1, 1, ZERO_CHAIN), limit=10) is None

    def test_without_a_cursor_it_starts_before_the_first_fact(self, journal):
        cursors = self.written(journal)
        answer = reading(journal)
        assert answer.recovered
        assert [event.facts for event in answer.events] == [1, 2, 3, 4, 5, 6]
        assert answer.cursor == cursors[-1]
        assert answer.feed == FEED
        assert not answer.more

    def test_every_cursor_is_followed_by_exactly_the_facts_after_it(self, journal):
        cursors = self.written(journal)
        for at, cursor in enumerate(cursors):
            answer = reading(journal, cursor)
            assert answer.recovered
            assert [event.facts for event in answer.events] == list(range(at + 2, 7))
            assert answer.document == document(journal)

    def test_a_cursor_at_a_counter_is_recovered(self, journal):
        self.written(journal, 2)
        cursor = stored(journal.append(FEED, counter(3))).cursor
        journal.append(FEED, line())
        answer = reading(journal, cursor)
        assert answer.recovered
        assert [event.facts for event in answer.events] == [3]

    def test_past_the_limit_there_is_more_and_paging_gives_each_fact_once(self, journal):
        self.written(journal, 10)
        journal.append(FEED, counter(3))
        seen, cursor, pages = [], None, 0
        while True:
            answer = reading(journal, cursor, limit=3)
            assert answer.recovered
            assert len(answer.events) <= 3
            assert answer.document == document(journal)
            seen += [event.facts for event in answer.events]
            cursor, pages = answer.cursor, pages + 1
            if not answer.more:
                break
            assert answer.cursor == answer.events[-1].cursor
        assert seen == list(range(1, 11))
        assert pages == 4
        assert cursor == journal.snapshot(FEED).cursor

    def test_a_limit_of_exactly_the_facts_has_no_more(self, journal):
        self.written(journal, 4)
        assert not reading(journal, limit=4).more
        assert reading(journal, limit=3).more

    def test_nothing_new_is_recovered_and_empty(self, journal):
        cursors = self.written(journal)
        answer = reading(journal, cursors[-1])
        assert (answer.recovered, answer.events, answer.more) == (True, (), False)

    def not_recovered(self, journal: Journal, cursor: Cursor) -> None:
        answer = reading(journal, cursor)
        assert not answer.recovered
        assert answer.events == ()
        assert not answer.more
        assert answer.cursor == journal.snapshot(FEED).cursor
        assert answer.document == document(journal)

    def test_another_epoch_is_not_recovered(self, journal):
        cursors = self.written(journal)
        for cursor in cursors:
            self.not_recovered(journal, Cursor("ffffffff", cursor.seq, cursor.facts, cursor.chain))

    def test_ahead_of_the_journal_is_not_recovered(self, journal):
        last = self.written(journal)[-1]
        self.not_recovered(journal, Cursor(last.epoch, last.seq + 1, last.facts, last.chain))
        self.not_recovered(journal, Cursor(last.epoch, last.seq + 1, last.facts + 1, last.chain))
        self.not_recovered(journal, Cursor(last.epoch, last.seq, last.facts + 1, last.chain))

    def test_another_chain_is_not_recovered(self, journal):
        for cursor in self.written(journal):
            self.not_recovered(journal, Cursor(cursor.epoch, cursor.seq, cursor.facts, "f" * 16))

    def test_a_trimmed_place_is_not_recovered(self, backend):
        journal = backend.make(facts_kept=3)
        cursors = self.written(journal, 8)
        for cursor in cursors[:4]:
            self.not_recovered(journal, cursor)
        for cursor in cursors[4:]:
            assert reading(journal, cursor).recovered

    @pytest.mark.parametrize("seq", [0, 1, MAX_NUMBER])
    @pytest.mark.parametrize("facts", [0, 1, 5, 6, 7, 2**31, 2**32, 2**52, MAX_NUMBER])
    @pytest.mark.parametrize("chain", [ZERO_CHAIN, "a" * 16])
    def test_a_forged_cursor_is_never_recovered(self, journal, seq, facts, chain):
        epoch = self.written(journal)[0].epoch
        if (facts, chain) == (0, ZERO_CHAIN) and seq <= 6:
            assert reading(journal, Cursor(epoch, seq, facts, chain)).recovered
        else:
            self.not_recovered(journal, Cursor(epoch, seq, facts, chain))

    def test_reading_changes_nothing(self, journal):
        self.written(journal)
        assert reading(journal) == reading(journal)

    def test_the_wire_form_of_a_reading_is_json_that_reads_back(self, journal):
        self.written(journal)
        answer = reading(journal)
        assert Reading.from_wire(json.loads(json.dumps(answer.to_wire()))) == answer


class TestHeadsAndLists:
    def test_heads_of_many_feeds_come_at_once_and_unknown_ones_are_left_out(self, journal):
        feeds = [task_feed(f"t{number}") for number in range(100)]
        cursors = {feed: opened(journal, feed, owner=f"owner-{feed}") for feed in feeds}
        heads = journal.heads([*feeds, task_feed("unknown")])
        assert {feed: head.cursor for feed, head in heads.items()} == cursors
        assert all(head.owner == f"owner-{feed}" for feed, head in heads.items())
        assert all((head.state, head.run, head.lease_left) == ("queued", 0, None) for head in heads.values())

    def test_heads_of_nothing_are_nothing(self, journal):
        assert journal.heads([]) == {}

    def test_feeds_that_stand_elsewhere_than_is_known_come_at_once_and_no_others(self, journal):
        feeds = [task_feed(f"t{number}") for number in range(100)]
        known: dict[str, Any] = {feed: opened(journal, feed) for feed in feeds}
        unknown = dict.fromkeys((task_feed("unknown"), task_feed("forgotten")), Gone.UNKNOWN)
        assert (
            journal.changed_heads({**known, task_feed("unknown"): None, task_feed("forgotten"): known[feeds[0]]})
            == unknown
        )
        for feed in feeds[:3]:
            assert journal.append(feed, line()) == Stored(journal.heads([feed])[feed].cursor)
        journal.remove(feeds[3])
        asked = {**known, feeds[4]: None}
        for number, changes in ((5, {"epoch": "other"}), (6, {"seq": 7}), (7, {"facts": 0}), (8, {"chain": "f" * 16})):
            asked[feeds[number]] = replace(known[feeds[number]], **changes)
        moved = journal.changed_heads(asked)
        assert moved == {
            **{feed: journal.heads([feed])[feed].cursor for feed in feeds[:3]},
            feeds[3]: Gone.REMOVED,
            **{feed: known[feed] for feed in feeds[4:9]},
        }
        assert all(moved[feed] != known[feed] for feed in feeds[:3])

    def test_of_no_feeds_none_has_moved(self, journal):
        assert journal.changed_heads({}) == {}

    def test_a_snapshot_of_an_unknown_feed_is_none(self, journal):
        assert journal.snapshot(FEED) is None

    def test_an_owners_feeds_are_listed_newest_first(self, journal):
        feeds = [task_feed(f"t{number}") for number in range(5)]
        for feed in feeds:
            opened(journal, feed)
        opened(journal, task_feed("foreign"), owner="bob")
        found, more = journal.list(OWNER, limit=10)
        assert [snapshot.feed for snapshot in found] == feeds[::-1]
        assert found[0] == journal.snapshot(feeds[-1])
        assert more is None

    def test_a_list_goes_on_before_its_mark(self, journal):
        feeds = [task_feed(f"t{number}") for number in range(7)]
        for feed in feeds:
            opened(journal, feed)
        seen, before, pages = [], None, 0
        while True:
            found, before = journal.list(OWNER, limit=3, before=before)
            seen += [snapshot.feed for snapshot in found]
            pages += 1
            if before is None:
                break
        assert seen == feeds[::-1]
        assert pages == 3

    def test_opening_again_does_not_move_a_feed_in_the_list(self, journal):
        for name in ("old", "new"):
            opened(journal, task_feed(name))
        opened(journal, task_feed("old"))
        found, _ = journal.list(OWNER, limit=10)
        assert [snapshot.feed for snapshot in found] == [task_feed("new"), task_feed("old")]

    @pytest.mark.parametrize("epoch", [None, "0123abcd"])
    def test_opening_a_feed_of_somebody_else_does_not_list_it(self, journal, epoch):
        opened(journal)
        opened(journal, owner="mallory", epoch=epoch)
        assert journal.list("mallory", limit=10) == ([], None)

    def test_a_forgotten_feed_is_left_out_and_taken_out_of_the_index(self, backend, journal):
        feeds = [task_feed(f"t{number}") for number in range(3)]
        for feed in feeds:
            opened(journal, feed)
        journal.forget(feeds[1])
        assert [snapshot.feed for snapshot in journal.list(OWNER, limit=10)[0]] == [feeds[2], feeds[0]]
        if isinstance(backend, RedisBackend):
            with backend.server.client() as client:
                [index] = client.keys(f"{journal._names._prefix}:*:owner:{OWNER}")
                assert client.zrange(index, 0, -1) == [feeds[0].encode(), feeds[2].encode()]

    def test_a_feed_whose_first_open_was_not_answered_is_listed_after_the_second(self, redis_backend):
        journal = redis_backend.make()
        opened(journal, epoch="0123abcd")
        with redis_backend.server.client() as client:
            client.delete(journal._names.owner(OWNER))
        opened(journal, epoch="0123abcd")
        assert [snapshot.feed for snapshot in journal.list(OWNER, limit=10)[0]] == [FEED]

    def test_nobodys_list_is_empty(self, journal):
        assert journal.list("nobody", limit=10) == ([], None)

    def test_hostile_owners_are_kept_apart(self, journal):
        for number, owner in enumerate(HOSTILE):
            opened(journal, task_feed(f"t{number}"), owner=owner)
        for number, owner in enumerate(HOSTILE):
            found, _ = journal.list(owner, limit=10)
            assert [(snapshot.feed, snapshot.owner) for snapshot in found] == [(task_feed(f"t{number}"), owner)]

    def test_a_forgotten_feed_is_gone_as_a_whole(self, backend, journal):
        claimed(journal)
        journal.forget(FEED)
        assert journal.snapshot(FEED) is None
        assert journal.read(FEED, None, limit=10) is None
        assert journal.heads([FEED]) == {}
        assert journal.check(FEED, 1) == Held(False, False)
        assert journal.append(FEED, line(), run=1, fact=2) == Missing()
        assert journal.expired(limit=10) == []

    def test_a_forgotten_feed_is_not_expired_any_more(self, backend, journal):
        claimed(journal, lease=SHORT)
        backend.end_lease(journal, FEED)
        assert journal.expired(limit=10) == [Expired(FEED, 1)]
        journal.forget(FEED)
        assert journal.expired(limit=10) == []

    def test_an_opened_feed_has_nothing_of_what_was_there_before(self, redis_backend):
        journal = redis_backend.make()
        claimed(journal)
        with redis_backend.server.client() as client:
            client.delete(journal._names.feed(FEED)[0])
        cursor = opened(journal)
        assert document(journal) == {"state": "queued", "title": "Export"}
        assert [event.cursor for event in reading(journal).events] == [cursor]

    def test_forgetting_an_unknown_feed_does_nothing(self, journal):
        journal.forget(FEED)
        assert journal.snapshot(FEED) is None

    def test_two_prefixes_share_nothing(self, server_backend):
        journal, other = server_backend.make(), server_backend.make(key_prefix="other-prefix")
        opened(journal)
        assert other.snapshot(FEED) is None
        assert other.list(OWNER, limit=10) == ([], None)

    def test_the_journal_answers_a_ping(self, journal):
        journal.ping()


class TestUnavailable:
    @pytest.fixture
    def full_redis(self, variant, redis_binaries, tmp_path):
        server = RedisServer(redis_binaries(variant), tmp_path / "redis")
        server.start()
        yield server
        server.kill()

    @pytest.mark.parametrize(
        ("kind", "url"),
        [(RedisJournal, "redis://:secret@127.0.0.1:1/0"), (SqlJournal, "postgresql://ann:secret@127.0.0.1:1/0")],
    )
    def test_every_verb_says_that_the_server_is_away(self, make_settings, kind, url):
        journal = kind(make_settings(url, journal_timeout=0.5))
        cursor = Cursor("00000000", 1, 1, ZERO_CHAIN)
        calls: list[Callable[[], object]] = [
            lambda: opened(journal),
            lambda: journal.confirm(FEED),
            lambda: journal.append(FEED, line()),
            lambda: journal.read(FEED, None, limit=1),
            lambda: claim(journal),
            lambda: journal.renew(WORKER, [FEED], lease=1),
            lambda: journal.check(FEED, 1),
            lambda: journal.expired(limit=1),
            lambda: journal.conclude(FEED, 1, state("lost")),
            lambda: journal.message(FEED),
            lambda: journal.rebase(
                FEED,
                owner=OWNER,
                run=1,
                delivery="delivery-1",
                retries=0,
                last=cursor,
                fact=1,
                document={},
                worker=WORKER,
                lease=1,
            ),
            lambda: journal.pending(limit=1),
            lambda: journal.settle(FEED),
            lambda: journal.notify(OWNER, key=FEED, notice={}),
            lambda: journal.acknowledge(OWNER, [FEED]),
            lambda: journal.cancel(FEED, cancelling=state("cancelling"), cancelled=state("cancelled")),
            lambda: journal.heads([FEED]),
            lambda: journal.snapshot(FEED),
            lambda: journal.list(OWNER, limit=1),
            lambda: journal.forget(FEED),
            lambda: journal.remove(FEED),
            lambda: journal.note("a", "b", instead_of="", lasts=1),
            lambda: journal.notes(["a"]),
            lambda: journal.note("name", "text", instead_of="", lasts=1),
            lambda: journal.notes(["name"]),
            journal.ping,
        ]
        for call in calls:
            with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1/0 doesn't answer") as caught:
                call()
            assert "secret" not in str(caught.value)

    def test_a_call_to_a_paused_server_fails_within_its_timeout(self, own_redis, make_settings):
        journal = RedisJournal(make_settings(own_redis.url, journal_timeout=0.2))
        opened(journal)
        own_redis.pause()
        began = time.monotonic()
        with pytest.raises(Unavailable):
            journal.append(FEED, line())
        assert time.monotonic() - began < 1.0
        own_redis.resume()
        wait_until(lambda: document(journal), what="the journal answers again")

    def test_a_restarted_server_has_what_it_was_told(self, own_redis, make_settings):
        journal = RedisJournal(make_settings(own_redis.url))
        answer = claimed(journal)
        own_redis.restart()

        def back() -> bool:
            try:
                return journal.snapshot(FEED) is not None
            except Unavailable:
                return False

        wait_until(back, what="the journal answers again")
        assert journal.snapshot(FEED).cursor == answer.cursor
        stored(journal.append(FEED, line(), run=1, fact=2))

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_a_server_that_is_out_of_memory_is_unavailable_and_changes_nothing(
        self, variant, full_redis, make_settings
    ):
        journal = RedisJournal(make_settings(full_redis.url))
        claimed(journal)
        before = journal.snapshot(FEED)
        with full_redis.client() as client:
            client.config_set("maxmemory", 1)
            for call in (
                lambda: journal.append(FEED, line(), run=1, fact=2),
                lambda: journal.append(FEED, counter(1), run=1, fact=1, counter=1),
                lambda: journal.append(FEED, state("succeeded"), run=1, fact=2),
                lambda: opened(journal, task_feed("another")),
            ):
                with pytest.raises(Unavailable, match="is temporarily unavailable"):
                    call()
            client.config_set("maxmemory", 0)
        assert journal.snapshot(FEED) == before
        assert journal.heads([FEED])[FEED].lease_left == pytest.approx(LONG, abs=10)
        assert journal.check(FEED, 1).valid
        stored(journal.append(FEED, line(), run=1, fact=2))

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_a_server_that_has_become_a_replica_is_unavailable(self, variant, full_redis, make_settings):
        journal = RedisJournal(make_settings(full_redis.url))
        before = opened(journal)
        with full_redis.client() as client:
            client.replicaof("127.0.0.1", 1)
            with pytest.raises(Unavailable, match="is temporarily unavailable"):
                journal.append(FEED, line())
            client.replicaof("NO", "ONE")
        assert journal.snapshot(FEED).cursor == before
        stored(journal.append(FEED, line()))

    def test_a_command_that_the_server_refuses_counts_as_an_outage_of_its_own_kind(self, redis_servers, make_settings):
        server = redis_servers(VARIANTS[0])
        journal = RedisJournal(make_settings(server.url))
        opened(journal)
        with server.client() as client:
            client.set(journal._names.feed(FEED)[2], "not a list", keepttl=False)
        with pytest.raises(Refusal, match=r"is temporarily unavailable.*WRONGTYPE") as caught:
            journal.append(FEED, line())
        assert isinstance(caught.value, Unavailable)

    @pytest.mark.parametrize(
        "spoiled", [b"", b"short", b"0" * 16 + b'{"v":1,"id":7}', b"\xff" * 14, b"\x00" * 13 + b"\xd9"]
    )
    def test_a_fact_that_somebody_else_has_spoiled_is_not_passed_off_as_one(
        self, redis_servers, make_settings, spoiled
    ):
        server = redis_servers(VARIANTS[0])
        journal = RedisJournal(make_settings(server.url))
        before = opened(journal)
        for number in range(3):
            stored(journal.append(FEED, line(str(number))))
        with server.client() as client:
            client.lset(journal._names.feed(FEED)[2], 2, spoiled)
        found = reading(journal, before)
        assert not found.recovered
        assert found.events == ()
        assert found.cursor.facts == 4
        assert found.document["state"] == "queued"

    def test_a_key_that_somebody_else_has_spoiled_hides_its_own_feed_only(self, redis_servers, make_settings):
        server = redis_servers(VARIANTS[0])
        journal = RedisJournal(make_settings(server.url))
        feeds = [task_feed(f"t{number}") for number in range(200)]
        cursors = {feed: opened(journal, feed) for feed in feeds}
        spoiled, whole = feeds[7], {feed for feed in feeds if feed != feeds[7]}
        with server.client() as client:
            client.set(journal._names.feed(spoiled)[0], "not a hash")
        assert journal.heads(feeds).keys() == whole
        assert journal.changed_heads(dict.fromkeys(feeds)) == {feed: cursors[feed] for feed in whole} | {
            spoiled: Gone.UNKNOWN
        }
        assert journal.changed_heads(cursors) == {spoiled: Gone.UNKNOWN}

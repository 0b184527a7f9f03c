"""Texts: what a run writes bit by bit, held against every backend."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from petiole.bus import open_bus
from petiole.errors import InvalidEvent
from petiole.journal import Journal
from petiole.journal.answers import Busy, Closed, Conflict, Duplicate, Fenced, Missing, Stored, TextGap
from petiole.protocol.events import ZERO_CHAIN, Cursor, Draft, Event, EventHeader
from petiole.protocol.reader import Action, Clear, Read, Reader, Reading, Reset
from petiole.protocol.texts import MAX_CHUNK_BYTES, MAX_READ_BYTES, MAX_TEXTS, NO_TEXTS, Chunk, Texts, size_of
from tests.contract.backends import (
    FEED,
    HOSTILE,
    LONG,
    OWNER,
    SHORT,
    WORKER,
    Backend,
    ManyServersBackend,
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
from tests.contract.test_bus import Listener
from tests.support.waiting import wait_until


def chunk(text: str, at: int = 0, name: str = "output") -> Draft:
    return Draft.of_text(Chunk(name, at, text))


def lengths(run: int = 1, **sizes: int) -> Texts:
    return Texts.of(run, sizes)


def write(journal: Journal, *parts: str, at: int = 0, name: str = "output", run: int = 1) -> Stored:
    """Append these parts to a text, from `at` on."""
    answer = None
    for part in parts:
        answer = stored(journal.append(FEED, chunk(part, at, name), run=run))
        at += size_of(part)
    assert answer is not None
    return answer


def texts(journal: Journal) -> Texts:
    snapshot = journal.snapshot(FEED)
    assert snapshot is not None
    return snapshot.cursor.texts


def catch_up(journal: Journal, reader: Reader, actions: Sequence[Action], *, limit: int = 10_000) -> list[Action]:
    """Answer a reader's reads until it asks for no more; return what it did meanwhile."""
    done = list(actions)
    for _ in range(100):
        if not actions or not isinstance(actions[-1], Read):
            return done
        actions = reader.answer(reading(journal, actions[-1].cursor, limit=limit))
        done.extend(actions)
    raise AssertionError("The reader reads for ever.")


def read_whole(journal: Journal, *, limit: int = 10_000) -> Reader:
    """Return a reader that has read all there is."""
    reader = Reader(FEED)
    catch_up(journal, reader, reader.start(), limit=limit)
    return reader


def superseded(journal: Journal, **more: object) -> None:
    """Let a second run take over from the first."""
    assert claim(journal, delivery="delivery-2", retries=1, **more).run == 2


class Rung:
    """What rang of the feed."""

    def __init__(self, journal: Journal, heard: Callable[[], list[str]]) -> None:
        self.journal = journal
        self._heard = heard

    def texts(self, count: int) -> list[str]:
        wait_until(lambda: len(self._heard()) >= count, what=f"{count} rings")
        return self._heard()


@pytest.fixture
def rung(backend: Backend) -> Iterator[Rung]:
    """A journal, and what it rings: by its own bus, or in this process."""
    journal = backend.make()
    if not isinstance(backend, ManyServersBackend):
        heard: list[str] = []
        journal._ring = lambda _feed, text: heard.append(text)  # type: ignore[attr-defined]
        yield Rung(journal, lambda: heard)
        return
    bus = open_bus(journal._settings)  # type: ignore[attr-defined]
    listener = Listener(bus)
    listener.start()
    assert bus.follow(FEED, timeout=10.0)
    yield Rung(journal, lambda: [_decoded(text) for feed, text in list(listener.heard) if feed == FEED])
    listener.close()


def _decoded(text: str | bytes) -> str:
    return text if isinstance(text, str) else text.decode()


class TestAppending:
    def test_chunks_are_appended_in_order(self, journal):
        claimed(journal)
        write(journal, "Once ", "upon ", "a time")
        assert journal.text(FEED, "output") == "Once upon a time"
        assert texts(journal) == lengths(output=16)

    def test_a_chunk_moves_the_feed_on_and_is_no_fact(self, journal):
        before = claimed(journal).cursor
        after = write(journal, "some text").cursor
        assert after == Cursor(before.epoch, before.seq + 1, before.facts, before.chain)
        assert [event.kind for event in reading(journal).events] == ["state", "state"]
        stored(journal.append(FEED, line(), run=1, fact=2))

    def test_a_chunk_leaves_the_document_as_it_is(self, journal):
        claimed(journal)
        stored(journal.append(FEED, counter(7), run=1, fact=1, counter=1))
        before = document(journal)
        write(journal, "some text")
        assert document(journal) == before

    def test_counters_and_chunks_are_numbered_apart(self, journal):
        claimed(journal)
        stored(journal.append(FEED, counter(1), run=1, fact=1, counter=1))
        write(journal, "a")
        stored(journal.append(FEED, counter(2), run=1, fact=1, counter=2))
        assert journal.append(FEED, counter(3), run=1, fact=1, counter=2) == Duplicate(
            journal.heads([FEED])[FEED].cursor
        )

    def test_positions_are_lengths_in_bytes(self, journal):
        claimed(journal)
        write(journal, "é", "日", "🎉")
        assert texts(journal) == lengths(output=2 + 3 + 4)
        assert journal.append(FEED, chunk("x" * 7, 3), run=1) == TextGap(lengths(output=9))

    def test_the_same_chunk_again_is_a_duplicate_and_changes_nothing(self, journal):
        claimed(journal)
        write(journal, "one ")
        draft = chunk("two", 4)
        last = stored(journal.append(FEED, draft, run=1)).cursor
        for again in (draft, chunk("two", 4), chunk("one "), chunk("wo", 5), chunk("", 7), chunk("", 0)):
            assert journal.append(FEED, again, run=1) == Duplicate(last)
        assert journal.snapshot(FEED).cursor.place == last
        assert journal.text(FEED, "output") == "one two"

    @pytest.mark.parametrize(("at", "text"), [(4, "two more"), (0, "one two more"), (8, "more"), (1000, "more")])
    def test_a_chunk_that_begins_elsewhere_than_at_the_end_is_a_gap_that_says_how_far_the_texts_go(
        self, journal, at, text
    ):
        claimed(journal)
        write(journal, "one ", "two")
        write(journal, "log", name="errors")
        before = journal.snapshot(FEED)
        assert journal.append(FEED, chunk(text, at), run=1) == TextGap(lengths(output=7, errors=3))
        assert journal.snapshot(FEED) == before
        assert journal.text(FEED, "output") == "one two"

    def test_a_first_chunk_that_isnt_at_the_start_is_a_gap(self, journal):
        claimed(journal)
        assert journal.append(FEED, chunk("late", 5), run=1) == TextGap(Texts(1))
        assert texts(journal) == NO_TEXTS
        assert journal.text(FEED, "output") is None

    def test_what_was_merged_after_a_lost_reply_is_written_on_from_where_the_journal_is(self, journal):
        claimed(journal)
        write(journal, "one ")
        answer = journal.append(FEED, chunk("one two "), run=1)
        assert answer == TextGap(lengths(output=4))
        write(journal, "two ", "three", at=4)
        assert journal.text(FEED, "output") == "one two three"

    @pytest.mark.parametrize("count", [2, MAX_TEXTS])
    def test_texts_grow_beside_each_other(self, journal, count):
        claimed(journal)
        names = [f"text-{number}_{'x' * number}" for number in range(count)]
        for part in range(3):
            for number, name in enumerate(names):
                write(journal, f"{number}", at=part, name=name)
        assert texts(journal) == Texts.of(1, dict.fromkeys(names, 3))
        assert [journal.text(FEED, name) for name in names] == [str(number) * 3 for number in range(count)]
        assert read_whole(journal).texts == {name: str(number) * 3 for number, name in enumerate(names)}

    def test_a_chunk_of_32_kib_is_taken_and_a_larger_one_refused(self, journal):
        claimed(journal)
        write(journal, "é" * (MAX_CHUNK_BYTES // 2))
        assert texts(journal) == lengths(output=MAX_CHUNK_BYTES)
        with pytest.raises(InvalidEvent, match="32,768"):
            chunk("é" * (MAX_CHUNK_BYTES // 2) + "x")

    def test_eight_threads_that_send_the_same_chunk_store_it_once(self, journal):
        claimed(journal)
        write(journal, "one ")
        start = threading.Barrier(8)
        answers = []

        def send() -> None:
            start.wait()
            answers.append(journal.append(FEED, chunk("two", 4), run=1))

        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(type(answer).__name__ for answer in answers) == ["Duplicate"] * 7 + ["Stored"]
        assert journal.text(FEED, "output") == "one two"

    def test_a_chunk_prolongs_its_runs_lease(self, backend):
        journal = backend.make(lease=LONG)
        claimed(journal, lease=1.0)
        write(journal, "still here")
        left = journal.heads([FEED])[FEED].lease_left
        assert left is not None
        assert left > 60.0

    def test_the_replies_say_that_somebody_asked_the_task_to_stop(self, journal):
        claimed(journal)
        assert not write(journal, "one").cancel
        stored(journal.cancel(FEED, cancelling=state("cancelling"), cancelled=state("cancelled")))
        assert write(journal, "two", at=3).cancel
        assert journal.append(FEED, chunk("two", 3), run=1).cancel


class TestFactsAfterTexts:
    def test_a_fact_that_comes_after_more_than_the_journal_has_waits_for_it(self, journal):
        claimed(journal)
        write(journal, "one ")
        draft, written = line(), lengths(output=7)
        before = journal.snapshot(FEED)
        for _ in range(2):
            assert journal.append(FEED, draft, run=1, fact=2, texts=written) == TextGap(lengths(output=4))
        assert journal.snapshot(FEED) == before
        write(journal, "two", at=4)
        stored(journal.append(FEED, draft, run=1, fact=2, texts=written))
        assert journal.append(FEED, draft, run=1, fact=2, texts=written) == Duplicate(
            journal.heads([FEED])[FEED].cursor
        )

    def test_so_does_the_fact_that_ends_the_task(self, journal):
        claimed(journal)
        end = state("succeeded")
        assert journal.append(FEED, end, run=1, fact=2, texts=lengths(output=3)) == TextGap(Texts(1))
        write(journal, "one")
        stored(journal.append(FEED, end, run=1, fact=2, texts=lengths(output=3)))
        assert document(journal)["state"] == "succeeded"

    def test_so_does_a_counter(self, journal):
        claimed(journal)
        behind = journal.append(FEED, counter(1), run=1, fact=1, counter=1, texts=lengths(output=3))
        assert behind == TextGap(Texts(1))
        write(journal, "one")
        stored(journal.append(FEED, counter(1), run=1, fact=1, counter=1, texts=lengths(output=3)))

    def test_each_text_counts(self, journal):
        claimed(journal)
        write(journal, "one")
        written = lengths(output=3, errors=2)
        assert journal.append(FEED, line(), run=1, fact=2, texts=written) == TextGap(lengths(output=3))
        write(journal, "no", name="errors")
        stored(journal.append(FEED, line(), run=1, fact=2, texts=written))

    def test_a_journal_may_have_more_than_the_fact_says(self, journal):
        claimed(journal)
        write(journal, "one two")
        stored(journal.append(FEED, line(), run=1, fact=2, texts=lengths(output=3)))

    def test_a_skipped_fact_comes_before_the_text(self, journal):
        claimed(journal)
        assert journal.append(FEED, line(), run=1, fact=3, texts=lengths(output=3)) == Conflict(1)

    def test_every_later_event_says_how_long_the_texts_are(self, journal):
        claimed(journal)
        stored(journal.append(FEED, line(), run=1, fact=2))
        write(journal, "one")
        stored(journal.append(FEED, line(), run=1, fact=3))
        write(journal, "é", name="errors")
        stored(journal.append(FEED, line()))
        stored(journal.cancel(FEED, cancelling=state("cancelling"), cancelled=state("cancelled")))
        said = [event.texts for event in reading(journal).events]
        assert said == [NO_TEXTS] * 3 + [lengths(output=3)] + [lengths(output=3, errors=2)] * 2

    def test_the_events_of_a_feed_without_texts_are_as_they_were(self, journal):
        claimed(journal)
        stored(journal.append(FEED, line(), run=1, fact=2))
        answer = reading(journal)
        assert not any('"texts"' in event.to_text() for event in answer.events)
        assert '"texts"' not in answer.to_text()
        assert str(answer.cursor) == str(journal.snapshot(FEED).cursor) == str(answer.cursor.place)


class TestFencing:
    def test_an_earlier_run_is_fenced(self, journal):
        claimed(journal)
        write(journal, "one")
        superseded(journal)
        before = journal.snapshot(FEED)
        for late in (chunk("one"), chunk("two", 3), chunk("two", 100)):
            assert journal.append(FEED, late, run=1) == Fenced(2)
        assert journal.snapshot(FEED) == before

    def test_another_execution_of_the_same_number_is_fenced(self, journal):
        claimed(journal)
        assert journal.append(FEED, chunk("one"), run=1, delivery="another") == Fenced(1)
        stored(journal.append(FEED, chunk("one"), run=1, delivery="delivery-1"))

    def test_a_run_that_the_journal_never_gave_is_missing(self, journal):
        opened(journal)
        assert journal.append(FEED, chunk("one"), run=1) == Missing()

    def test_an_unknown_feed_is_missing(self, journal):
        assert journal.append(FEED, chunk("one"), run=1) == Missing()
        assert journal.text(FEED, "output") is None

    def test_only_a_run_writes_texts(self, journal):
        claimed(journal)
        write(journal, "one")
        before = journal.snapshot(FEED)
        assert journal.append(FEED, chunk("two", 3)) == Fenced(1)
        assert journal.snapshot(FEED) == before

    @pytest.mark.parametrize("last", ["succeeded", "failed", "cancelled", "lost"])
    def test_a_task_that_has_ended_takes_no_more_text_and_keeps_what_it_has(self, journal, last):
        claimed(journal)
        write(journal, "partial")
        cursor = stored(journal.append(FEED, state(last), run=1, fact=2)).cursor
        assert journal.append(FEED, chunk("more", 7), run=1) == Closed(last)
        assert journal.append(FEED, chunk("partial"), run=1) == Duplicate(cursor)
        assert journal.text(FEED, "output") == "partial"
        assert read_whole(journal).texts == {"output": "partial"}

    def test_a_verdict_leaves_the_text(self, backend, journal):
        claimed(journal, lease=SHORT)
        write(journal, "par", "tial")
        journal.renew(WORKER, [FEED], lease=SHORT)  # the chunks have prolonged it
        backend.end_lease(journal, FEED)
        stored(journal.conclude(FEED, 1, state("stalled"), lease=SHORT))
        assert journal.text(FEED, "output") == "partial"
        backend.end_lease(journal, FEED)
        stored(journal.conclude(FEED, 1, state("lost")))
        assert journal.text(FEED, "output") == "partial"
        assert reading(journal).events[-1].texts == lengths(output=7)

    def test_text_of_a_stalled_run_says_that_it_was_stalled(self, backend, journal):
        claimed(journal, lease=SHORT)
        backend.end_lease(journal, FEED)
        stored(journal.conclude(FEED, 1, state("stalled"), lease=LONG))
        assert write(journal, "back").stalled


class TestRuns:
    def test_the_fact_that_begins_a_run_voids_the_texts_of_the_run_before(self, journal):
        claimed(journal)
        write(journal, "of the first run")
        write(journal, "too", name="errors")
        superseded(journal)
        assert texts(journal) == Texts(2)
        assert (journal.text(FEED, "output"), journal.text(FEED, "errors")) == (None, None)
        assert reading(journal).events[-1].texts == Texts(2)
        assert reading(journal).chunks == ()
        write(journal, "of the second", run=2)
        assert journal.text(FEED, "output") == "of the second"
        assert texts(journal) == lengths(2, output=13)

    def test_so_does_the_run_after_a_retry(self, journal):
        claimed(journal)
        write(journal, "first")
        stored(journal.append(FEED, state("retrying"), run=1, fact=2, texts=lengths(output=5)))
        assert journal.text(FEED, "output") == "first"
        superseded(journal)
        assert journal.append(FEED, chunk("second", 5), run=2) == TextGap(Texts(2))
        write(journal, "second", run=2)
        assert read_whole(journal).texts == {"output": "second"}

    def test_a_run_that_begins_in_a_feed_without_texts_says_nothing_of_them(self, journal):
        claimed(journal)
        superseded(journal)
        assert (texts(journal), reading(journal).events[-1].texts) == (NO_TEXTS, NO_TEXTS)

    def test_a_run_that_was_cancelled_before_it_began_leaves_what_the_one_before_has_written(self, journal):
        claimed(journal)
        write(journal, "of the first run")
        stored(journal.cancel(FEED, cancelling=state("cancelling"), cancelled=state("cancelled")))
        superseded(journal)
        assert texts(journal) == lengths(output=16)
        stored(journal.append(FEED, state("cancelled"), run=2, fact=1))
        assert journal.text(FEED, "output") == "of the first run"
        assert reading(journal).events[-1].texts == lengths(output=16)

    def test_but_its_first_chunk_voids_it(self, journal):
        claimed(journal)
        write(journal, "of the first run")
        write(journal, "too", name="errors")
        stored(journal.cancel(FEED, cancelling=state("cancelling"), cancelled=state("cancelled")))
        superseded(journal)
        assert journal.append(FEED, chunk("more", 16), run=2) == TextGap(Texts(2))
        assert journal.append(FEED, line(), run=2, fact=1, texts=lengths(2, output=3)) == TextGap(Texts(2))
        write(journal, "bye", run=2)
        assert texts(journal) == lengths(2, output=3)
        assert (journal.text(FEED, "output"), journal.text(FEED, "errors")) == ("bye", None)
        assert read_whole(journal).texts == {"output": "bye"}

    def test_a_claim_that_is_answered_as_before_leaves_the_text(self, journal):
        claimed(journal)
        write(journal, "one")
        assert claim(journal).run == 1
        assert isinstance(claim(journal, delivery="delivery-2"), Busy)
        write(journal, "two", at=3)
        assert journal.text(FEED, "output") == "onetwo"

    def test_a_task_that_fails_because_its_runs_end_silently_keeps_the_last_text(self, backend, journal):
        opened(journal)
        for run in (1, 2, 3):
            assert claim(journal, delivery=f"delivery-{run}", lease=SHORT).run == run
            write(journal, f"of run {run}", run=run)
            journal.renew(WORKER, [FEED], lease=SHORT)
            backend.end_lease(journal, FEED)
        assert claim(journal, delivery="delivery-4", failed=state("failed")) == Closed("failed")
        assert journal.text(FEED, "output") == "of run 3"

    def test_a_task_that_was_cancelled_at_once_keeps_its_text(self, journal):
        claimed(journal)
        write(journal, "of the first run")
        stored(journal.append(FEED, state("retrying"), run=1, fact=2))
        stored(journal.cancel(FEED, cancelling=state("cancelling"), cancelled=state("cancelled")))
        assert document(journal)["state"] == "cancelled"
        assert journal.text(FEED, "output") == "of the first run"


def rebase(journal: Journal, last: Cursor, *, fact: int, name: str = "running") -> Cursor:
    execution = {"run": 1, "delivery": "delivery-1", "retries": 0, "worker": WORKER, "lease": LONG}
    answer = journal.rebase(FEED, owner=OWNER, last=last, fact=fact, document={"state": name}, **execution)
    assert isinstance(answer, Cursor), answer
    return answer


class TestSpoiled:
    @pytest.mark.parametrize("left", ["", "bef"])
    def test_a_text_that_somebody_has_cut_in_redis_is_not_read_for_ever(self, redis_backend, left):
        journal = redis_backend.make()
        claimed(journal)
        write(journal, "before")
        stored(journal.append(FEED, state("succeeded"), run=1, fact=2, texts=lengths(output=6)))
        key = journal._names.text(FEED, "output")
        journal._call(("SET", key, left)) if left else journal._call(("DEL", key))
        answer = journal.read(FEED, None, limit=10)
        assert (answer.more, "".join(chunk.text for chunk in answer.chunks)) == (False, left)
        assert answer.cursor.texts == lengths(output=6)


class TestReadersWithoutTexts:
    def test_their_reading_has_the_facts_and_the_lengths_and_no_chunk(self, journal):
        claimed(journal)
        write(journal, "x" * 1000)
        stored(journal.append(FEED, state("succeeded"), run=1, fact=2, texts=lengths(output=1000)))
        answer = journal.read(FEED, None, limit=10, texts=False)
        assert (answer.chunks, answer.more, answer.cursor.texts) == ((), False, lengths(output=1000))
        assert answer.events == reading(journal).events
        after = journal.read(FEED, answer.cursor.place, limit=10, texts=False)
        assert (after.chunks, after.more, after.recovered) == ((), False, True)

    def test_pages_of_facts_follow_one_another(self, journal):
        claimed(journal)
        write(journal, "text")
        first = journal.read(FEED, None, limit=1, texts=False)
        assert (first.more, first.chunks) == (True, ())
        second = journal.read(FEED, first.cursor, limit=1, texts=False)
        assert (second.more, second.chunks) == (False, ())


class TestAgain:
    def test_an_ended_feed_that_begins_again_has_no_texts(self, journal):
        opened(journal, publication="00000001")
        claim(journal, publication="00000001")
        write(journal, "before")
        stored(journal.append(FEED, state("succeeded"), run=1, fact=2))
        reader = read_whole(journal)
        assert reader.texts == {"output": "before"}
        opened(journal, publication="00000002")
        assert (texts(journal), journal.text(FEED, "output")) == (NO_TEXTS, None)
        done = catch_up(journal, reader, reader.start())
        assert [type(action) for action in done[1:3]] == [Reset, Clear]
        assert reader.texts == {}
        claim(journal, delivery="delivery-2", publication="00000002")
        write(journal, "after", run=2)
        catch_up(journal, reader, reader.start())
        assert reader.texts == {"output": "after"}

    def test_an_open_feed_that_is_opened_once_more_keeps_its_texts(self, journal):
        claimed(journal)
        write(journal, "one")
        opened(journal)
        assert journal.text(FEED, "output") == "one"

    @pytest.mark.parametrize("lost", [True, False])
    def test_a_rebased_feed_takes_the_whole_text_again(self, journal, lost):
        claimed(journal)
        write(journal, "one ", "two")
        last = stored(journal.append(FEED, line(), run=1, fact=2)).cursor
        reader = read_whole(journal)
        if lost:
            journal.forget(FEED)
            assert journal.append(FEED, chunk(" three", 7), run=1) == Missing()
        rebase(journal, last, fact=2)
        assert (texts(journal), journal.text(FEED, "output")) == (NO_TEXTS, None)
        assert journal.append(FEED, chunk(" three", 7), run=1, delivery="delivery-1") == TextGap(Texts(1))
        write(journal, "one two", " three")
        end = state("succeeded")
        stored(journal.append(FEED, end, run=1, fact=3, delivery="delivery-1", texts=lengths(output=13)))
        catch_up(journal, reader, reader.start())
        assert reader.texts == {"output": "one two three"}
        assert read_whole(journal).texts == {"output": "one two three"}

    def test_a_reader_of_a_feed_that_was_rebased_has_no_text_until_it_is_sent_again(self, journal):
        claimed(journal)
        last = write(journal, "one").cursor
        reader = read_whole(journal)
        rebase(journal, last, fact=1)
        catch_up(journal, reader, reader.start())
        assert reader.texts == {}
        write(journal, "one")
        catch_up(journal, reader, reader.start())
        assert reader.texts == {"output": "one"}

    @pytest.mark.parametrize("how", ["forget", "remove"])
    def test_what_is_forgotten_or_removed_has_no_text(self, journal, how):
        claimed(journal)
        write(journal, "one")
        getattr(journal, how)(FEED)
        assert journal.text(FEED, "output") is None
        assert journal.read(FEED, None, limit=10) is None
        expected = Missing() if how == "forget" else Closed("cancelled")
        assert journal.append(FEED, chunk("two", 3), run=1) in (expected, TextGap(Texts(1)))

    def test_a_name_that_is_opened_after_it_was_forgotten_has_no_text(self, journal):
        claimed(journal)
        write(journal, "one")
        journal.forget(FEED)
        claimed(journal)
        assert (texts(journal), journal.text(FEED, "output"), reading(journal).chunks) == (NO_TEXTS, None, ())
        write(journal, "new")
        assert journal.text(FEED, "output") == "new"

    def test_a_text_goes_with_its_feed(self, server_backend):
        journal = server_backend.make(kept_for=0.05)
        claimed(journal)
        write(journal, "one")
        stored(journal.append(FEED, state("succeeded"), run=1, fact=2))
        wait_until(lambda: journal.text(FEED, "output") is None, what="the text is forgotten")
        wait_until(lambda: journal.snapshot(FEED) is None, what="the feed is forgotten")
        claimed(server_backend.make())
        assert journal.text(FEED, "output") is None

    def test_a_text_stays_whole_when_facts_are_trimmed(self, backend):
        journal = backend.make(facts_kept=2, bytes_kept=2_000)
        claimed(journal)
        write(journal, *("x" * 1_000 for _ in range(10)))
        for number in range(2, 8):
            stored(journal.append(FEED, line("y" * 1_000), run=1, fact=number))
        assert journal.text(FEED, "output") == "x" * 10_000
        reader = read_whole(journal)
        assert not reader.complete
        assert reader.texts == {"output": "x" * 10_000}


def parts_of(journal: Journal, cursor: Cursor | None = None, *, limit: int = 10_000) -> list[Reading]:
    """Read from a cursor to the end, as a client does that asks again while there is more."""
    found = [reading(journal, cursor, limit=limit)]
    while found[-1].more:
        assert len(found) < 50, "There is always more."
        found.append(reading(journal, found[-1].cursor, limit=limit))
    return found


def joined(parts: Sequence[Reading], name: str = "output") -> str:
    return "".join(chunk.text for part in parts for chunk in part.chunks if chunk.name == name)


class TestReading:
    def test_a_reading_brings_what_the_reader_lacks(self, journal):
        claimed(journal)
        write(journal, "one ")
        first = reading(journal)
        assert first.chunks == (Chunk("output", 0, "one "),)
        assert first.cursor == journal.snapshot(FEED).cursor
        assert (first.recovered, first.more) == (True, False)
        write(journal, "two ", "three", at=4)
        second = reading(journal, first.cursor)
        assert second.chunks == (Chunk("output", 4, "two three"),)
        assert second.cursor.texts == lengths(output=13)
        assert reading(journal, second.cursor).chunks == ()
        assert reading(journal, second.cursor).cursor == second.cursor

    def test_a_place_without_lengths_is_of_a_reader_that_has_nothing(self, journal):
        claimed(journal)
        place = write(journal, "one ", "two").cursor
        assert place.texts == NO_TEXTS
        answer = reading(journal, place)
        assert (answer.recovered, answer.events, answer.more) == (True, (), False)
        assert answer.chunks == (Chunk("output", 0, "one two"),)

    def test_a_readings_text_brings_the_chunks(self, journal):
        claimed(journal)
        write(journal, "one", '</script>"')
        answer = reading(journal)
        assert json.loads(answer.to_text()) == answer.to_wire()
        assert Reading.from_wire(json.loads(answer.to_text())) == answer
        chunk = {"name": "output", "at": 0, "chunk": 'one</script>"'}
        assert answer.to_wire()["texts"] == {"after": str(answer.cursor.texts), "chunks": [chunk]}
        assert answer.to_wire()["cursor"] == str(answer.cursor.place)

    def test_a_reader_of_an_earlier_run_is_given_the_later_ones_text_from_the_start(self, journal):
        claimed(journal)
        write(journal, "a long text of the first run")
        held = reading(journal).cursor
        superseded(journal)
        answer = reading(journal, held)
        assert (answer.chunks, answer.cursor.texts, answer.more) == ((), Texts(2), False)
        write(journal, "short", run=2)
        answer = reading(journal, held)
        assert answer.recovered
        assert answer.chunks == (Chunk("output", 0, "short"),)

    def test_a_reader_that_cant_be_recovered_is_given_the_text_from_the_start(self, journal):
        claimed(journal)
        write(journal, "one ", "two")
        stored(journal.append(FEED, line(), run=1, fact=2))
        for stranger in (Cursor("ffffffff", 1, 1, ZERO_CHAIN), reading(journal).cursor):
            answer = reading(journal, Cursor(stranger.epoch, 99, 99, "f" * 16, lengths(output=3)))
            assert not answer.recovered
            assert answer.chunks == (Chunk("output", 0, "one two"),)
            assert answer.cursor == journal.snapshot(FEED).cursor

    def test_a_reader_without_a_cursor_is_given_the_text_though_facts_were_trimmed(self, backend):
        journal = backend.make(facts_kept=2)
        claimed(journal)
        write(journal, "one")
        for number in range(2, 6):
            stored(journal.append(FEED, line(), run=1, fact=number))
        answer = reading(journal)
        assert answer.start is not None
        assert answer.chunks == (Chunk("output", 0, "one"),)

    def test_facts_that_remain_and_texts_come_with_the_same_reading(self, journal):
        claimed(journal)
        for number in range(2, 6):
            write(journal, "ab", at=2 * number - 4)
            stored(journal.append(FEED, line(), run=1, fact=number))
        reader = read_whole(journal, limit=1)
        assert (reader.shown, reader.complete, reader.texts) == (6, True, {"output": "abababab"})
        assert reader.cursor == journal.snapshot(FEED).cursor

    @pytest.mark.parametrize("character", ["x", "é", "日", "🎉"])
    @pytest.mark.parametrize("shift", [0, 1, 2, 3])
    def test_a_long_text_comes_in_parts_of_whole_characters(self, journal, character, shift):
        claimed(journal)
        width = size_of(character)
        full = character * (MAX_CHUNK_BYTES // width)
        parts = ["." * shift, *[full] * 17]
        write(journal, *parts[not shift :])
        text = "".join(parts)
        assert journal.text(FEED, "output") == text
        parts = parts_of(journal)
        sizes = [sum(size_of(chunk.text) for chunk in part.chunks) for part in parts]
        assert len(parts) == 3
        assert all(MAX_READ_BYTES - 8 < size <= MAX_READ_BYTES for size in sizes[:-1])
        assert joined(parts) == text
        assert [part.more for part in parts] == [True, True, False]
        assert read_whole(journal).text("output") == text

    def test_several_texts_share_a_reading(self, journal):
        claimed(journal)
        names = [f"t{number}" for number in range(MAX_TEXTS)]
        written = {name: str(number) * MAX_CHUNK_BYTES for number, name in enumerate(names)}
        for name in names:
            write(journal, written[name], "🎉" * (MAX_CHUNK_BYTES // 4), at=0, name=name)
        whole = {name: text + "🎉" * (MAX_CHUNK_BYTES // 4) for name, text in written.items()}
        parts = parts_of(journal)
        assert len(parts) == 2
        assert {name: joined(parts, name) for name in names} == whole
        assert parts[0].cursor.texts == Texts.of(1, dict.fromkeys(names[:4], 2 * MAX_CHUNK_BYTES))
        assert read_whole(journal).texts == whole

    def test_a_second_text_whose_part_would_be_less_than_a_character_waits_for_the_next_reading(self, journal):
        claimed(journal)
        for number in range(8):
            size = MAX_CHUNK_BYTES - (number == 7)
            write(journal, "a" * size, at=number * MAX_CHUNK_BYTES, name="first")
        write(journal, "🎉" * 3, name="second")
        parts = parts_of(journal)
        assert [[chunk.name for chunk in part.chunks] for part in parts] == [["first"], ["second"]]
        assert joined(parts, "second") == "🎉" * 3
        assert read_whole(journal).text("second") == "🎉" * 3

    def test_a_long_text_is_read_while_it_grows(self, journal):
        claimed(journal)
        part = "日" * (MAX_CHUNK_BYTES // 3)
        for number in range(9):
            write(journal, part, at=number * size_of(part))
        first = reading(journal)
        assert first.more
        write(journal, part, at=9 * size_of(part))
        superseded(journal)
        answer = reading(journal, first.cursor)
        assert (answer.chunks, answer.cursor.texts, answer.more) == ((), Texts(2), False)

    @pytest.mark.parametrize("at", [1, 2, 3, 6, 11])
    def test_a_made_up_position_within_a_character_is_read_from_the_start(self, journal, at):
        claimed(journal)
        write(journal, "🎉日日éé")
        place = journal.snapshot(FEED).cursor
        forged = place.at_texts(lengths(output=at))
        parts = parts_of(journal, forged)
        assert parts[0].chunks[0].at == 0 if parts[0].chunks else parts[1].chunks[0].at == 0
        assert joined(parts) == "🎉日日éé"
        assert parts[-1].cursor == place

    @pytest.mark.parametrize(
        "held",
        [
            lengths(output=4),
            lengths(output=2**40),
            lengths(output=0),
            lengths(other=0),
            lengths(other=5, output=3),
            lengths(0, output=2),
            lengths(9, output=3),
            Texts(1),
            Texts(9),
        ],
        ids=str,
    )
    def test_made_up_lengths_bring_what_the_texts_have(self, journal, held):
        claimed(journal)
        write(journal, "one")
        place = journal.snapshot(FEED).cursor
        parts = parts_of(journal, place.at_texts(held))
        assert joined(parts) == ("" if held == lengths(other=5, output=3) else "one")
        assert parts[-1].cursor == place

    @pytest.mark.parametrize("held", [lengths(output=3), lengths(9), lengths(output=0)], ids=str)
    def test_made_up_lengths_of_a_feed_without_texts_bring_nothing(self, journal, held):
        place = claimed(journal).cursor
        answer = reading(journal, place.at_texts(held))
        assert (answer.chunks, answer.cursor, answer.more) == ((), place, False)

    def test_there_is_no_text_of_another_name(self, journal):
        claimed(journal)
        write(journal, "one")
        assert [journal.text(FEED, name) for name in ("errors", "", "Output", "%", "x" * 100)] == [None] * 5

    def test_only_snapshots_and_readings_say_how_long_the_texts_are(self, journal):
        claimed(journal)
        place = write(journal, "one").cursor
        snapshot = journal.snapshot(FEED)
        assert snapshot.cursor == place.at_texts(lengths(output=3)) == reading(journal).cursor
        assert snapshot.cursor.place == place
        assert [found.cursor for found in journal.list(OWNER, limit=1)[0]] == [snapshot.cursor]
        assert journal.heads([FEED])[FEED].cursor == place
        assert journal.changed_heads({FEED: snapshot.cursor.place}) == {}
        write(journal, "two", at=3)
        assert journal.changed_heads({FEED: snapshot.cursor.place}) == {FEED: journal.snapshot(FEED).cursor.place}


ALL_CONTROLS = "".join(map(chr, [*range(32), *range(127, 160)]))
NASTY = [
    *(text for text in HOSTILE if text),
    ALL_CONTROLS,
    "\x00",
    "</script><!--<script>",
    "👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301",
    "\u202eright to left\u202c שלום مرحبا \u2066\u2069\u200f",
    '\\u0041 \\\\ \\" " \' ` ${x} {{x}}',
    '"},"progress":null}',
    '{"v":2,"texts":{"run":9,"lengths":{"output":1}},"kind":"text"}',
    "\ufeff\ufffe\uffff\ue000\U0010ffff",
    "\r\n\r\n\n\r",
]


def agrees(text: str) -> Event:
    """Read a ring both ways."""
    event, header = Event.from_text(text), EventHeader.from_text(text)
    assert header is not None, text
    assert (header.v, header.id, header.feed, header.kind, header.is_fact) == (
        *(event.v, event.id, event.feed, event.kind),
        event.is_fact,
    )
    assert (header.cursor, header.texts, header.span) == (event.cursor, event.texts, event.span)
    assert event.v == (2 if event.kind == "text" else 1)
    return event


class TestRings:
    def test_a_text_event_carries_its_chunk_and_the_lengths_with_it(self, rung):
        claimed(rung.journal)
        write(rung.journal, "one ")
        write(rung.journal, "é", name="errors")
        *_, first, second = [agrees(text) for text in rung.texts(4)]
        assert (first.v, first.kind, first.patch, first.run) == (2, "text", {}, 1)
        assert (first.chunk, first.texts) == (Chunk("output", 0, "one "), lengths(output=4))
        assert (second.chunk, second.texts) == (Chunk("errors", 0, "é"), lengths(output=4, errors=2))

    def test_a_text_event_carries_the_newest_progress(self, rung):
        claimed(rung.journal)
        stored(rung.journal.append(FEED, counter(7), run=1, fact=1, counter=1))
        write(rung.journal, "one")
        assert agrees(rung.texts(4)[-1]).progress == {"completed": 7, "total": 100}

    def test_what_changes_nothing_rings_nothing(self, rung):
        claimed(rung.journal)
        write(rung.journal, "one")
        for draft in (chunk("one"), chunk("two", 9), chunk("", 3)):
            rung.journal.append(FEED, draft, run=1)
        rung.journal.append(FEED, line(), run=1, fact=2, texts=lengths(output=9))
        write(rung.journal, "two", at=3)
        assert [agrees(text).seq for text in rung.texts(4)] == [1, 2, 3, 4]

    def test_a_reader_follows_the_rings_to_the_same_text(self, rung):
        journal = rung.journal
        reader = Reader(FEED)
        opened(journal)
        catch_up(journal, reader, reader.start())
        claim(journal)
        write(journal, "one ", "two ")
        stored(journal.append(FEED, line(), run=1, fact=2, texts=lengths(output=8)))
        write(journal, "oh", name="errors")
        stored(journal.append(FEED, counter(1), run=1, fact=2, counter=1))
        write(journal, "three", at=8)
        superseded(journal)
        write(journal, "again", run=2)
        stored(journal.append(FEED, state("succeeded"), run=2, fact=2, texts=lengths(2, output=5)))
        seen = []
        for text in rung.texts(11):
            actions = reader.offer(agrees(text))
            assert not any(isinstance(action, Read | Reset) for action in actions)
            seen.append(dict(reader.texts))
        assert seen[-4] == {"output": "one two three", "errors": "oh"}
        assert seen[-3:] == [{}, {"output": "again"}, {"output": "again"}]
        assert reader.cursor == journal.snapshot(FEED).cursor
        assert reader.document == document(journal)

    @pytest.mark.parametrize("text", NASTY, ids=lambda text: ascii(text)[:24])
    def test_hostile_text_is_the_same_everywhere(self, rung, text):
        journal = rung.journal
        claimed(journal)
        reader = Reader(FEED)
        catch_up(journal, reader, reader.start())
        write(journal, *text, text)
        assert journal.text(FEED, "output") == text * 2
        assert joined(parts_of(journal)) == text * 2
        heard = [agrees(ring) for ring in rung.texts(2 + len(text) + 1)[2:]]
        assert "".join(event.chunk.text for event in heard) == text * 2
        for event in heard:
            assert not any(isinstance(action, Read) for action in reader.offer(event))
        assert reader.text("output") == text * 2
        stored(journal.append(FEED, state("succeeded"), run=1, fact=2, texts=lengths(output=2 * size_of(text))))
        assert journal.text(FEED, "output") == read_whole(journal).text("output") == text * 2

    def test_random_chunks_end_as_what_was_written(self, rung):
        journal, dice = rung.journal, random.Random(17)
        claimed(journal)
        alphabet = ["a", "é", "日", "🎉", "\x00", '"', "\\", "\n", "\u202e", "‍"]
        whole: dict[str, str] = {"output": "", "errors": ""}
        for _ in range(60):
            name = dice.choice(list(whole))
            text = "".join(dice.choices(alphabet, k=dice.randint(1, 40)))
            write(journal, text, at=size_of(whole[name]), name=name)
            whole[name] += text
        for ending in (None, state("failed")):
            if ending is not None:
                stored(journal.append(FEED, ending, run=1, fact=2))
            for name, text in whole.items():
                assert journal.text(FEED, name) == text
                place, at = journal.snapshot(FEED).cursor, 0
                for character in text:
                    at += size_of(character)
                    held = dict(place.texts.lengths) | {name: at}
                    brought = joined([reading(journal, place.at_texts(Texts.of(1, held)))], name)
                    assert brought == text.encode()[at:].decode()

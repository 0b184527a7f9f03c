from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count, cycle, islice

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from petiole.errors import Fenced, Unavailable
from petiole.journal.answers import Claimed, Closed, Conflict, Missing, Stored
from petiole.journal.answers import Fenced as IsFenced
from petiole.journal.redis.journal import RedisJournal
from petiole.protocol.events import ZERO_CHAIN, Cursor, Draft
from petiole.protocol.reader import follow
from petiole.redis.connections import SENT_AT_ONCE
from petiole.worker import outbox as outbox_module
from petiole.worker.outbox import Outbox
from petiole.worker.progress import progress
from petiole.worker.run import Run
from petiole.worker.writer import ACKNOWLEDGED_KEPT
from tests.conftest import VARIANTS
from tests.support.memory_journal import MemoryJournal
from tests.support.redis import RedisServer
from tests.support.waiting import wait_until
from tests.unit.runs import (
    FEED,
    OWNER,
    SOON,
    WORKER,
    Answered,
    Counted,
    Faults,
    begin,
    counters,
    document,
    facts,
    line,
    messages,
    running,
    started,
    thread_ended,
)

TOO_FAST = "events were dropped, because they came faster than the journal takes them."
RARELY = 0.01  # counters a second: the next one is due in 100 s


@pytest.fixture(params=["memory", "memory that begins", "redis"])
def journal(request, make_settings, redis_servers):
    if request.param != "redis":
        return Faults(MemoryJournal(make_settings()), begins=request.param != "memory")
    return Faults(RedisJournal(make_settings(redis_servers(VARIANTS[0]).url)))


@pytest.fixture(params=[False, True], ids=["memory", "memory that begins"])
def memory(request, make_settings):
    return Faults(MemoryJournal(make_settings()), begins=request.param)


@pytest.fixture(params=VARIANTS)
def server(request, redis_binaries, tmp_path):
    made = RedisServer(redis_binaries(request.param), tmp_path / "redis")
    made.start()
    yield made
    made.kill()


def cancel(journal):
    return journal.cancel(
        FEED, cancelling=Draft("state", {"state": "cancelling"}), cancelled=Draft("state", {"state": "cancelled"})
    )


def supersede(journal):
    assert begin(journal, delivery="delivery-2", retries=1).run == 2


class TestCounters:
    def test_the_first_counter_goes_out_at_once(self, journal, make_settings):
        newest = Counted()
        with started(journal, make_settings(counters_per_second=RARELY), newest) as outbox:
            newest.completed = 7
            outbox.touch()
            wait_until(lambda: counters(journal) == 1, what="the first counter is kept")
            assert document(journal)["progress"] == {"completed": 7}

    def test_a_fact_that_is_queued_while_a_counter_is_made_goes_out_before_it(self, memory, make_settings):
        made: list[int] = []

        def newest():
            made.append(len(made))
            if len(made) == 1:
                outbox.put(Draft("log", progress={"completed": 18}, data={"level": "info", "message": "late"}))
            return {"completed": 23}

        with started(memory, make_settings(), newest) as outbox:
            outbox.touch()
            wait_until(lambda: len(made) == 2, what="the counter is made again")
            assert outbox.flush(SOON)
        assert document(memory)["progress"] == {"completed": 23}
        assert facts(memory)[-1].progress == {"completed": 18}

    def test_counters_in_between_are_not_sent_and_the_last_always_is(self, journal, make_settings):
        newest = Counted()
        with started(journal, make_settings(counters_per_second=RARELY), newest) as outbox:
            for completed in range(1, 1001):
                newest.completed = completed
                outbox.touch()
                if completed == 1:
                    wait_until(lambda: counters(journal) == 1, what="the first counter is kept")
        assert counters(journal) == 2
        assert document(journal)["progress"] == {"completed": 1000}

    def test_counters_go_out_at_most_so_often_a_second(self, memory, make_settings):
        newest = Counted()
        with started(memory, make_settings(counters_per_second=20), newest) as outbox:
            began = time.monotonic()
            while counters(memory) < 5:
                newest.completed += 1
                outbox.touch()
            assert time.monotonic() - began >= 4 / 20
        assert document(memory)["progress"] == {"completed": newest.completed}

    def test_the_last_counter_is_sent_without_a_close(self, memory, make_settings):
        newest = Counted()
        with started(memory, make_settings(counters_per_second=50), newest) as outbox:
            for completed in range(1, 101):
                newest.completed = completed
                outbox.touch()
            wait_until(lambda: document(memory).get("progress") == {"completed": 100}, what="the last counter is kept")

    def test_flush_waits_for_the_counter_that_is_on_its_way(self, memory, make_settings):
        newest = Counted()
        with started(memory, make_settings(counters_per_second=1000), newest) as outbox:
            for completed in range(1, 300):
                newest.completed = completed
                outbox.touch()
                assert outbox.flush(SOON)
                assert document(memory)["progress"] == {"completed": completed}

    def test_a_counter_whose_reply_was_lost_does_not_hide_the_next(self, journal, make_settings):
        newest = Counted()
        with started(journal, make_settings(counters_per_second=1000), newest) as outbox:
            newest.completed = 1
            journal.lose_reply.append(True)
            outbox.touch()
            wait_until(lambda: counters(journal) == 1, what="the first counter is kept")
            newest.completed = 2
            outbox.touch()
        assert document(journal)["progress"] == {"completed": 2}

    def test_a_counter_that_the_journal_did_not_get_is_made_good(self, journal, make_settings):
        newest = Counted()
        with started(journal, make_settings(), newest) as outbox:
            newest.completed = 1
            journal.lose_request.append(True)
            outbox.touch()
            wait_until(lambda: journal.sent, what="the first counter was sent")
        assert document(journal)["progress"] == {"completed": 1}


class TestFacts:
    def test_facts_go_out_in_order_and_each_once(self, journal, make_settings):
        with started(journal, make_settings()) as outbox:
            for number in range(300):
                outbox.put(line(str(number)))
        assert messages(journal) == [str(number) for number in range(300)]
        cursor = journal.snapshot(FEED).cursor
        assert follow(Cursor(cursor.epoch, 0, 0, ZERO_CHAIN), facts(journal))

    def test_counters_between_facts_do_not_disturb_them(self, journal, make_settings):
        newest = Counted()
        with started(journal, make_settings(counters_per_second=10_000), newest) as outbox:
            for number in range(200):
                newest.completed = number
                outbox.touch()
                outbox.put(line(str(number)))
        assert messages(journal) == [str(number) for number in range(200)]
        assert document(journal)["progress"] == {"completed": 199}

    def test_facts_of_several_threads_are_all_kept_and_each_threads_in_order(self, memory, make_settings):
        with started(memory, make_settings()) as outbox:

            def put(name):
                for number in range(50):
                    outbox.put(line(f"{name}.{number}"))

            threads = [threading.Thread(target=put, args=(name,)) for name in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(SOON)
        for name in range(4):
            own = [message for message in messages(memory) if message.startswith(f"{name}.")]
            assert own == [f"{name}.{number}" for number in range(50)]

    @pytest.mark.parametrize("lost", ["lose_reply", "lose_request"])
    def test_what_was_not_answered_is_sent_again_and_kept_once(self, journal, make_settings, lost):
        getattr(journal, lost).extend(islice(cycle([False, True]), 30))
        with started(journal, make_settings()) as outbox:
            for number in range(20):
                outbox.put(line(str(number)))
        assert messages(journal) == [str(number) for number in range(20)]
        assert len(journal.sent) > 20

    def test_an_event_keeps_its_id_through_every_resend(self, memory, make_settings):
        memory.lose_request.extend([True, True, True])
        draft = line("x")
        with started(memory, make_settings()) as outbox:
            outbox.put(draft)
        assert [(sent.id, fact) for sent, fact, _ in memory.sent] == [(draft.id, 2)] * 4

    def test_a_refused_event_is_set_aside_and_the_rest_goes_on(self, journal, make_settings):
        with started(journal, make_settings()) as outbox:
            outbox.put(line("1"))
            outbox.put(line("x" * 10_000))
            outbox.put(line("2"))
        assert messages(journal) == [
            "1",
            "1 event was set aside. An event of 10,060 bytes is over the limit of 8,192. Send less, or send a link to it.",
            "2",
        ]
        assert facts(journal)[-2].data["dropped"] == 1

    def test_after_close_nothing_more_is_taken(self, memory, make_settings):
        with started(memory, make_settings()) as outbox:
            outbox.put(line("1"))
            outbox.close()
            outbox.put(line("2"))
        assert messages(memory) == ["1"]

    def test_flush_says_whether_the_journal_has_everything(self, memory, make_settings):
        with started(memory, make_settings()) as outbox:
            memory.away = True
            outbox.put(line("1"))
            assert not outbox.flush(0.05)
            memory.away = False
            assert outbox.flush(SOON)
            assert messages(memory) == ["1"]

    def test_away_is_said_while_the_journal_is_away(self, memory, make_settings):
        with started(memory, make_settings()) as outbox:
            memory.away = True
            outbox.put(line("1"))
            wait_until(lambda: outbox.signals.away, what="the outbox has noticed")
            memory.away = False
            wait_until(lambda: not outbox.signals.away, what="the outbox has noticed that it is back")


class TestBound:
    def test_the_oldest_lines_are_dropped_and_that_is_said_before_the_rest(self, memory, make_settings):
        memory.away = True
        with started(memory, make_settings(outbox_limit=10)) as outbox:
            outbox.put(line("0"))
            wait_until(lambda: outbox.signals.away, what="the first line is in transit")
            for number in range(1, 100):
                outbox.put(line(str(number)))
            memory.away = False
        said = [event.data for event in facts(memory) if event.kind == "log"]
        assert said[1] == {
            "level": "warning",
            "message": "89 events were dropped while the journal was away.",
            "dropped": 89,
        }
        assert [data["message"] for data in said if "dropped" not in data] == ["0", *map(str, range(90, 100))]

    def test_what_is_dropped_and_what_is_kept_make_up_the_whole(self, memory, make_settings):
        with started(memory, make_settings(outbox_limit=10)) as outbox:
            for number in range(2000):
                memory.away = number % 500 < 400
                outbox.put(line(str(number)))
            memory.away = False
        said = [event.data for event in facts(memory) if event.kind == "log"]
        kept = [int(data["message"]) for data in said if "dropped" not in data]
        assert kept == sorted(set(kept))
        assert len(kept) + sum(data["dropped"] for data in said if "dropped" in data) == 2000

    def test_what_comes_too_fast_is_said_so_and_once_a_second_at_most(self, memory, make_settings):
        memory.begins = False
        with started(memory, make_settings(outbox_limit=5)) as outbox:
            began = time.monotonic()
            for number in range(1500):
                outbox.put(line(str(number)))
            took = time.monotonic() - began
        said = [event.data for event in facts(memory) if event.kind == "log" and "dropped" in event.data]
        kept = [event for event in facts(memory) if event.kind == "log" and "dropped" not in event.data]
        assert all(data["message"] == f"{data['dropped']:,} {TOO_FAST}" for data in said)
        assert len(kept) + sum(data["dropped"] for data in said) == 1500
        # The first at once, and the last before the end.
        assert 1 <= len(said) <= took + 3

    def test_what_was_dropped_is_said_before_the_end(self, memory, make_settings):
        memory.away = True
        with started(memory, make_settings(outbox_limit=3)) as outbox:
            outbox.put(line("0"))
            wait_until(lambda: outbox.signals.away, what="the first line is in transit")
            for number in range(1, 10):
                outbox.put(line(str(number)))
            outbox.put(Draft("state", {"state": "succeeded"}))
            outbox.close()
            memory.away = False
        assert facts(memory)[-1].patch == {"state": "succeeded"}
        assert sum((event.data or {}).get("dropped", 0) for event in facts(memory)) == 7

    def test_lines_are_dropped_before_events_and_events_before_stages_and_a_state_never(self, memory, make_settings):
        memory.away = True
        with started(memory, make_settings(outbox_limit=6)) as outbox:
            outbox.put(line("on its way"))
            wait_until(lambda: outbox.signals.away, what="the first line is in transit")
            for number in range(4):
                outbox.put(Draft("custom", data={"name": str(number)}))
                outbox.put(Draft("stage", data={"name": str(number)}))
                outbox.put(line(str(number)))
            outbox.put(Draft("state", {"state": "stalled"}))
            memory.away = False
        kept = [(event.kind, (event.data or {}).get("name")) for event in facts(memory)[3:]]
        assert kept == [
            ("log", None), ("stage", "0"), ("stage", "1"), ("stage", "2"), ("custom", "3"), ("stage", "3"),
            ("state", None),
        ]  # fmt: skip
        assert facts(memory)[3].data["dropped"] == 7

    def test_the_bound_holds_when_there_is_nothing_but_stages(self, memory, make_settings):
        memory.away = True
        with started(memory, make_settings(outbox_limit=5)) as outbox:
            for number in range(50):
                outbox.put(Draft("stage", data={"name": str(number)}))
            memory.away = False
        assert [event.data["name"] for event in facts(memory) if event.kind == "stage"][-5:] == [
            "45", "46", "47", "48", "49",
        ]  # fmt: skip
        assert len(facts(memory)) < 15

    def test_numbers_stay_gapless_after_a_drop(self, memory, make_settings):
        memory.away = True
        with started(memory, make_settings(outbox_limit=3)) as outbox:
            for number in range(10):
                outbox.put(line(str(number)))
            memory.away = False
        assert [event.facts for event in facts(memory)] == list(range(1, len(facts(memory)) + 1))


class TestSignals:
    def test_the_reply_to_a_fact_tells_of_a_cancel(self, journal, make_settings):
        with started(journal, make_settings()) as outbox:
            cancel(journal)
            outbox.put(line("x"))
            wait_until(lambda: outbox.signals.cancel, what="the outbox has been told of the cancel")

    def test_a_silent_run_hears_of_a_cancel(self, journal, make_settings):
        with started(journal, make_settings(heartbeat=0.02)) as outbox:
            cancel(journal)
            wait_until(lambda: outbox.signals.cancel, what="the outbox has been told of the cancel")
            assert not outbox.signals.fenced

    def test_a_silent_run_hears_of_a_later_run(self, journal, make_settings):
        with started(journal, make_settings(heartbeat=0.02)) as outbox:
            supersede(journal)
            wait_until(lambda: outbox.signals.fenced, what="the outbox has been told of the later run")

    def test_a_silent_run_hears_that_it_was_declared_lost(self, journal, make_settings):
        with started(journal, make_settings(heartbeat=0.02)) as outbox:
            journal.target.append(FEED, Draft("state", {"state": "lost"}))
            wait_until(lambda: outbox.signals.fenced, what="the outbox has been told of the verdict")

    def test_a_silent_run_that_the_journal_forgot_opens_its_feed_again(self, journal, make_settings):
        with started(journal, make_settings(heartbeat=0.02)) as outbox:
            journal.forget(FEED)
            wait_until(lambda: journal.snapshot(FEED), what="the feed is open again")
            assert document(journal)["state"] == "running"
            outbox.put(line("x"))
            assert outbox.flush(SOON)
            assert not outbox.signals.fenced

    def test_a_silent_run_outlives_a_journal_that_is_away(self, memory, make_settings):
        with started(memory, make_settings(heartbeat=0.01)) as outbox:
            memory.away = True
            before = memory.checks
            wait_until(lambda: memory.checks >= before + 3, what="the outbox has checked three times")
            memory.away = False
            cancel(memory)
            wait_until(lambda: outbox.signals.cancel, what="the outbox has been told of the cancel")

    def test_a_fenced_run_is_ended_at_its_next_progress_call(self, journal, make_settings):
        with running(journal, make_settings()) as run:
            supersede(journal)
            progress.log("one too many")
            assert run.outbox.flush(SOON)
            with pytest.raises(Fenced, match="Another run of this task has begun"):
                progress.advance()
            thread_ended(run.outbox)
        assert "one too many" not in messages(journal)

    def test_a_fenced_outbox_throws_away_what_it_holds_and_ends(self, memory, make_settings):
        with started(memory, make_settings()) as outbox:
            memory.away = True
            for number in range(10):
                outbox.put(line(str(number)))
            supersede(memory)
            memory.away = False
            assert outbox.flush(SOON)
            assert outbox.signals.fenced
            thread_ended(outbox)
            outbox.put(line("later"))
            assert outbox.flush(0.0)
        assert messages(memory) == []


class TestLife:
    def test_a_run_that_is_called_stalled_and_speaks_is_running_again(self, journal, make_settings):
        with started(journal, make_settings(heartbeat=60.0)) as outbox:
            journal.target.append(FEED, Draft("state", {"state": "stalled", "reason": "No news."}))
            outbox.put(line("alive"))
            wait_until(lambda: document(journal)["state"] == "running", what="it is running again")
        assert "reason" not in document(journal)

    def test_a_run_that_is_called_stalled_and_has_nothing_to_say_is_running_again(self, journal, make_settings):
        with started(journal, make_settings(heartbeat=0.02)):
            journal.target.append(FEED, Draft("state", {"state": "stalled", "reason": "No news."}))
            wait_until(lambda: document(journal)["state"] == "running", what="it is running again")


class TestStates:
    def test_what_the_state_does_not_admit_is_replaced_by_the_other_draft(self, journal, make_settings):
        with started(journal, make_settings()) as outbox:
            cancel(journal)
            otherwise = Draft("state", {"state": "cancelled"})
            outbox.put(Draft("state", {"state": "retrying"}), otherwise=otherwise)
        assert document(journal)["state"] == "cancelled"
        assert facts(journal)[-1].id == otherwise.id

    def test_the_other_draft_is_not_sent_where_the_first_is_admitted(self, journal, make_settings):
        with started(journal, make_settings()) as outbox:
            cancel(journal)
            outbox.put(Draft("state", {"state": "succeeded"}), otherwise=Draft("state", {"state": "cancelled"}))
        assert document(journal)["state"] == "succeeded"

    def test_the_other_draft_is_sent_again_too(self, memory, make_settings):
        with started(memory, make_settings()) as outbox:
            cancel(memory)
            memory.lose_reply.extend([False, True])
            outbox.put(Draft("state", {"state": "retrying"}), otherwise=Draft("state", {"state": "cancelled"}))
        assert [event.patch["state"] for event in facts(memory)] == ["queued", "running", "cancelling", "cancelled"]

    def test_what_is_not_admitted_and_has_no_other_draft_does_not_stop_the_rest(self, journal, make_settings):
        with started(journal, make_settings()) as outbox:
            cancel(journal)
            outbox.put(Draft("state", {"state": "retrying"}))
            outbox.put(line("after"))
            assert outbox.flush(SOON)
        assert messages(journal) == ["after"]
        assert document(journal)["state"] == "cancelling"

    def test_after_a_terminal_state_the_outbox_ends(self, journal, make_settings):
        with started(journal, make_settings()) as outbox:
            journal.target.append(FEED, Draft("state", {"state": "lost"}))
            outbox.put(line("too late"))
            assert outbox.flush(SOON)
            thread_ended(outbox)
            assert outbox.signals.fenced
        assert document(journal)["state"] == "lost"


def fall_back(journal: Faults, make_settings, *, keep: int) -> None:
    """Replace the journal by a copy of the feed with only its first `keep` facts: a lagging replica."""
    copy = MemoryJournal(make_settings())
    drafts = [Draft(event.kind, event.patch, event.progress, event.data, event.id) for event in facts(journal)]
    copy.open(FEED, owner=OWNER, draft=drafts[0], epoch="0123abcd")
    claimed = copy.claim(FEED, drafts[1], worker=WORKER, delivery="delivery-1", retries=0, lease=600)
    assert isinstance(claimed, Claimed)
    for number, draft in enumerate(drafts[2:keep], start=2):
        assert isinstance(copy.append(FEED, draft, run=1, fact=number), Stored)
    journal.target = copy


class TestLostData:
    def test_facts_that_the_journal_has_lost_are_sent_again(self, memory, make_settings):
        with started(memory, make_settings()) as outbox:
            for number in range(20):
                outbox.put(line(str(number)))
            assert outbox.flush(SOON)
            before = facts(memory)
            fall_back(memory, make_settings, keep=10)
            outbox.put(line("20"))
        assert messages(memory) == [str(number) for number in range(21)]
        assert [event.id for event in facts(memory)[:-1]] == [event.id for event in before]
        assert facts(memory)[-2].cursor.chain == before[-1].chain

    def test_a_counter_brings_the_lost_facts_back_too_and_is_not_lost_by_it(self, memory, make_settings):
        newest = Counted()
        with started(memory, make_settings(counters_per_second=1000), newest) as outbox:
            for number in range(5):
                outbox.put(line(str(number)))
            assert outbox.flush(SOON)
            fall_back(memory, make_settings, keep=4)
            newest.completed = 9
            outbox.touch()
            assert outbox.flush(SOON)
        assert messages(memory) == [str(number) for number in range(5)]
        assert document(memory)["progress"] == {"completed": 9}

    @pytest.mark.parametrize("lost", ["lose_reply", "lose_request"])
    def test_a_journal_that_goes_away_again_meanwhile_loses_nothing(self, memory, make_settings, lost):
        with started(memory, make_settings()) as outbox:
            for number in range(10):
                outbox.put(line(str(number)))
            assert outbox.flush(SOON)
            fall_back(memory, make_settings, keep=4)
            getattr(memory, lost).extend([False, False, False, True, False, True])
            outbox.put(line("10"))
            outbox.put(line("11"))
        assert messages(memory) == [str(number) for number in range(12)]

    def test_more_than_is_held_for_sending_again_opens_the_feed_again(self, memory, make_settings):
        count = ACKNOWLEDGED_KEPT + 20
        with started(memory, make_settings()) as outbox:
            for number in range(count):
                outbox.put(line(str(number)))
            assert outbox.flush(SOON)
            last = memory.snapshot(FEED).cursor
            fall_back(memory, make_settings, keep=5)
            outbox.put(line("after"))
        cursor = memory.snapshot(FEED).cursor
        assert cursor.epoch != last.epoch
        assert cursor.facts == last.facts + 1
        assert not memory.read(FEED, last, limit=10).recovered
        assert document(memory)["state"] == "running"

    def test_a_feed_that_was_forgotten_is_opened_again_with_the_runs_document(self, journal, make_settings):
        newest = Counted()
        with started(journal, make_settings(counters_per_second=1000), newest) as outbox:
            outbox.put(Draft("custom", {"note": "n"}, {"completed": 3}))
            assert outbox.flush(SOON)
            last = journal.snapshot(FEED).cursor
            journal.forget(FEED)
            outbox.put(line("after"))
            assert outbox.flush(SOON)
        snapshot = journal.snapshot(FEED)
        assert snapshot.owner == OWNER
        assert snapshot.document == {
            "state": "running", "title": "Export", "run": 1, "note": "n", "progress": {"completed": 3},
        }  # fmt: skip
        assert snapshot.cursor.epoch != last.epoch
        assert (snapshot.cursor.seq, snapshot.cursor.facts) == (last.seq + 1, last.facts + 1)

    def test_a_feed_that_was_forgotten_has_its_message_again(self, journal, make_settings):
        start = replace(begin(journal), message=lambda: '{"task":"say"}')
        outbox = Outbox(journal, start, make_settings(), newest=Counted())
        outbox.start()
        journal.forget(FEED)
        outbox.put(line("after"))
        assert outbox.flush(SOON)
        assert journal.message(FEED) == '{"task":"say"}'
        outbox.close()
        thread_ended(outbox)

    def test_a_counter_that_finds_its_feed_forgotten_is_kept(self, journal, make_settings):
        newest = Counted()
        with started(journal, make_settings(counters_per_second=1000), newest) as outbox:
            journal.forget(FEED)
            newest.completed = 5
            outbox.touch()
            assert outbox.flush(SOON)
            assert document(journal)["progress"] == {"completed": 5}

    def test_a_later_run_keeps_a_feed_that_was_forgotten(self, memory, make_settings):
        with started(memory, make_settings()) as outbox:
            memory.forget(FEED)
            begin(memory, delivery="delivery-2")
            begin(memory, delivery="delivery-3", retries=1)
            outbox.put(line("x"))
            assert outbox.flush(SOON)
            assert outbox.signals.fenced
        assert messages(memory) == []


def measure_lateness() -> Callable[[], float]:
    """Measure how late this machine wakes a thread; the returned function stops that, and returns the maximum in seconds."""
    done, late = threading.Event(), [0.0]

    def watch() -> None:
        while not done.is_set():
            due = time.perf_counter() + 0.001
            done.wait(0.001)
            late[0] = max(late[0], time.perf_counter() - due)

    watcher = threading.Thread(target=watch)
    watcher.start()

    def end() -> float:
        done.set()
        watcher.join()
        return late[0]

    return end


class TestRealOutages:
    def settings(self, make_settings, server, **overrides):
        return make_settings(server.url, journal_timeout=0.3, **overrides)

    def test_a_journal_that_dies_and_comes_back_has_everything_in_order(self, server, make_settings):
        settings = self.settings(make_settings, server)
        journal = RedisJournal(settings)
        newest = Counted()
        with started(journal, settings, newest) as outbox:
            for number in range(50):
                outbox.put(line(str(number)))
            server.kill()
            for number in range(50, 150):
                newest.completed = number
                outbox.put(line(str(number)))
                outbox.touch()
            server.start()
        assert messages(journal) == [str(number) for number in range(150)]
        assert [event.facts for event in facts(journal)] == list(range(1, 153))
        assert document(journal)["progress"] == {"completed": 149}
        assert journal.snapshot(FEED).cursor.epoch == "0123abcd"

    def test_a_journal_that_comes_back_with_an_old_copy_gets_the_rest_again(self, server, make_settings, tmp_path):
        settings = self.settings(make_settings, server)
        journal = RedisJournal(settings)
        with started(journal, settings) as outbox:
            for number in range(10):
                outbox.put(line(str(number)))
            assert outbox.flush(SOON)
            server.copy_data(tmp_path / "copy")
            for number in range(10, 20):
                outbox.put(line(str(number)))
            assert outbox.flush(SOON)
            before = journal.snapshot(FEED).cursor
            server.kill()
            server.put_data_back(tmp_path / "copy")
            server.start()
            with server.client() as client:
                assert client.exists(journal._names.feed(FEED)[0])
            assert journal.snapshot(FEED).cursor.facts == 12
            outbox.put(line("20"))
        assert messages(journal) == [str(number) for number in range(21)]
        assert journal.read(FEED, before, limit=10).recovered

    def test_a_journal_that_was_emptied_is_filled_by_its_writer(self, server, make_settings):
        settings = self.settings(make_settings, server)
        journal = RedisJournal(settings)
        with started(journal, settings) as outbox:
            outbox.put(line("before"))
            assert outbox.flush(SOON)
            last = journal.snapshot(FEED).cursor
            with server.client() as client:
                client.flushall()
            outbox.put(line("after"))
            assert outbox.flush(SOON)
            assert not outbox.signals.fenced
        snapshot = journal.snapshot(FEED)
        assert snapshot.cursor.facts == last.facts + 1
        assert snapshot.cursor.epoch != last.epoch
        assert snapshot.document == {"state": "running", "title": "Export", "run": 1}
        assert [found.feed for found in journal.list(OWNER, limit=10)[0]] == [FEED]

    def test_no_call_of_the_task_waits_for_a_journal_that_does_not_answer(self, server, make_settings):
        settings = self.settings(make_settings, server)
        journal = RedisJournal(settings)
        with running(journal, settings) as run:
            progress.log("first")
            assert run.outbox.flush(SOON)
            server.pause()
            lateness = measure_lateness()
            took = []
            for number in range(500):
                began = time.perf_counter()
                progress.log(str(number))
                progress.advance()
                progress.update(description=str(number))
                took.append(time.perf_counter() - began)
            wait_until(lambda: run.outbox.signals.away, what="the outbox has noticed the outage")
            began = time.perf_counter()
            progress.log("500")
            took.append(time.perf_counter() - began)
            server.resume()
            # A call that waited for the journal would take a timeout; the machine's own delay doesn't count.
            assert max(took) < 0.05 + lateness()
            assert max(took) < settings.journal_timeout
            assert run.outbox.flush(SOON)
        assert messages(journal) == ["first", *(str(number) for number in range(501))]

    def test_a_journal_that_is_out_of_memory_loses_nothing(self, server, make_settings):
        settings = self.settings(make_settings, server)
        journal = RedisJournal(settings)
        with started(journal, settings) as outbox, server.client() as client:
            client.config_set("maxmemory", 1)
            for number in range(5):
                outbox.put(line(str(number)))
            wait_until(lambda: outbox.signals.away, what="the outbox has noticed")
            client.config_set("maxmemory", 0)
        assert messages(journal) == [str(number) for number in range(5)]


class TestLocks:
    def test_facts_of_the_task_and_counters_of_the_outbox_do_not_wait_for_each_other(self, memory, make_settings):
        run = Run(memory, begin(memory), make_settings(counters_per_second=1_000_000))
        run.outbox.start()

        def work():
            for number in range(2000):
                run.artifact({"name": "file", "rows": number})
                run.advance(1)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in threads), "the task and its outbox wait for each other"
        run.outbox.close()
        assert run.outbox.flush(SOON)
        assert document(memory)["progress"]["completed"] == 4000

    def test_the_lock_of_the_outbox_is_free_while_it_asks_for_the_progress(self, memory, make_settings):
        asked, answer = threading.Event(), threading.Event()

        def newest():
            asked.set()
            assert answer.wait(SOON)
            return {"completed": 1}

        with started(memory, make_settings(), newest) as outbox:
            outbox.touch()
            assert asked.wait(SOON)
            thread = threading.Thread(target=outbox.put, args=(line("x"),), daemon=True)
            thread.start()
            thread.join(5)
            alive = thread.is_alive()
            answer.set()
            assert not alive, "put waits for the counter"

    def test_an_outage_is_logged_once_with_its_end(self, memory, make_settings, caplog):
        with started(memory, make_settings()) as outbox, caplog.at_level("INFO", "petiole"):
            memory.lose_request.extend([True] * 4)
            outbox.put(line("x"))
            assert outbox.flush(SOON)
        said = [record.msg for record in caplog.records if record.name == "petiole.worker.writer"]
        assert said == ["journal_away", "journal_returned"]


def test_the_faults_of_these_tests_do_break(memory):
    begin(memory)
    memory.away = True
    with pytest.raises(Unavailable):
        memory.append(FEED, line("x"))


def answered(outbox):
    """Wait until the answer to the last begun append has arrived, but hasn't been taken."""
    wait_until(lambda: outbox._queue[0].begun.poll() is not None, what="it is answered")


class TestBegun:
    """If nothing is in transit the task's thread sends a fact, and the sending thread waits for the answer."""

    @pytest.fixture
    def begins(self, make_settings, redis_servers):
        return Faults(RedisJournal(make_settings(redis_servers(VARIANTS[0]).url)))

    def test_a_fact_is_with_the_journal_although_the_sending_thread_sleeps(self, begins, make_settings):
        outbox = Outbox(begins, begin(begins), make_settings(), newest=Counted())  # the thread isn't even started
        begins.target.append(FEED, line("before"))  # this loads the script into a new server
        for number in range(3):
            outbox.put(line(str(number)))
            kept = ["before", "0", "1", "2"][: number + 2]
            wait_until(lambda kept=kept: messages(begins) == kept, what="it is kept")
            answered(outbox)
        outbox.start()
        outbox.close()
        assert outbox.flush(SOON)
        assert messages(begins) == ["before", "0", "1", "2"]
        assert [fact for _, fact, _ in begins.sent] == [2, 3, 4]
        assert begins.begun == 3

    def test_what_follows_an_answer_that_has_not_come_is_sent_in_turn(self, begins, make_settings):
        outbox = Outbox(begins, begin(begins), make_settings(), newest=Counted())
        begins.lose_reply.append(True)
        for number in range(3):
            outbox.put(line(str(number)))
        assert begins.begun == 1
        outbox.start()
        outbox.close()
        assert outbox.flush(SOON)
        assert messages(begins) == ["0", "1", "2"]
        # The first one twice: its answer was lost.
        assert [fact for _, fact, _ in begins.sent] == [2, 2, 3, 4]

    def test_a_cancel_is_heard_by_the_tasks_thread(self, begins, make_settings):
        outbox = Outbox(begins, begin(begins), make_settings(), newest=Counted())
        begins.target.append(FEED, line("before"))
        cancel(begins)
        outbox.put(line("0"))
        answered(outbox)
        outbox.put(line("1"))
        assert outbox.signals.cancel

    @pytest.mark.parametrize("answer", [Closed("succeeded"), IsFenced(2), Conflict(1), Missing()], ids=str)
    def test_another_answer_is_left_to_the_sending_thread(self, answer, memory, make_settings, monkeypatch):
        monkeypatch.setattr(memory, "append_async", lambda *_, **__: Answered(answer, late=False))
        outbox = Outbox(memory, begin(memory), make_settings(), newest=Counted())
        taken = []
        monkeypatch.setattr(outbox._writer, "take", lambda _draft, reply: bool(taken.append(reply)))
        outbox.put(line("0"))
        outbox.put(line("1"))
        assert len(outbox._queue) == 2
        assert not taken

    def test_a_time_limit_that_comes_while_a_fact_is_sent_loses_none(self, begins, make_settings):
        with started(begins, make_settings()) as outbox:
            outbox.put(line("0"))
            assert outbox.flush(SOON)
            begins.interrupt.append(TimeoutError("The time limit."))
            with pytest.raises(TimeoutError):
                outbox.put(line("1"))
            outbox.put(line("2"))
            assert outbox.flush(SOON)
        assert messages(begins) == ["0", "1", "2"]

    @pytest.mark.parametrize("at", ["take", "keep", "_note_sent"])
    def test_a_time_limit_that_comes_while_an_answer_is_taken_loses_none(self, at, begins, make_settings, monkeypatch):
        outbox = Outbox(begins, begin(begins), make_settings(), newest=Counted())
        begins.target.append(FEED, line("before"))
        outbox.put(line("0"))
        answered(outbox)

        def interrupted(*_):
            raise TimeoutError("The time limit.")

        with monkeypatch.context() as limited:
            limited.setattr(outbox if at == "_note_sent" else outbox._writer, at, interrupted)
            with pytest.raises(TimeoutError):
                outbox.put(line("1"))
        outbox.put(line("2"))
        outbox.start()
        outbox.close()
        assert outbox.flush(SOON)
        # The task's thread never got to put the second one.
        assert messages(begins) == ["before", "0", "2"]

    def test_facts_that_come_one_by_one_are_all_begun(self, begins, make_settings):
        with started(begins, make_settings()) as outbox:
            for number in range(5):
                outbox.put(line(str(number)))
                assert outbox.flush(SOON)
        assert begins.begun == 5
        assert messages(begins) == list("01234")

    def test_what_has_begun_is_not_dropped_and_nothing_is_said_before_it(self, memory, make_settings):
        memory.late = True
        outbox = Outbox(memory, begin(memory), make_settings(outbox_limit=3), newest=Counted())
        for number in range(10):
            outbox.put(line(str(number)))
        outbox.start()
        outbox.close()
        assert outbox.flush(SOON)
        if memory.begins:
            assert messages(memory) == ["0", f"7 {TOO_FAST}", "8", "9"]
        else:
            assert messages(memory) == [f"7 {TOO_FAST}", "7", "8", "9"]

    def test_a_large_fact_is_left_to_the_sending_thread(self, begins, make_settings):
        with started(begins, make_settings()) as outbox:
            outbox.put(line("x" * (SENT_AT_ONCE - 300)))
            assert outbox.flush(SOON)
        assert begins.begun == 0
        assert messages(begins) == ["x" * (SENT_AT_ONCE - 300)]

    def test_a_journal_that_is_known_to_be_away_is_not_tried_by_the_tasks_thread(self, begins, make_settings):
        begins.away = True
        with started(begins, make_settings()) as outbox:
            outbox.put(line("first"))
            wait_until(lambda: outbox.signals.away, what="it is known")
            begins.away = False
            outbox.put(line("second"))
            assert outbox.flush(SOON)
        assert begins.begun == 0
        assert messages(begins) == ["first", "second"]


# Sends this process signals repeatedly, at random intervals.
ALARM = """
import os, random, signal, sys, time
while True:
    os.kill(int(sys.argv[1]), signal.SIGUSR1)
    time.sleep(random.uniform(0, 0.0003))
"""


class TestTimeLimits:
    """Celery raises a soft time limit in the task's thread, at any point of its code."""

    @pytest.fixture
    def limited(self):
        """Makes a call, and returns whether no limit has interrupted it."""
        armed = False

        def handle(*_):
            nonlocal armed
            if armed:
                armed = False
                raise SoftTimeLimitExceeded

        def call(function, *arguments):
            nonlocal armed
            try:
                armed = True
                function(*arguments)
                armed = False
            except SoftTimeLimitExceeded:
                return False
            finally:
                armed = False
            return True

        before = signal.signal(signal.SIGUSR1, handle)
        alarm = subprocess.Popen([sys.executable, "-c", ALARM, str(os.getpid())])
        yield call
        alarm.kill()
        alarm.wait()
        signal.signal(signal.SIGUSR1, before)

    def test_what_was_said_is_kept_in_order_wherever_they_break_in(self, limited, make_settings, redis_servers):
        journal = RedisJournal(make_settings(redis_servers(VARIANTS[0]).url, facts_kept=100_000))
        said, broken, numbers = [], 0, count()
        with started(journal, make_settings()) as outbox:
            while broken < 100:
                number = next(numbers)
                if limited(outbox.put, line(str(number))):
                    said.append(number)
                else:
                    broken += 1
                time.sleep(0.0003 * (number % 3))  # so that facts are sent at once, too, and not only queued
            # Not by a flush: that would release a lock that was left locked.
            wait_until(lambda: not outbox._queue and outbox._sending is None, what="the journal has all of it")
        kept = [int(message) for message in messages(journal)]
        assert kept == sorted(set(kept))
        assert set(said) <= set(kept)


class TestFactsThatComeOften:
    """For these the sending thread checks for the answers by itself, and isn't woken for each."""

    @pytest.fixture(params=["memory", "redis"])
    def begins(self, request, make_settings, redis_servers):
        if request.param == "memory":
            return Faults(MemoryJournal(make_settings()), begins=True)
        return Faults(RedisJournal(make_settings(redis_servers(VARIANTS[0]).url)))

    @pytest.fixture
    def outbox(self, begins, make_settings, monkeypatch):
        """One whose thread checks by itself, after a few facts."""
        monkeypatch.setattr(outbox_module, "OFTEN", 600.0)
        with started(begins, make_settings()) as outbox:
            for number in range(3):
                outbox.put(line(str(number)))
                assert outbox.flush(SOON)
            wait_until(lambda: outbox._looks, what="it checks by itself")
            yield outbox

    @pytest.fixture
    def rarely(self, monkeypatch):
        monkeypatch.setattr(outbox_module, "LOOK", 600.0)

    def test_one_that_is_kept_wakes_nobody(self, rarely, outbox, begins):
        begun = begins.begun
        for number in range(3, 10):
            outbox.put(line(str(number)))
            assert len(outbox._queue) == 1, "somebody else has read its answer"
            answered(outbox)
        assert begins.begun == begun + 7
        assert messages(begins) == [str(number) for number in range(10)]

    def test_the_next_one_does_if_it_has_not_been_answered(self, rarely, outbox, begins):
        begins.lose_reply.append(True)
        outbox.put(line("3"))
        outbox.put(line("4"))
        wait_until(lambda: messages(begins) == list("01234"), what="both are kept")

    def test_a_flush_reads_its_answer(self, rarely, outbox):
        outbox.put(line("3"))
        assert outbox.flush(SOON)

    def test_its_answer_is_heard_soon_all_the_same(self, outbox, begins):
        cancel(begins)
        outbox.put(line("3"))
        wait_until(lambda: outbox.signals.cancel, what="the cancel is noticed")
        assert not outbox._queue

    def test_it_is_sent_again_where_its_answer_says_that_it_is_lost(self, outbox, begins):
        begins.lose_request.append(True)
        outbox.put(line("3"))
        wait_until(lambda: messages(begins) == list("0123"), what="it is kept")


class TestHandover:
    """A computing task keeps the interpreter from the sending thread, so a fact is handed over before the task goes on."""

    @pytest.fixture(autouse=True)
    def patient(self, monkeypatch):
        # Long enough that the test exceeds its deadline if a call waits for it.
        monkeypatch.setattr(outbox_module, "HANDOVER", 60.0)

    def test_a_fact_of_a_task_that_computes_is_with_the_journal_when_the_call_returns(self, journal, make_settings):
        with started(journal, make_settings()) as outbox:
            outbox.put(line("0"))
            assert outbox.flush(SOON)
            for number in range(1, 5):
                # Its own CPU time only: on a busy machine it may compute for only a small part of the elapsed time.
                outbox._spoke = (threading.get_ident(), time.monotonic(), time.thread_time() - 60.0)
                outbox.put(line(str(number)))
                said = [str(said) for said in range(number + 1)]
                if journal.begun:  # sent by the task's thread: in transit to the server
                    wait_until(lambda said=said: messages(journal) == said, what="the journal has it")
                assert messages(journal) == said

    def test_a_task_that_waits_is_not_kept(self, memory, make_settings):
        memory.away = True
        with started(memory, make_settings()) as outbox:
            outbox._spoke = (threading.get_ident(), time.monotonic() - 60.0, time.thread_time())
            began = time.monotonic()
            outbox.put(line("first"))
            assert time.monotonic() - began < 30
            memory.away = False
            assert outbox.flush(SOON)

    def test_a_fact_behind_others_is_not_waited_for(self, memory, make_settings):
        memory.away = True
        with started(memory, make_settings()) as outbox:
            threading.Thread(target=outbox.put, args=(line("first"),), daemon=True).start()
            wait_until(lambda: memory.sent or not outbox._is_idle(), what="the first is in transit")
            began = time.monotonic()
            for number in range(100):
                outbox._spoke = (threading.get_ident(), time.monotonic(), time.thread_time() - 60.0)
                outbox.put(line(str(number)))
            assert time.monotonic() - began < 30
            memory.away = False
            assert outbox.flush(SOON)

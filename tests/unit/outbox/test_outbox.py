"""The outbox: counters, facts, bounds, signals, its life and its states."""

from __future__ import annotations

import threading
import time
from itertools import cycle, islice

import pytest

from petiole.errors import Fenced
from petiole.protocol.events import ZERO_CHAIN, Cursor, Draft
from petiole.protocol.reader import follow
from petiole.worker import outbox as outbox_module
from petiole.worker.progress import progress
from tests.support.waiting import wait_until
from tests.unit.outbox.shared import RARELY, TOO_FAST, cancel, supersede
from tests.unit.runs import (
    FEED,
    SOON,
    Counted,
    counters,
    document,
    facts,
    line,
    messages,
    running,
    started,
    thread_ended,
)


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

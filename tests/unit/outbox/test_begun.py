"""What the task's own thread sends: replies that come later, locks, and time limits that break in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from itertools import count

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from petiole.journal.answers import Closed, Conflict, Missing
from petiole.journal.answers import Fenced as IsFenced
from petiole.journal.redis.journal import RedisJournal
from petiole.redis.connections import SENT_AT_ONCE
from petiole.worker import outbox as outbox_module
from petiole.worker.outbox import Outbox
from petiole.worker.run import Run
from tests.conftest import VARIANTS
from tests.support.memory_journal import MemoryJournal
from tests.support.waiting import wait_until
from tests.unit.outbox.shared import TOO_FAST, answered, cancel
from tests.unit.runs import (
    FEED,
    SOON,
    Answered,
    Counted,
    Faults,
    begin,
    document,
    line,
    messages,
    started,
)


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

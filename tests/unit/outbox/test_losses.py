"""The outbox where the journal has lost data or goes away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from petiole.errors import Unavailable
from petiole.journal.redis.journal import RedisJournal
from petiole.protocol.events import Draft
from petiole.worker.outbox import Outbox
from petiole.worker.progress import progress
from petiole.worker.writer import ACKNOWLEDGED_KEPT
from tests.support.waiting import wait_until
from tests.unit.outbox.shared import fall_back
from tests.unit.runs import (
    FEED,
    OWNER,
    SOON,
    Counted,
    begin,
    document,
    facts,
    line,
    messages,
    running,
    started,
    thread_ended,
)


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


def test_the_faults_of_these_tests_do_break(memory):
    begin(memory)
    memory.away = True
    with pytest.raises(Unavailable):
        memory.append(FEED, line("x"))

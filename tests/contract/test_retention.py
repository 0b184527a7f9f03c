"""What a feed keeps and for how long, held against every backend."""

from __future__ import annotations

import json
import time

import pytest

from petiole.protocol.reader import Read, Reader, Reading, Reset, Show
from tests.contract.backends import (
    FEED,
    LONG,
    OWNER,
    WORKER,
    claimed,
    counter,
    document,
    line,
    opened,
    reading,
    state,
    stored,
)
from tests.support.waiting import wait_until


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

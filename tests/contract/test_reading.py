"""What reading, heads and lists promise, held against every backend."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from petiole.journal.answers import (
    Expired,
    Gone,
    Held,
    Missing,
    Stored,
)
from petiole.journal.contract import Journal
from petiole.protocol.events import (
    MAX_NUMBER,
    ZERO_CHAIN,
    Cursor,
    task_feed,
)
from petiole.protocol.reader import Reading
from tests.contract.backends import (
    FEED,
    HOSTILE,
    OWNER,
    SHORT,
    RedisBackend,
    claimed,
    counter,
    document,
    line,
    opened,
    reading,
    stored,
)


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

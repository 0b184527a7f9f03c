"""The journal's promises about inboxes: one notice for each task, until it is acknowledged, on every backend."""

from __future__ import annotations

import threading

import pytest

from petiole.errors import InvalidEvent, InvalidName, PetioleError
from petiole.journal.answers import Duplicate
from petiole.journal.rules import INBOX_KEPT, INBOX_SHOWN, INBOX_START, MAX_NOTICE_BYTES, empty_inbox
from petiole.protocol.events import fold, inbox_feed, task_feed
from petiole.protocol.reader import Reading
from tests.contract.backends import (
    FEED,
    LONG,
    OWNER,
    SHORT,
    claim,
    claimed,
    document,
    line,
    opened,
    reading,
    state,
    stored,
)

INBOX = inbox_feed(OWNER)


def key(number: int) -> str:
    return task_feed(f"t{number}")


def notify(journal, number, owner=OWNER):
    return journal.notify(owner, key=key(number), notice={"title": f"Export {number}"})


def shown(journal):
    return sorted(name for name in document(journal, INBOX) if name.startswith("task:"))


class TestUnmade:
    def test_an_inbox_that_nothing_has_come_into_is_empty_and_takes_no_room(self, journal):
        assert journal.read(INBOX, None, limit=10) == Reading(INBOX, empty_inbox(), (), INBOX_START, recovered=True)
        assert journal.read(INBOX, INBOX_START, limit=10).recovered
        assert journal.snapshot(INBOX) is None
        assert journal.heads([INBOX]) == {}
        assert journal.changed_heads({INBOX: INBOX_START}) == {}
        assert journal.read("task:unknown", None, limit=10) is None

    def test_who_has_read_an_empty_inbox_goes_on_from_there(self, journal):
        cursor = journal.read(INBOX, None, limit=10).cursor
        stored(notify(journal, 1))
        after = journal.read(INBOX, cursor, limit=10)
        assert after.recovered
        assert [event.kind for event in after.events] == ["notice"]
        assert journal.changed_heads({INBOX: cursor}) == {INBOX: after.cursor}

    def test_an_inbox_that_was_forgotten_is_empty_and_not_recovered(self, journal):
        cursor = stored(notify(journal, 1)).cursor
        journal.forget(INBOX)
        assert journal.read(INBOX, cursor, limit=10) == Reading(INBOX, empty_inbox(), (), INBOX_START, recovered=False)
        # Created again in the same epoch: the chain tells them apart.
        assert stored(notify(journal, 2)).cursor.epoch == cursor.epoch
        assert not journal.read(INBOX, cursor, limit=10).recovered


class TestPending:
    def test_a_finished_task_waits_for_its_notice(self, journal):
        claimed(journal)
        assert journal.pending(limit=10) == []
        stored(journal.append(FEED, state("succeeded"), run=1, fact=2))
        assert journal.pending(limit=10) == [FEED]
        journal.settle(FEED)
        assert journal.pending(limit=10) == []

    def test_a_task_that_was_cancelled_in_the_queue_waits_for_its_notice(self, journal):
        opened(journal)
        stored(journal.cancel(FEED, cancelling=state("cancelling"), cancelled=state("cancelled")))
        assert journal.pending(limit=10) == [FEED]

    def test_a_task_that_the_reaper_concluded_waits_for_its_notice(self, backend, journal):
        claimed(journal, lease=SHORT)
        backend.end_lease(journal, FEED)
        stored(journal.conclude(FEED, 1, state("lost")))
        assert journal.pending(limit=10) == [FEED]

    def test_a_task_that_wore_its_workers_out_waits_for_its_notice(self, backend, journal):
        opened(journal)
        for number in range(4):
            claim(journal, delivery=f"d{number}", lease=SHORT, failed=state("failed"))
            if document(journal)["state"] == "running":
                backend.end_lease(journal, FEED)
        assert document(journal)["state"] == "failed"
        assert journal.pending(limit=10) == [FEED]

    def test_a_retry_is_no_end(self, journal):
        claimed(journal)
        stored(journal.append(FEED, state("retrying"), run=1, fact=2))
        assert journal.pending(limit=10) == []

    def test_a_forgotten_task_waits_for_nothing(self, journal):
        claimed(journal)
        stored(journal.append(FEED, state("succeeded"), run=1, fact=2))
        journal.forget(FEED)
        assert journal.pending(limit=10) == []


class TestNotify:
    def test_a_notice_makes_the_inbox_and_is_in_its_document(self, journal):
        stored(notify(journal, 1))
        assert document(journal, INBOX) == {key(1): {"title": "Export 1"}, "unread": 1, "earlier": 0}
        assert journal.snapshot(INBOX).owner == OWNER
        (event,) = reading(journal, feed=INBOX).events
        assert (event.kind, event.data) == ("notice", {"title": "Export 1"})

    def test_one_key_is_noticed_once(self, journal):
        cursor = stored(notify(journal, 1)).cursor
        assert notify(journal, 1) == Duplicate(cursor)
        assert document(journal, INBOX)["unread"] == 1

    def test_many_couriers_at_once_notify_once(self, journal):
        stored(notify(journal, 0))
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(notify(journal, 1))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(type(answer).__name__ for answer in answers) == ["Duplicate"] * 7 + ["Stored"]
        assert document(journal, INBOX)["unread"] == 2

    def test_the_newest_are_shown_and_the_others_counted(self, journal):
        for number in range(100, 100 + INBOX_SHOWN + 5):
            stored(notify(journal, number))
        found = document(journal, INBOX)
        assert shown(journal) == [key(number) for number in range(105, 100 + INBOX_SHOWN + 5)]
        assert (found["unread"], found["earlier"]) == (INBOX_SHOWN + 5, 5)

    def test_an_inbox_remembers_so_many(self, journal):
        for number in range(INBOX_KEPT + 3):
            stored(notify(journal, number))
        found = document(journal, INBOX)
        assert (found["unread"], found["earlier"]) == (INBOX_KEPT, INBOX_KEPT - INBOX_SHOWN)

    def test_the_document_is_what_a_reader_folds(self, journal):
        for number in range(INBOX_SHOWN + 3):
            stored(notify(journal, number))
        stored(journal.acknowledge(OWNER, [key(INBOX_SHOWN), key(0)]))
        stored(notify(journal, 99))
        folded = {}
        for event in reading(journal, feed=INBOX).events:
            folded = fold(folded, event)
        assert folded == document(journal, INBOX)

    def test_inboxes_are_their_owners(self, journal):
        stored(notify(journal, 1))
        stored(notify(journal, 1, owner="bob"))
        assert document(journal, inbox_feed("bob"))["unread"] == 1
        journal.acknowledge("bob", None)
        assert document(journal, INBOX)["unread"] == 1

    def test_an_inbox_is_not_listed_among_the_tasks(self, journal):
        opened(journal)
        stored(notify(journal, 1))
        found, _ = journal.list(OWNER, limit=10)
        assert [snapshot.feed for snapshot in found] == [FEED]

    def test_a_notice_that_is_too_long_is_refused(self, journal):
        with pytest.raises(InvalidEvent, match="Shorten it"):
            journal.notify(OWNER, key=key(1), notice={"title": "x" * MAX_NOTICE_BYTES})

    def test_a_key_is_the_name_of_a_feed(self, journal):
        with pytest.raises(InvalidName):
            journal.notify(OWNER, key='"},"x":{"', notice={})
        with pytest.raises(InvalidName):
            journal.acknowledge(OWNER, ["unread"])


class TestAcknowledge:
    def test_what_is_acknowledged_is_gone_and_never_comes_again(self, journal):
        notify(journal, 1)
        notify(journal, 2)
        cursor = stored(journal.acknowledge(OWNER, [key(1)])).cursor
        assert document(journal, INBOX) == {key(2): {"title": "Export 2"}, "unread": 1, "earlier": 0}
        assert notify(journal, 1) == Duplicate(cursor)

    def test_acknowledging_twice_says_nothing_again(self, journal):
        notify(journal, 1)
        cursor = stored(journal.acknowledge(OWNER, [key(1)])).cursor
        assert journal.acknowledge(OWNER, [key(1)]) == Duplicate(cursor)
        assert journal.snapshot(INBOX).cursor == cursor

    def test_an_acknowledgement_may_come_before_its_notice(self, journal):
        assert isinstance(journal.acknowledge(OWNER, [key(1)]), Duplicate)
        assert isinstance(notify(journal, 1), Duplicate)
        assert shown(journal) == []

    def test_everything_is_acknowledged_at_once(self, journal):
        for number in range(INBOX_SHOWN + 5):
            notify(journal, number)
        stored(journal.acknowledge(OWNER, None))
        assert document(journal, INBOX) == {"unread": 0, "earlier": 0}
        assert isinstance(journal.acknowledge(OWNER, None), Duplicate)
        stored(notify(journal, 99))
        assert document(journal, INBOX)["unread"] == 1

    def test_one_that_is_only_counted_is_acknowledged_too(self, journal):
        for number in range(INBOX_SHOWN + 2):
            notify(journal, number)
        stored(journal.acknowledge(OWNER, [key(0)]))
        found = document(journal, INBOX)
        assert (found["unread"], found["earlier"]) == (INBOX_SHOWN + 1, 1)

    def test_a_shown_one_leaves_room_for_the_next(self, journal):
        for number in range(INBOX_SHOWN + 1):
            notify(journal, number)
        journal.acknowledge(OWNER, [key(INBOX_SHOWN)])
        stored(notify(journal, 99))
        found = document(journal, INBOX)
        assert (found["unread"], found["earlier"]) == (INBOX_SHOWN + 1, 1)
        assert len(shown(journal)) == INBOX_SHOWN
        assert key(99) in shown(journal)

    def test_a_tombstone_stays_when_newer_ones_come(self, journal):
        notify(journal, 0)
        journal.acknowledge(OWNER, [key(0)])
        for number in range(1, 50):
            notify(journal, number)
        assert isinstance(notify(journal, 0), Duplicate)

    @pytest.mark.parametrize("read", [True, False])
    def test_one_of_a_group_that_begins_again_comes_once_more(self, journal, read):
        notify(journal, 0)
        notify(journal, 1)
        if read:
            journal.acknowledge(OWNER, [key(0)])
            assert isinstance(journal.acknowledge(OWNER, [key(0)], again=True), Duplicate)
        else:
            stored(journal.acknowledge(OWNER, [key(0)], again=True))
        assert list(shown(journal)) == [key(1)]
        stored(notify(journal, 0))
        assert isinstance(notify(journal, 0), Duplicate)
        assert set(shown(journal)) == {key(0), key(1)}
        assert document(journal, INBOX)["unread"] == 2
        journal.acknowledge(OWNER, [key(0)], again=True)
        journal.acknowledge(OWNER, [key(0)])
        assert isinstance(notify(journal, 0), Duplicate)
        assert isinstance(notify(journal, 1), Duplicate)


class TestKeptOutsideTheDocument:
    def test_a_claims_message_is_kept_until_the_next_that_brings_one(self, backend, journal):
        assert journal.message(FEED) == ""
        claimed(journal, lease=SHORT, message='{"task":"say"}')
        assert journal.message(FEED) == '{"task":"say"}'
        assert '{"task":"say"}' not in document(journal).values()
        backend.end_lease(journal, FEED)
        claim(journal, delivery="delivery-2", lease=SHORT)
        assert journal.message(FEED) == '{"task":"say"}'
        backend.end_lease(journal, FEED)
        claim(journal, delivery="delivery-3", message='{"task":"other"}')
        assert journal.message(FEED) == '{"task":"other"}'

    def test_a_task_that_is_sent_again_waits_without_a_lease(self, backend, journal):
        claimed(journal, lease=SHORT)
        backend.end_lease(journal, FEED)
        stored(journal.conclude(FEED, 1, state("stalled"), lease=LONG))
        journal.confirm(FEED, run=2)
        assert journal.heads([FEED])[FEED].lease_left is not None
        journal.confirm(FEED, run=1)
        assert journal.heads([FEED])[FEED].lease_left is None
        assert claim(journal, delivery="delivery-2").run == 2


class TestAnotherLayout:
    @pytest.mark.parametrize(("layout", "said"), [("1", "older Petiole"), ("3", "newer Petiole")])
    def test_what_another_petiole_wrote_is_left_alone(self, redis_backend, layout, said):
        journal = redis_backend.make()
        opened(journal)
        opened(journal, task_feed("b"))
        meta = journal._names.feed(FEED)[0]
        journal._client.hset(meta, "layout", layout)
        for call in (
            lambda: journal.append(FEED, line()),
            lambda: claim(journal),
            lambda: journal.read(FEED, None, limit=1),
            lambda: journal.snapshot(FEED),
        ):
            with pytest.raises(PetioleError, match=said):
                call()
        assert document(journal, task_feed("b"))["state"] == "queued"
        found, _ = journal.list(OWNER, limit=10)
        assert [snapshot.feed for snapshot in found] == [task_feed("b")]

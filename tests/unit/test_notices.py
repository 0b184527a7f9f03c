"""The content of a notice, and its delivery."""

from __future__ import annotations

import pytest

from petiole.dispatch.message import NOBODY
from petiole.errors import Unavailable
from petiole.journal.answers import Snapshot
from petiole.journal.rules import MAX_NOTICE_BYTES
from petiole.protocol.encoding import to_json
from petiole.protocol.events import ZERO_CHAIN, Cursor, Draft, inbox_feed, task_feed
from petiole.web.background.notices import NoticeDelivery, notice_of
from tests.support.memory_journal import MemoryJournal
from tests.support.open_group import OpenGroup

FEED = task_feed("a")


@pytest.fixture
def journal(make_settings) -> MemoryJournal:
    return MemoryJournal(make_settings())


def end(journal: MemoryJournal, feed: str = FEED, owner: str = "ann", **fields: object) -> None:
    journal.open(feed, owner=owner, draft=Draft("state", {"state": "queued", "title": "Flights"}))
    journal.append(feed, Draft("state", {"state": "failed", "finished_at": 5, **fields}))


def inbox(journal: MemoryJournal, owner: str = "ann") -> dict:
    snapshot = journal.snapshot(inbox_feed(owner))
    return {} if snapshot is None else snapshot.document


def notice(**document: object) -> dict:
    return notice_of(Snapshot(FEED, "ann", Cursor("0123abcd", 1, 1, ZERO_CHAIN), document))


def test_a_notice_is_delivered_and_settled(journal):
    end(journal, reason="The disk is full.")
    NoticeDelivery(journal).deliver()
    assert inbox(journal)[FEED] == {"title": "Flights", "state": "failed", "at": 5, "reason": "The disk is full."}
    assert journal.pending(limit=10) == []


def test_a_courier_that_dies_before_it_settles_is_followed_by_one_that_says_nothing_again(journal):
    end(journal)
    settle = journal.settle
    journal.settle = lambda _feed: (_ for _ in ()).throw(Unavailable("away"))
    with pytest.raises(Unavailable):
        NoticeDelivery(journal).deliver()
    journal.settle = settle
    NoticeDelivery(journal).deliver()
    assert inbox(journal)["unread"] == 1
    assert journal.snapshot(inbox_feed("ann")).cursor.facts == 1


def test_what_nobody_started_makes_no_inbox(journal):
    end(journal, owner=NOBODY)
    NoticeDelivery(journal).deliver()
    assert journal.snapshot(inbox_feed(NOBODY)) is None
    assert journal.pending(limit=10) == []


def test_a_task_that_is_gone_is_settled(journal):
    end(journal)
    del journal._feeds[FEED]
    NoticeDelivery(journal).deliver()
    assert journal.pending(limit=10) == []


def test_a_group_that_begins_again_while_its_notice_is_due_has_the_one_of_its_next_end(journal):
    group = OpenGroup(journal, 1, owner="ann")
    group.fail(0)
    snapshot = journal.snapshot

    def begun_again(feed: str) -> Snapshot | None:
        if feed == group.feed and group.run == 0:
            group.run = 1
            draft = Draft("state", {"state": "queued", "finished_at": None, "reason": None, "run": 1})
            journal.repeat_children(group.feed, [0], draft=draft, epoch="0123abcd", lease=60)
        return snapshot(feed)

    journal.snapshot = begun_again
    NoticeDelivery(journal).deliver()
    assert inbox(journal) == {}
    group.end(0)
    NoticeDelivery(journal).deliver()
    assert inbox(journal)[group.feed]["state"] == "succeeded"


def test_one_that_cannot_be_read_keeps_its_place_and_the_others_go_on(journal):
    end(journal)
    end(journal, task_feed("b"), title={"not": "text"})
    journal._feeds[FEED].document["title"] = "x\ud800"
    NoticeDelivery(journal).deliver()
    assert journal.pending(limit=10) == [FEED]
    assert task_feed("b") in inbox(journal)


@pytest.mark.parametrize(
    "document",
    [
        {"title": "x" * 200, "state": "failed", "reason": "y" * 200},
        {"title": "😀" * 200, "state": "succeeded", "artifacts": [{"name": "n" * 200, "url": "/" + "u" * 200}]},
        {"title": '"\\' * 100, "state": "lost", "reason": "\x00" * 200},
        {"title": "\x00" * 200, "state": "cancelled"},
        {"title": "👩‍👩‍👧" * 40, "state": "cancelled"},
        {},
    ],
)
def test_a_notice_fits_whatever_the_task_said(document):
    said = notice(**document)
    assert len(to_json(said).encode()) <= MAX_NOTICE_BYTES
    assert set(said) >= {"title", "state", "at"}


def test_a_notice_names_the_file_that_the_task_has_made():
    file = {"name": "flights.csv", "url": "/exports/a/file", "expires_at": 9, "sha256": "0" * 64, "size": 3}
    said = notice(state="succeeded", artifacts=[file])
    assert said["artifact"] == {"name": "flights.csv", "url": "/exports/a/file", "expires_at": 9}

"""Each rule of the journal by a table of inputs and decisions. `tests/contract` tests the backends for the same."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from petiole.errors import InvalidEvent
from petiole.journal import rules
from petiole.journal.answers import Busy, Closed, Conflict, Duplicate, Fenced, Gone, Held, Missing
from petiole.protocol.events import ZERO_CHAIN, Cursor
from petiole.protocol.states import (
    ACTIVE,
    CANCELLED,
    CANCELLING,
    FAILED,
    LOST,
    QUEUED,
    RETRYING,
    RUNNING,
    STALLED,
    SUCCEEDED,
    TERMINAL,
)
from petiole.protocol.texts import NO_TEXTS, Texts

HERE = Cursor("0123abcd", 9, 5, "c" * 16)
STATES = (*ACTIVE, *TERMINAL)


@dataclass(frozen=True)
class Feed:
    """The numbers of a task in its second run, which has written three facts and two counters."""

    cursor: Cursor = HERE
    state: str | None = RUNNING
    run: int = 2
    fact: int = 3
    counter: int = 2
    live: bool = True
    cancel: int = 0
    retries: int = 1
    silent: int = 0
    delivery: str = "mine"
    publication: str = "now"
    spent: str = "old older"
    removed: bool = False
    texts: Texts = NO_TEXTS


FEED = Feed()
ENDED = replace(FEED, state=SUCCEEDED, live=False)
FAILED_RUN = replace(FEED, state=FAILED, live=False)


# Which state may follow which: each state with its allowed predecessors.
FOLLOWS = {
    QUEUED: "",
    RUNNING: "queued running retrying stalled",
    RETRYING: "running stalled",
    STALLED: "queued running retrying",
    CANCELLING: "queued running retrying stalled",
    SUCCEEDED: "queued running retrying stalled cancelling",
    FAILED: "queued running retrying stalled cancelling",
    CANCELLED: "queued running retrying stalled cancelling",
    LOST: "queued running retrying stalled cancelling",
}


@pytest.mark.parametrize("current", STATES)
@pytest.mark.parametrize("wanted", STATES)
def test_a_state_is_admitted_only_where_it_may_follow(current, wanted):
    assert rules.admits(current, wanted) is (current in FOLLOWS[wanted].split())


@pytest.mark.parametrize("current", STATES)
def test_an_event_without_a_state_is_admitted_until_the_feed_has_ended(current):
    assert rules.admits(current, None) is (current not in ("succeeded", "failed", "cancelled", "lost"))


@pytest.mark.parametrize("state", [*STATES, None])
def test_any_state_may_be_the_first_and_none_has_to_be(state):
    assert rules.admits(None, state)


@pytest.mark.parametrize("state", [*STATES, None])
def test_a_retry_and_an_end_end_the_run(state):
    assert rules.ends_run(state) is (state in ("retrying", "succeeded", "failed", "cancelled", "lost"))


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("run", [1, 2])
def test_a_queued_feed_waits_for_a_worker_and_a_run_that_is_retried(state, run):
    waits = rules.waits_for_worker(replace(FEED, state=state), run)
    assert waits is (state == "queued" or (state == "retrying" and run == 2))


@pytest.mark.parametrize(
    ("spent", "publication", "decided"),
    [
        ("", "now", False),
        ("", "", False),
        ("old older", "older", True),
        ("old older", "olde", False),
        ("a b", "", False),
    ],
)
def test_a_publication_is_spent_if_it_is_among_those_that_have_ended(spent, publication, decided):
    assert rules.is_spent(spent, publication) is decided


@pytest.mark.parametrize(
    ("current", "spent", "publication", "decided"),
    [
        ("", "", "new", ""),
        ("now", "", "new", "now"),
        ("now", "old", "new", "old now"),
        ("now", "old", "now", "old"),
        ("now", "now old", "new", "now old"),
    ],
)
def test_a_publication_is_spent_once_another_succeeds_it(current, spent, publication, decided):
    assert rules.succeed(current, spent, publication) == decided


def test_a_feed_remembers_the_newest_32_publications():
    spent = " ".join(str(number) for number in range(32))
    assert rules.succeed("now", spent, "new").split() == [*(str(number) for number in range(1, 32)), "now"]


@pytest.mark.parametrize(
    ("feed", "publication", "replayed", "decided"),
    [
        (ENDED, "new", False, True),
        (ENDED, "", False, False),
        (ENDED, "old", False, False),
        (ENDED, "old", True, False),
        (ENDED, "now", False, False),
        (ENDED, "now", True, False),
        (FAILED_RUN, "now", False, False),
        (FAILED_RUN, "now", True, True),
        (replace(FAILED_RUN, state=LOST), "now", True, True),
        (replace(FAILED_RUN, state=CANCELLED), "now", True, False),
        (replace(FAILED_RUN, run=0), "now", True, False),
        (replace(FAILED_RUN, removed=True), "now", True, False),
        (replace(FAILED_RUN, removed=True), "new", False, True),
        *((replace(FEED, state=state), "new", True, False) for state in ACTIVE),
    ],
)
def test_an_ended_feed_begins_again_for_a_publication_it_does_not_know_or_a_replay_of_what_failed(
    feed, publication, replayed, decided
):
    assert rules.begins_again(feed, publication, replayed=replayed) is decided


DUPLICATE = Duplicate(HERE, cancel=False)


@pytest.mark.parametrize(
    ("feed", "event", "decided"),
    [
        # Facts: the next one; one again; an old one; a gap.
        (FEED, {"fact": 4}, rules.Accepted(4, 0, False, False, NO_TEXTS)),
        (FEED, {"fact": 3}, DUPLICATE),
        (FEED, {"fact": 1}, DUPLICATE),
        (FEED, {"fact": 5}, Conflict(3)),
        (replace(FEED, cancel=1), {"fact": 3}, Duplicate(HERE, cancel=True)),
        # Counters: numbered since the last fact.
        (FEED, {"is_fact": False, "fact": 3, "counter": 3}, rules.Accepted(3, 3, False, False, NO_TEXTS)),
        (FEED, {"is_fact": False, "fact": 3, "counter": 9}, rules.Accepted(3, 9, False, False, NO_TEXTS)),
        (FEED, {"is_fact": False, "fact": 3, "counter": 2}, DUPLICATE),
        (FEED, {"is_fact": False, "fact": 2, "counter": 9}, DUPLICATE),
        (FEED, {"is_fact": False, "fact": 4, "counter": 1}, Conflict(3)),
        # The fence.
        (FEED, {"run": 1, "fact": 4}, Fenced(2)),
        (FEED, {"run": 3, "fact": 4}, Missing()),
        (FEED, {"fact": 4, "delivery": "mine"}, rules.Accepted(4, 0, False, False, NO_TEXTS)),
        (FEED, {"fact": 4, "delivery": "another's"}, Fenced(2)),
        (ENDED, {"run": 1, "fact": 4}, Fenced(2)),
        (ENDED, {"fact": 3}, Duplicate(HERE, cancel=False)),
        # States.
        (ENDED, {"fact": 4}, Closed(SUCCEEDED)),
        (FEED, {"fact": 4, "state": QUEUED}, Closed(RUNNING)),
        (FEED, {"fact": 4, "state": RETRYING}, rules.Accepted(4, 0, True, False, NO_TEXTS)),
        (FEED, {"fact": 4, "state": SUCCEEDED}, rules.Accepted(4, 0, True, False, NO_TEXTS)),
        (FEED, {"fact": 4, "state": RUNNING}, rules.Accepted(4, 0, False, False, NO_TEXTS)),
        # A stalled run is told so, unless it reports a state itself.
        (replace(FEED, state=STALLED), {"fact": 4}, rules.Accepted(4, 0, False, True, NO_TEXTS)),
        (replace(FEED, state=STALLED), {"fact": 4, "state": RUNNING}, rules.Accepted(4, 0, False, False, NO_TEXTS)),
        # Web and reaper have no run, and leave its numbers.
        (FEED, {"run": 0, "state": STALLED}, rules.Accepted(3, 2, False, False, NO_TEXTS)),
        (FEED, {"run": 0, "state": LOST}, rules.Accepted(3, 2, True, False, NO_TEXTS)),
        (ENDED, {"run": 0, "state": LOST}, Closed(SUCCEEDED)),
        (replace(FEED, run=0), {"run": 0}, rules.Accepted(3, 2, False, False, NO_TEXTS)),
    ],
)
def test_an_append_is_accepted_or_refused(feed, event, decided):
    given = {"is_fact": True, "state": None, "run": 2, "fact": 0, "counter": 0, "delivery": "", **event}
    assert rules.append(feed, **given) == decided


@pytest.mark.parametrize(
    ("feed", "run", "left", "decided"),
    [
        (FEED, 2, 3.9, True),
        (FEED, 2, 4.0, False),
        (FEED, 2, -1.0, True),
        (FEED, 2, None, True),
        (FEED, 0, 1.0, False),
        (replace(FEED, live=False), 2, 1.0, False),
    ],
)
def test_a_run_prolongs_its_lease_once_half_of_it_is_over(feed, run, left, decided):
    assert rules.prolongs(feed, run, left=left, lease=8.0) is decided


@pytest.mark.parametrize(
    ("held", "first", "fits", "decided"),
    [
        (HERE, 1, True, True),
        (replace(HERE, seq=7, facts=4), 5, True, True),
        (replace(HERE, seq=7, facts=3), 5, True, False),
        (replace(HERE, seq=7, facts=4), 5, False, False),
        (replace(HERE, epoch="f" * 8), 1, True, False),
        (replace(HERE, seq=10), 1, True, False),
        (replace(HERE, facts=6), 1, True, False),
        (replace(HERE, chain="d" * 16), 1, True, False),
    ],
)
def test_a_reader_is_recovered_if_every_fact_after_it_is_kept_and_follows(held, first, fits, decided):
    assert rules.is_recovered(HERE, held, first=first, fits=fits) is decided


@pytest.mark.parametrize(
    ("feed", "asks", "decided"),
    [
        # It isn't running.
        (replace(FEED, live=False), {}, rules.Begun(3, 1, 0, "now", "old older", NO_TEXTS)),
        (replace(FEED, live=False, state=QUEUED, run=0), {}, rules.Begun(1, 1, 0, "now", "old older", NO_TEXTS)),
        (replace(FEED, live=False, cancel=1), {}, rules.Begun(3, 0, 0, "now", "old older", NO_TEXTS)),
        (replace(FEED, live=False), {"publication": "new"}, rules.Begun(3, 1, 0, "new", "old older", NO_TEXTS)),
        # It is running.
        (FEED, {}, Busy(2, 5.0)),
        (FEED, {"left": 0.001}, Busy(2, 0.001)),
        (FEED, {"retries": 0}, Busy(2, 5.0)),
        (FEED, {"delivery": "mine"}, rules.Again()),
        (replace(FEED, cancel=2), {"delivery": "mine"}, rules.Again()),
        (replace(FEED, live=False), {"delivery": "mine"}, rules.Begun(3, 1, 0, "now", "old older", NO_TEXTS)),
        # A higher retry supersedes it; its publication has ended then.
        (FEED, {"retries": 2}, rules.Begun(3, 1, 0, "now", "old older", NO_TEXTS)),
        (FEED, {"retries": 2, "publication": "now"}, rules.Begun(3, 1, 0, "now", "old older", NO_TEXTS)),
        (FEED, {"retries": 2, "publication": "new"}, rules.Begun(3, 1, 0, "new", "old older now", NO_TEXTS)),
        # It has ended silently.
        (FEED, {"left": 0.0}, rules.Begun(3, 1, 1, "now", "old older", NO_TEXTS)),
        (FEED, {"left": -1.0}, rules.Begun(3, 1, 1, "now", "old older", NO_TEXTS)),
        (FEED, {"left": None}, rules.Begun(3, 1, 1, "now", "old older", NO_TEXTS)),
        (FEED, {"left": -1.0, "publication": "new"}, rules.Begun(3, 1, 1, "new", "old older", NO_TEXTS)),
        (replace(FEED, silent=1), {"left": -1.0}, rules.Begun(3, 1, 2, "now", "old older", NO_TEXTS)),
        (replace(FEED, silent=2), {"left": -1.0}, rules.GivenUp(3)),
        (
            replace(FEED, silent=2),
            {"left": -1.0, "may_fail": False},
            rules.Begun(3, 1, 3, "now", "old older", NO_TEXTS),
        ),
        (replace(FEED, silent=2), {"retries": 2}, rules.Begun(3, 1, 2, "now", "old older", NO_TEXTS)),
        # It has ended.
        *((replace(FEED, state=state, live=False), {}, Closed(state)) for state in TERMINAL),
        (ENDED, {"publication": "new"}, Missing()),
        (ENDED, {"publication": "now"}, Closed(SUCCEEDED)),
        (FAILED_RUN, {"publication": "now", "replayed": True}, Missing()),
        (FEED, {"publication": "old"}, Closed(RUNNING)),
        (FEED, {"publication": "old", "delivery": "mine"}, Closed(RUNNING)),
    ],
)
def test_a_claim_begins_a_run_or_is_refused(feed, asks, decided):
    given = {
        "delivery": "another's",
        "retries": 1,
        "left": 5.0,
        "publication": "",
        "replayed": False,
        "may_fail": True,
        **asks,
    }
    assert rules.claim(feed, **given) == decided


@pytest.mark.parametrize(
    ("feed", "run", "delivery", "decided"),
    [
        (FEED, 2, "", True),
        (FEED, 2, "mine", True),
        (FEED, 2, "another's", False),
        (FEED, 1, "", False),
        (FEED, 3, "", False),
        (replace(FEED, live=False), 2, "", False),
    ],
)
def test_only_the_current_live_run_is_valid(feed, run, delivery, decided):
    assert rules.is_valid(feed, run, delivery=delivery) is decided


@pytest.mark.parametrize(
    ("feed", "valid", "decided"),
    [
        (None, False, Held(False, False)),
        (FEED, True, Held(True, False)),
        (replace(FEED, cancel=1), True, Held(True, True)),
        (replace(FEED, cancel=2), False, Held(False, True, force=True)),
        (replace(FEED, state=STALLED), True, Held(True, False, stalled=True)),
    ],
)
def test_a_run_hears_of_cancelling_of_force_and_that_it_is_called_stalled(feed, valid, decided):
    assert rules.held(feed, valid=valid) == decided


@pytest.mark.parametrize(
    ("feed", "verdict", "decided"),
    [
        (FEED, {}, None),
        (FEED, {"left": 0.0}, None),
        (FEED, {"left": 0.001}, Closed(RUNNING)),
        (FEED, {"left": None}, Closed(RUNNING)),
        (FEED, {"run": 1}, Closed(RUNNING)),
        (FEED, {"run": 3}, Closed(RUNNING)),
        (replace(FEED, state=STALLED), {"state": STALLED}, Closed(STALLED)),
        (replace(FEED, state=STALLED), {}, None),
        (ENDED, {}, Closed(SUCCEEDED)),
    ],
)
def test_a_verdict_is_written_only_over_a_run_whose_lease_has_ended(feed, verdict, decided):
    given = {"run": 2, "state": LOST, "left": -1.0, **verdict}
    assert rules.conclude(feed, given.pop("run"), **given) == decided


@pytest.mark.parametrize(
    ("feed", "writer", "decided"),
    [
        (None, {}, rules.Rebased(True, 0)),
        (None, {"state": CANCELLING}, rules.Rebased(True, 1)),
        (None, {"state": FAILED}, rules.Rebased(False, 0)),
        (None, {"state": RETRYING}, rules.Rebased(True, 0)),
        (FEED, {}, rules.Rebased(True, 0)),
        (FEED, {"run": 3, "delivery": "another's"}, rules.Rebased(True, 0)),
        (FEED, {"delivery": "another's"}, Fenced(2)),
        (FEED, {"run": 1}, Fenced(2)),
        (ENDED, {"run": 1}, Fenced(2)),
        (ENDED, {}, Closed(SUCCEEDED)),
    ],
)
def test_a_writer_opens_its_feed_again_unless_another_has_begun_or_it_has_ended(feed, writer, decided):
    given = {"run": 2, "delivery": "mine", "state": RUNNING, **writer}
    assert rules.rebase(feed, given.pop("run"), **given) == decided


@pytest.mark.parametrize(
    ("feed", "asks", "decided"),
    [
        (FEED, {}, rules.Cancelled(1, at_once=False)),
        (FEED, {"force": True}, rules.Cancelled(2, at_once=False)),
        (replace(FEED, state=QUEUED), {}, rules.Cancelled(1, at_once=True)),
        (replace(FEED, state=RETRYING), {}, rules.Cancelled(1, at_once=True)),
        (replace(FEED, state=STALLED), {}, rules.Cancelled(1, at_once=False)),
        (replace(FEED, state=STALLED), {"has_lease": False}, rules.Cancelled(1, at_once=True)),
        (FEED, {"has_lease": False}, rules.Cancelled(1, at_once=False)),
        (replace(FEED, state=CANCELLING, cancel=1), {}, Duplicate(HERE, cancel=True)),
        (replace(FEED, state=CANCELLING, cancel=1), {"force": True}, rules.Cancelled(2, at_once=False)),
        (replace(FEED, state=CANCELLING, cancel=2), {"force": True}, Duplicate(HERE, cancel=True)),
        (replace(FEED, state=CANCELLING, cancel=2), {}, Duplicate(HERE, cancel=True)),
        *((replace(FEED, state=state, cancel=1), {}, Closed(state)) for state in TERMINAL),
    ],
)
def test_a_cancel_takes_place_at_once_where_nothing_runs(feed, asks, decided):
    assert rules.cancel(feed, **{"force": False, "has_lease": True, **asks}) == decided


@pytest.mark.parametrize("state", [*STATES, None])
def test_a_removed_feed_has_ended(state):
    assert rules.state_once_removed(state) == (state if state in TERMINAL else "cancelled")


def inbox(*keys, earlier=0):
    return {**{key: {"title": key} for key in keys}, "unread": len(keys) + earlier, "earlier": earlier}


NOTICE = {"title": "new"}
FULL = tuple(f"task:{number}" for number in range(30))


@pytest.mark.parametrize(
    ("document", "unread", "decided"),
    [
        ({}, 1, {"unread": 1, "earlier": 0}),
        (inbox("task:a"), 2, {"unread": 2, "earlier": 0}),
        (inbox(*FULL[1:]), 30, {"unread": 30, "earlier": 0}),
        (inbox(*FULL), 31, {"task:0": None, "unread": 31, "earlier": 1}),
        (inbox(*FULL, earlier=4), 35, {"task:0": None, "unread": 35, "earlier": 5}),
    ],
)
def test_a_notice_is_shown_among_the_newest_30(document, unread, decided):
    assert rules.notify(document, "task:new", NOTICE, unread=unread) == {"task:new": NOTICE, **decided}


@pytest.mark.parametrize(
    ("document", "taken", "unread", "decided"),
    [
        (inbox("task:a"), {"task:a"}, 0, {"task:a": None, "unread": 0, "earlier": 0}),
        (inbox("task:a", "task:b"), {"task:a"}, 1, {"task:a": None, "unread": 1, "earlier": 0}),
        (inbox("task:a", earlier=2), {"task:earlier"}, 2, {"unread": 2, "earlier": 1}),
        (inbox("task:a", earlier=2), {"task:a", "task:earlier"}, 1, {"task:a": None, "unread": 1, "earlier": 1}),
    ],
)
def test_what_is_acknowledged_leaves_the_inbox(document, taken, unread, decided):
    assert rules.acknowledge(document, taken, unread=unread) == decided


def test_a_notice_of_512_bytes_is_taken_and_one_more_is_refused():
    room = 512 - len('{"title":""}')
    assert len(rules.encode_notice({"title": "x" * room})) == 512
    with pytest.raises(InvalidEvent, match=r"A notice of 513 bytes is over the limit of 512\. Shorten it\."):
        rules.encode_notice({"title": "x" * (room + 1)})


@pytest.mark.parametrize(
    ("feed", "cursor", "removed", "decided"),
    [
        ("task:a", None, False, Gone.UNKNOWN),
        ("group:a", None, False, Gone.UNKNOWN),
        ("user:a", None, False, rules.INBOX_START),
        ("task:a", HERE, False, HERE),
        ("task:a", HERE, True, Gone.REMOVED),
    ],
)
def test_a_feed_stands_somewhere_or_is_gone(feed, cursor, removed, decided):
    assert rules.head_of(feed, cursor, removed=removed) == decided


@pytest.mark.parametrize(
    ("cursor", "recovered"), [(None, True), (Cursor("0" * 8, 0, 0, ZERO_CHAIN), True), (HERE, False)]
)
def test_an_inbox_that_nobody_has_made_reads_as_empty(cursor, recovered):
    reading = rules.read_unknown("user:a", cursor)
    assert (reading.document, reading.events) == ({"unread": 0, "earlier": 0}, ())
    assert (reading.cursor, reading.recovered) == (rules.INBOX_START, recovered)
    assert rules.read_unknown("task:a", cursor) is None

"""A task's id may be used again; the publication distinguishes that from a redelivered message."""

from __future__ import annotations

from dataclasses import replace

import pytest

from petiole.journal import Journal
from petiole.journal.answers import Busy, Claimed, Closed, Duplicate, Expired, Fenced, Missing
from petiole.journal.rules import PUBLICATIONS_KEPT
from petiole.protocol.events import Cursor
from tests.contract.backends import (
    FEED,
    LONG,
    OWNER,
    SHORT,
    Backend,
    claim,
    document,
    line,
    opened,
    reading,
    state,
    stored,
)

FIRST, SECOND, THIRD = "00000001", "00000002", "00000003"


def ended(journal: Journal, how: str = "succeeded", publication: str = FIRST) -> Claimed:
    """Open a feed, run its task, and end it."""
    opened(journal, publication=publication)
    run = claim(journal, publication=publication, delivery=f"of {publication}")
    assert isinstance(run, Claimed)
    fact = run.facts_written + 1
    stored(journal.append(FEED, state(how), run=run.run, fact=fact, delivery=f"of {publication}"))
    return run


def test_a_publication_that_has_ended_is_closed(journal: Journal) -> None:
    ended(journal)
    assert claim(journal, publication=FIRST, delivery="again") == Closed("succeeded")
    before = journal.snapshot(FEED)
    opened(journal, publication=FIRST)
    assert journal.snapshot(FEED) == before


def test_a_message_without_a_publication_is_taken_for_a_late_one(journal: Journal) -> None:
    ended(journal)
    assert claim(journal, delivery="again") == Closed("succeeded")


def test_another_publication_begins_an_ended_feed_again_in_a_new_epoch(journal: Journal) -> None:
    first = ended(journal)
    assert claim(journal, publication=SECOND, delivery="second") == Missing()
    cursor = opened(journal, publication=SECOND)
    assert cursor.epoch != first.cursor.epoch
    assert document(journal)["state"] == "queued"
    assert FEED not in journal.pending(limit=10)
    second = claim(journal, publication=SECOND, delivery="second")
    assert isinstance(second, Claimed)
    assert second.run == first.run + 1
    assert [event.patch["state"] for event in reading(journal).events] == ["queued", "running"]
    assert not reading(journal, first.cursor).recovered
    # And neither of them runs once more.
    stored(journal.append(FEED, state("succeeded"), run=second.run, fact=2, delivery="second"))
    for publication in (FIRST, SECOND):
        assert claim(journal, publication=publication, delivery="late") == Closed("succeeded")


def test_another_publication_waits_until_the_present_one_has_ended(journal: Journal) -> None:
    opened(journal, publication=FIRST)
    assert isinstance(claim(journal, publication=FIRST), Claimed)
    opened(journal, publication=SECOND)
    assert document(journal)["state"] == "running"
    assert isinstance(claim(journal, publication=SECOND, delivery="second"), Busy)
    stored(journal.append(FEED, state("succeeded"), run=1, fact=2, delivery="delivery-1"))
    assert claim(journal, publication=SECOND, delivery="second") == Missing()


def test_what_is_left_of_an_earlier_run_is_fenced_after_the_feed_has_begun_again(journal: Journal) -> None:
    first = ended(journal)
    opened(journal, publication=SECOND)
    late = {"run": first.run, "delivery": f"of {FIRST}"}
    assert journal.append(FEED, line(), fact=3, **late) == Fenced(first.run)
    assert journal.append(FEED, state("failed"), fact=2, **late) == Fenced(first.run)
    rebased = journal.rebase(
        FEED,
        owner=OWNER,
        retries=0,
        last=Cursor("0badcafe", 9, 9, "0" * 16),
        fact=2,
        document={"state": "succeeded"},
        worker="worker-1",
        lease=LONG,
        **late,
    )
    assert rebased == Fenced(first.run)
    assert not journal.check(FEED, first.run, delivery=f"of {FIRST}").valid
    assert document(journal)["state"] == "queued"


def test_a_handed_over_publication_is_closed_between_two_attempts(journal: Journal) -> None:
    opened(journal, publication=FIRST)
    claim(journal, publication=FIRST)
    retrying = replace(state("retrying"), successor=SECOND)
    for _ in range(2):
        answer = journal.append(FEED, retrying, run=1, fact=2, delivery="delivery-1")
    assert isinstance(answer, Duplicate)
    assert claim(journal, publication=FIRST, delivery="late") == Closed("retrying")
    second = claim(journal, publication=SECOND, delivery="second", retries=1)
    assert isinstance(second, Claimed)
    assert claim(journal, publication=FIRST, delivery="late", retries=1) == Closed("running")
    # Events of the first run meanwhile don't matter.
    assert journal.append(FEED, line(), run=1, fact=3, delivery="delivery-1") == Fenced(2)


def test_a_message_that_the_worker_gave_back_is_claimed_again(journal: Journal) -> None:
    opened(journal, publication=FIRST)
    claim(journal, publication=FIRST)
    stored(journal.append(FEED, state("retrying"), run=1, fact=2, delivery="delivery-1"))
    assert isinstance(claim(journal, publication=FIRST, delivery="second"), Claimed)


def test_a_retry_whose_first_attempt_could_not_say_so_closes_it(journal: Journal) -> None:
    opened(journal, publication=FIRST)
    claim(journal, publication=FIRST)
    assert isinstance(claim(journal, publication=SECOND, delivery="second", retries=1), Claimed)
    assert claim(journal, publication=FIRST, delivery="late") == Closed("running")


def test_a_task_that_was_cancelled_while_it_was_queued_never_runs(journal: Journal) -> None:
    opened(journal, publication=FIRST)
    stored(journal.cancel(FEED, cancelling=state("cancelling"), cancelled=state("cancelled")))
    for replayed in (False, True):
        assert claim(journal, publication=FIRST, replayed=replayed) == Closed("cancelled")


def test_a_retry_that_is_cancelled_while_it_waits_never_runs(journal: Journal) -> None:
    opened(journal, publication=FIRST)
    claim(journal, publication=FIRST)
    stored(journal.append(FEED, replace(state("retrying"), successor=SECOND), run=1, fact=2, delivery="delivery-1"))
    stored(journal.cancel(FEED, cancelling=state("cancelling"), cancelled=state("cancelled")))
    for publication in (FIRST, SECOND):
        assert claim(journal, publication=publication, delivery="late", retries=1) == Closed("cancelled")


@pytest.mark.parametrize(
    ("how", "runs"), [("failed", True), ("lost", True), ("succeeded", False), ("cancelled", False)]
)
def test_a_replayed_message_runs_if_its_task_has_failed_or_was_lost(journal: Journal, how: str, runs: bool) -> None:
    ended(journal, how)
    answer = claim(journal, publication=FIRST, delivery="replayed", replayed=True)
    before = journal.snapshot(FEED)
    cursor = opened(journal, publication=FIRST, replayed=True)
    if not runs:
        assert answer == Closed(how)
        assert journal.snapshot(FEED) == before
        return
    assert answer == Missing()
    assert before is not None
    assert cursor.epoch != before.cursor.epoch
    second = claim(journal, publication=FIRST, delivery="replayed", replayed=True)
    assert isinstance(second, Claimed)
    stored(journal.append(FEED, state("succeeded"), run=second.run, fact=2, delivery="replayed"))
    assert claim(journal, publication=FIRST, delivery="once more", replayed=True) == Closed("succeeded")


def test_a_removed_task_begins_again_for_a_new_publication_only(journal: Journal) -> None:
    ended(journal, "failed")
    journal.remove(FEED)
    assert claim(journal, publication=FIRST, delivery="late", replayed=True) == Closed("failed")
    assert claim(journal, publication=SECOND, delivery="second") == Missing()
    opened(journal, publication=SECOND)
    assert document(journal)["title"] == "Export"
    assert isinstance(claim(journal, publication=SECOND, delivery="second"), Claimed)
    assert claim(journal, publication=FIRST, delivery="late") == Closed("running")


def test_a_feed_that_begins_again_is_listed_as_its_new_owners(journal: Journal) -> None:
    ended(journal)
    journal.open(FEED, owner="bob", draft=state("queued"), publication=SECOND)
    assert [snapshot.feed for snapshot in journal.list("bob", limit=5)[0]] == [FEED]
    assert journal.list(OWNER, limit=5)[0] == []


def test_the_publication_is_kept_when_a_run_opens_its_feed_again_after_a_loss(journal: Journal) -> None:
    opened(journal, publication=FIRST)
    run = claim(journal, publication=FIRST)
    journal.forget(FEED)
    journal.rebase(
        FEED,
        owner=OWNER,
        run=run.run,
        delivery="delivery-1",
        retries=0,
        last=run.cursor,
        fact=1,
        document={"state": "running"},
        worker="worker-1",
        lease=LONG,
        publication=FIRST,
    )
    stored(journal.append(FEED, state("succeeded"), run=1, fact=2, delivery="delivery-1"))
    assert claim(journal, publication=FIRST, delivery="late") == Closed("succeeded")


def test_a_dead_run_of_another_publication_is_taken_over_and_its_own_message_still_runs(backend: Backend) -> None:
    journal = backend.make()
    opened(journal, publication=FIRST)
    claim(journal, publication=FIRST, lease=SHORT)
    backend.end_lease(journal, FEED)
    assert isinstance(claim(journal, publication=SECOND, delivery="second"), Claimed)
    assert isinstance(claim(journal, publication=FIRST, delivery="returned"), Busy)
    stored(journal.append(FEED, state("succeeded"), run=2, fact=2, delivery="second"))
    assert claim(journal, publication=FIRST, delivery="returned") == Missing()


def test_as_many_ended_publications_are_known_as_are_kept(journal: Journal) -> None:
    names = [f"{number:08x}" for number in range(PUBLICATIONS_KEPT + 2)]
    for name in names:
        ended(journal, publication=name)
    assert claim(journal, publication=names[-1], delivery="late") == Closed("succeeded")
    for name in names[1:-1]:
        assert claim(journal, publication=name, delivery="late") == Closed("succeeded")
    assert claim(journal, publication=names[0], delivery="late") == Missing()


def test_the_first_publication_that_comes_is_the_present_one(journal: Journal) -> None:
    """Two were published before either was delivered, and the second comes first."""
    opened(journal, publication=FIRST)
    opened(journal, publication=SECOND)
    assert isinstance(claim(journal, publication=SECOND), Claimed)
    stored(journal.append(FEED, state("succeeded"), run=1, fact=2, delivery="delivery-1"))
    assert claim(journal, publication=SECOND, delivery="late") == Closed("succeeded")
    assert claim(journal, publication=FIRST, delivery="first") == Missing()


def test_a_confirmed_feed_that_no_worker_begins_is_expired_as_one_that_waits(backend: Backend) -> None:
    journal = backend.make()
    opened(journal, lease=LONG)
    journal.confirm(FEED, lease=SHORT)
    backend.end_lease(journal, FEED)
    assert journal.expired(limit=10) == [Expired(FEED, 0, waits=True)]
    assert journal.heads([FEED])[FEED].waits
    stored(journal.conclude(FEED, 0, line(), lease=LONG))
    assert journal.expired(limit=10) == []
    claim(journal)
    # Late: a worker has it.
    journal.confirm(FEED, lease=SHORT)
    left = journal.heads([FEED])[FEED].lease_left
    assert left is not None
    assert left > LONG / 2


def test_a_confirmed_feed_that_begins_again_waits_too_whatever_its_runs_before(backend: Backend) -> None:
    journal = backend.make()
    ended(journal)
    opened(journal, publication=SECOND, lease=LONG)
    assert not journal.heads([FEED])[FEED].waits
    journal.confirm(FEED, lease=SHORT)
    backend.end_lease(journal, FEED)
    assert journal.expired(limit=10) == [Expired(FEED, 1, waits=True)]
    stored(journal.conclude(FEED, 1, state("succeeded")))
    assert document(journal)["state"] == "succeeded"


def test_a_retry_that_was_published_waits_unless_its_run_has_begun(backend: Backend) -> None:
    journal = backend.make()
    opened(journal, publication=FIRST)
    claim(journal, publication=FIRST)
    stored(journal.append(FEED, replace(state("retrying"), successor=SECOND), run=1, fact=2, delivery="delivery-1"))
    journal.confirm(FEED, run=1, lease=SHORT)
    backend.end_lease(journal, FEED)
    assert journal.expired(limit=10) == [Expired(FEED, 1, waits=True)]
    claim(journal, publication=SECOND, delivery="second", retries=1)
    journal.confirm(FEED, run=1, lease=SHORT)
    left = journal.heads([FEED])[FEED].lease_left
    assert left is not None
    assert left > LONG / 2

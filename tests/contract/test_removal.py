"""A removed feed: it can't be read, and its task doesn't begin again."""

from __future__ import annotations

import pytest

from petiole.journal import Journal
from petiole.journal.answers import Closed, Duplicate, Missing, Stored
from tests.contract.backends import FEED, LONG, OWNER, claim, claimed, line, opened, state


def assert_unknown(journal: Journal) -> None:
    assert journal.snapshot(FEED) is None
    assert journal.read(FEED, None, limit=10) is None
    assert journal.list(OWNER, limit=10)[0] == []
    assert journal.message(FEED) == ""
    assert FEED not in journal.pending(limit=10)
    assert FEED not in [expired.feed for expired in journal.expired(limit=10)]


def test_a_finished_task_is_gone_with_its_notice(journal: Journal) -> None:
    opened(journal, message="to send again")
    journal.append(FEED, state("failed"))
    assert FEED in journal.pending(limit=10)
    journal.remove(FEED)
    assert_unknown(journal)


def test_a_late_message_of_a_removed_task_never_runs(journal: Journal) -> None:
    opened(journal, lease=LONG)
    journal.remove(FEED)
    assert_unknown(journal)
    assert claim(journal) == Closed("cancelled")
    opened(journal)
    assert_unknown(journal)


def test_a_run_of_a_removed_task_is_not_valid_and_writes_no_more(journal: Journal) -> None:
    run = claimed(journal)
    journal.remove(FEED)
    held = journal.check(FEED, run.run)
    assert not held.valid
    assert held.cancel
    assert not journal.renew("worker-1", [FEED], lease=LONG)[FEED].valid
    assert journal.append(FEED, line(), run=run.run, fact=2, delivery="delivery-1") == Closed("cancelled")
    again = journal.rebase(
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
    )
    assert again == Closed("cancelled")
    assert_unknown(journal)


def test_the_head_of_a_removed_feed_belongs_to_nobody(journal: Journal) -> None:
    opened(journal)
    journal.remove(FEED)
    assert journal.heads([FEED])[FEED].owner == ""


def test_removing_what_is_not_there_changes_nothing(journal: Journal) -> None:
    journal.remove(FEED)
    assert journal.heads([FEED]) == {}
    assert claim(journal) == Missing()


@pytest.mark.parametrize("message", ["", "of the run"])
def test_the_message_of_the_start_is_kept_until_a_claim_brings_another(journal: Journal, message: str) -> None:
    opened(journal, message="of the start")
    assert journal.message(FEED) == "of the start"
    claim(journal, message=message)
    assert journal.message(FEED) == (message or "of the start")
    journal.append(FEED, state("failed"))
    assert journal.message(FEED) == (message or "of the start")
    assert isinstance(journal.append(FEED, line()), Closed | Stored | Duplicate)

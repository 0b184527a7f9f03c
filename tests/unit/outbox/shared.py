"""What the tests of the outbox share."""

from __future__ import annotations

from petiole.journal.answers import Claimed, Stored
from petiole.protocol.events import Draft
from tests.support.memory_journal import MemoryJournal
from tests.support.waiting import wait_until
from tests.unit.runs import (
    FEED,
    OWNER,
    WORKER,
    Faults,
    begin,
    facts,
)

TOO_FAST = "events were dropped, because they came faster than the journal takes them."
RARELY = 0.01  # counters a second: the next one is due in 100 s


def cancel(journal):
    return journal.cancel(
        FEED, cancelling=Draft("state", {"state": "cancelling"}), cancelled=Draft("state", {"state": "cancelled"})
    )


def supersede(journal):
    assert begin(journal, delivery="delivery-2", retries=1).run == 2


def fall_back(journal: Faults, make_settings, *, keep: int) -> None:
    """Replace the journal by a copy of the feed with only its first `keep` facts: a lagging replica."""
    copy = MemoryJournal(make_settings())
    drafts = [Draft(event.kind, event.patch, event.progress, event.data, event.id) for event in facts(journal)]
    copy.open(FEED, owner=OWNER, draft=drafts[0], epoch="0123abcd")
    claimed = copy.claim(FEED, drafts[1], worker=WORKER, delivery="delivery-1", retries=0, lease=600)
    assert isinstance(claimed, Claimed)
    for number, draft in enumerate(drafts[2:keep], start=2):
        assert isinstance(copy.append(FEED, draft, run=1, fact=number), Stored)
    journal.target = copy


def answered(outbox):
    """Wait until the answer to the last begun append has arrived, but hasn't been taken."""
    wait_until(lambda: outbox._queue[0].begun.poll() is not None, what="it is answered")

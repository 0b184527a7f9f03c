"""Each state of a task × what can happen to it, on every backend: the third table of `docs/protocol.md`."""

from __future__ import annotations

import pytest

from petiole.journal.answers import Busy, Claimed, Closed, Duplicate, Fenced, Held, Missing, Stored
from petiole.protocol.events import Cursor
from petiole.protocol.states import ACTIVE, PREDECESSORS, TERMINAL
from tests.contract.backends import (
    FEED,
    LONG,
    OWNER,
    SHORT,
    WORKER,
    claim,
    claimed,
    counter,
    document,
    line,
    opened,
    reading,
    state,
    stored,
)

STATES = (*ACTIVE, *TERMINAL)
HAS_RUN = [name for name in STATES if name != "queued"]
HAS_LIVE_RUN = ("running", "stalled", "cancelling")


def cancel(journal):
    return journal.cancel(FEED, cancelling=state("cancelling"), cancelled=state("cancelled"))


def bring(journal, name, *, run=1):
    """Bring the feed's newest run, if it has one, to a state; return the run's next fact."""
    match name:
        case "running":
            return 2
        case "stalled" | "lost":
            stored(journal.append(FEED, state(name)))
            return 2
        case "cancelling":
            stored(cancel(journal))
            return 2
        case _:
            stored(journal.append(FEED, state(name), run=run, fact=2))
            return 3


def at(journal, name, *, lease=LONG):
    """Open a feed and bring it to a state, within its first run."""
    if name == "queued":
        opened(journal, lease=lease)
        return 1
    claimed(journal, lease=lease)
    return bring(journal, name)


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("current", STATES)
def test_what_its_run_may_say_in_each_state(journal, current, name):
    fact = at(journal, current)
    answer = journal.append(FEED, state(name), run=1, fact=fact)
    if current == "queued":
        assert answer == Missing()
    elif current in PREDECESSORS[name]:
        assert isinstance(answer, Stored)
        assert document(journal)["state"] == name
    else:
        assert answer == Closed(current)
        assert document(journal)["state"] == current


@pytest.mark.parametrize("current", HAS_RUN)
def test_a_run_may_say_what_is_no_state_until_the_end(journal, current):
    fact = at(journal, current)
    for draft, number, count in ((counter(1), fact - 1, 1), (line(), fact, 0)):
        answer = journal.append(FEED, draft, run=1, fact=number, counter=count)
        if current in TERMINAL:
            assert answer == Closed(current)
        else:
            assert isinstance(answer, Stored)


@pytest.mark.parametrize("current", HAS_RUN)
def test_an_old_run_is_fenced_in_each_state(journal, current):
    claimed(journal)
    assert claim(journal, delivery="delivery-2", retries=1).run == 2
    bring(journal, current, run=2)
    before = journal.snapshot(FEED)
    for name in STATES:
        assert journal.append(FEED, state(name), run=1, fact=2) == Fenced(2)
    assert journal.append(FEED, counter(1), run=1, fact=1, counter=1) == Fenced(2)
    assert journal.snapshot(FEED) == before


@pytest.mark.parametrize("current", STATES)
def test_a_claim_in_each_state(journal, current):
    at(journal, current)
    answer = claim(journal, delivery="delivery-2")
    if current in TERMINAL:
        assert answer == Closed(current)
    elif current in HAS_LIVE_RUN:
        assert isinstance(answer, Busy)
        assert document(journal)["state"] == current
    else:
        assert answer.run == (1 if current == "queued" else 2)
        assert document(journal)["state"] == "running"


@pytest.mark.parametrize("current", STATES)
def test_a_retry_in_each_state(journal, current):
    at(journal, current)
    answer = claim(journal, delivery="delivery-2", retries=1)
    if current in TERMINAL:
        assert answer == Closed(current)
    else:
        assert isinstance(answer, Claimed)
        assert (answer.cancel, answer.facts_written) == ((True, 0) if current == "cancelling" else (False, 1))
        assert document(journal)["state"] == ("cancelling" if current == "cancelling" else "running")


@pytest.mark.parametrize("current", STATES)
def test_a_verdict_in_each_state(backend, journal, current):
    at(journal, current, lease=SHORT)
    run = 0 if current == "queued" else 1
    if current in (*HAS_LIVE_RUN, "queued"):
        backend.end_lease(journal, FEED)
        stored(journal.conclude(FEED, run, state("lost")))
        assert document(journal)["state"] == "lost"
    else:
        assert journal.heads([FEED])[FEED].lease_left is None
        assert journal.conclude(FEED, run, state("lost")) == Closed(current)


@pytest.mark.parametrize("current", STATES)
def test_a_cancel_in_each_state(journal, current):
    at(journal, current)
    answer = cancel(journal)
    if current in TERMINAL:
        assert answer == Closed(current)
    elif current == "cancelling":
        assert isinstance(answer, Duplicate)
    else:
        assert isinstance(answer, Stored)
        at_once = current in ("queued", "retrying")
        assert document(journal)["state"] == ("cancelled" if at_once else "cancelling")


@pytest.mark.parametrize("current", HAS_LIVE_RUN)
def test_a_silent_end_in_each_state(backend, journal, current):
    at(journal, current, lease=SHORT)
    backend.end_lease(journal, FEED)
    answer = claim(journal, delivery="delivery-2")
    assert isinstance(answer, Claimed)
    assert answer.run == 2
    assert answer.cancel is (current == "cancelling")
    assert document(journal)["state"] == ("cancelling" if current == "cancelling" else "running")
    assert journal.check(FEED, 1) == Held(False, current == "cancelling")


@pytest.mark.parametrize("current", STATES)
def test_a_journal_that_has_lost_the_task_in_each_state(journal, current):
    fact = at(journal, current)
    last, kept = journal.snapshot(FEED).cursor, document(journal)
    journal.forget(FEED)
    assert journal.read(FEED, last, limit=10) is None
    assert claim(journal) == cancel(journal) == journal.conclude(FEED, 1, state("lost")) == Missing()
    assert journal.append(FEED, line(), run=1, fact=fact) == Missing()
    if current in ("queued", "retrying"):
        assert opened(journal).epoch != last.epoch
        assert claim(journal).run == 1
        assert not reading(journal, last).recovered
    elif current in HAS_LIVE_RUN:
        again = journal.rebase(
            FEED,
            owner=OWNER,
            run=1,
            delivery="delivery-1",
            retries=0,
            last=last,
            fact=fact - 1,
            document=kept,
            worker=WORKER,
            lease=LONG,
        )
        assert isinstance(again, Cursor)
        assert again.epoch != last.epoch
        assert document(journal) == kept
        assert not reading(journal, last).recovered
        stored(journal.append(FEED, line(), run=1, fact=fact))

"""What the children of a group say comes to the journal, also one that was away, or has lost its newest second."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from petiole.dispatch.part import Part
from petiole.errors import Refusal, Unavailable
from petiole.journal.answers import Closed, Counted, Fenced, Missing
from petiole.journal.groups import Child, Contribution
from petiole.protocol import states
from petiole.protocol.events import Draft
from petiole.settings import Settings
from petiole.worker.contributor import Contributor
from tests.support.memory_journal import MemoryJournal
from tests.support.waiting import wait_until

GROUP = "group:contributed"
CHILDREN = 20


class Journal(MemoryJournal):
    """A journal in memory that can be away."""

    is_away = False
    refuses: frozenset[str] | set[str] = frozenset()

    def contribute(
        self, feed: str, said: Sequence[Contribution], *, run: int, lease: float, verdict: bool = False
    ) -> Counted | Fenced | Closed | Missing:
        if self.is_away:
            raise Unavailable("The test has taken it away.")
        if feed in self.refuses:
            raise Refusal("The test has damaged it.")
        return super().contribute(feed, said, run=run, lease=lease, verdict=verdict)


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(lease=5)


@pytest.fixture
def journal(settings: Settings) -> Journal:
    journal = Journal(settings)
    begin(journal)
    return journal


@pytest.fixture
def contributor(journal: Journal, settings: Settings) -> Iterator[Contributor]:
    contributor = Contributor(journal, settings)
    yield contributor
    assert contributor.flush(5)


def begin(journal: Journal) -> None:
    children = [Child(f"child-{number}") for number in range(CHILDREN)]
    document = {"state": states.QUEUED}
    journal.open_group(GROUP, children, owner="ann", draft=Draft("state", document), epoch="0" * 8)


def part(child: int) -> Part:
    return Part(GROUP, 0, child, "ann", f"child-{child}")


def ended(journal: Journal) -> int:
    snapshot = journal.snapshot(GROUP)
    assert snapshot is not None
    return int((snapshot.document.get("progress") or {}).get("completed") or 0)


def test_what_is_said_with_the_journal_away_comes_later(journal: Journal, contributor: Contributor) -> None:
    journal.is_away = True
    for child in range(CHILDREN):
        assert contributor.say(part(child), Contribution(child, states.RUNNING)) is None
        assert contributor.say(part(child), Contribution(child, states.SUCCEEDED)) is None
    assert not contributor.flush(0.05)
    journal.is_away = False
    assert contributor.flush(5)
    assert ended(journal) == CHILDREN


class Later:
    """An answer that comes when the test says so."""

    def __init__(self, journal: SlowJournal, said: Sequence[Contribution]) -> None:
        self.journal, self.said = journal, said

    def __call__(self) -> Counted | Fenced | Closed | Missing:
        return self.journal.contribute(GROUP, self.said, run=0, lease=5)

    def poll(self) -> Counted | Fenced | Closed | Missing | None:
        return self() if self.journal.answers else None


class SlowJournal(Journal):
    """A journal that takes contributions when their answers are read."""

    answers = False

    def contribute_async(self, _feed: str, said: Sequence[Contribution], *, run: int, lease: float) -> Later:
        assert (run, lease) == (0, 5)
        return Later(self, said)


@pytest.fixture
def slow(settings: Settings) -> SlowJournal:
    journal = SlowJournal(settings)
    begin(journal)
    return journal


def test_an_end_is_sent_without_waiting_and_its_answer_is_read_by_the_thread(
    slow: SlowJournal, settings: Settings
) -> None:
    contributor = Contributor(slow, settings)
    contributor.say(part(0), Contribution(0, states.RUNNING))
    assert contributor.send(part(0), Contribution(0, states.SUCCEEDED))
    wait_until(lambda: ended(slow) == 1, what="the thread has read the answer", timeout=2)


def test_an_end_whose_answer_never_came_is_said_again(slow: SlowJournal, settings: Settings) -> None:
    contributor = Contributor(slow, settings)
    for child in range(3):
        assert contributor.send(part(child), Contribution(child, states.SUCCEEDED))
    slow.is_away = True
    assert not contributor.flush(0.05)
    # While the journal is away nothing is sent that would be lost.
    assert not contributor.send(part(3), Contribution(3, states.SUCCEEDED))
    assert ended(slow) == 0
    slow.is_away = False
    assert contributor.flush(5)
    ring(slow)
    assert ended(slow) == 4


def test_the_next_contribution_reads_the_answer_that_has_come(slow: SlowJournal, settings: Settings) -> None:
    contributor = Contributor(slow, settings)
    contributor.send(part(0), Contribution(0, states.SUCCEEDED))
    slow.answers = True
    contributor.say(part(1), Contribution(1, states.RUNNING))
    ring(slow)
    assert ended(slow) == 1


def ring(journal: Journal) -> None:
    """Have the group ring what it has counted."""
    wait_until(
        lambda: journal.contribute(GROUP, [], run=0, lease=5).due is None,  # type: ignore[union-attr]
        what="everything has rung",
    )


def test_a_child_that_begins_while_something_is_being_sent_gets_its_answer(
    journal: Journal, contributor: Contributor
) -> None:
    contributor.say(part(0), Contribution(0, states.RUNNING))
    journal.cancel(
        GROUP, cancelling=Draft("state", {"state": "cancelling"}), cancelled=Draft("state", {"state": "cancelled"})
    )
    for done in range(1, 50):
        contributor.say_later(part(0), Contribution(0, states.RUNNING, done=done))
        answer = contributor.say(part(1), Contribution(1, states.RUNNING))
        assert isinstance(answer, Counted)
        assert answer.ended == (True,)


def test_what_a_journal_that_was_away_has_lost_is_said_again(journal: Journal, contributor: Contributor) -> None:
    contributor.say(part(0), Contribution(0, states.SUCCEEDED))
    journal.is_away = True
    contributor.say(part(1), Contribution(1, states.SUCCEEDED))
    # It comes back without what it had acknowledged last.
    journal.forget(GROUP)
    begin(journal)
    journal.is_away = False
    assert contributor.flush(5)
    wait_until(lambda: ended(journal) == 2, what="both have ended", timeout=1.5)


def test_what_is_lost_unnoticed_is_missed_and_said_again(journal: Journal, contributor: Contributor) -> None:
    for child in range(5):
        contributor.say(part(child), Contribution(child, states.SUCCEEDED))
    journal.forget(GROUP)
    begin(journal)
    wait_until(lambda: ended(journal) == 5, what="all have ended again", timeout=10)


def test_the_last_number_rings_by_itself(journal: Journal, contributor: Contributor) -> None:
    for child in range(CHILDREN - 1):
        contributor.say(part(child), Contribution(child, states.SUCCEEDED))
    wait_until(lambda: ended(journal) == CHILDREN - 1, what="the newest number has rung", timeout=2)


def test_a_group_that_is_to_stop_is_told(journal: Journal, settings: Settings) -> None:
    stopped: list[tuple[str, int]] = []
    contributor = Contributor(journal, settings, on_cancel=lambda feed, run: stopped.append((feed, run)))
    contributor.say(part(0), Contribution(0, states.RUNNING))
    assert stopped == []
    end = Draft("state", {"state": states.CANCELLED})
    journal.cancel(GROUP, cancelling=Draft("state", {"state": states.CANCELLING}), cancelled=end)
    reply = contributor.say(part(1), Contribution(1, states.RUNNING))
    assert isinstance(reply, Counted)
    assert reply.ended == (True,)
    assert stopped == [(GROUP, 0)]


def test_an_unknown_group_keeps_nothing_waiting(journal: Journal, contributor: Contributor) -> None:
    unknown = Part("group:unknown", 0, 0, "ann", "child-0")
    assert isinstance(contributor.say(unknown, Contribution(0, states.SUCCEEDED)), Missing)


def test_a_group_that_alone_is_refused_keeps_no_other_waiting(journal: Journal, contributor: Contributor) -> None:
    journal.refuses = {"group:damaged"}
    damaged = Part("group:damaged", 0, 0, "ann", "child-0")
    assert contributor.say(damaged, Contribution(0, states.SUCCEEDED)) is None
    assert isinstance(contributor.say(part(0), Contribution(0, states.SUCCEEDED)), Counted)
    journal.refuses = set()


def test_a_beginning_after_the_last_end_is_said_again_too(journal: Journal, contributor: Contributor) -> None:
    contributor.say(part(0), Contribution(0, states.SUCCEEDED))
    contributor.say(part(1), Contribution(1, states.RUNNING))
    journal.forget(GROUP)
    begin(journal)
    # What was lost is only the second one.
    journal.contribute(GROUP, [Contribution(0, states.SUCCEEDED)], run=0, lease=5)

    def runs_again() -> bool:
        page = journal.children(GROUP, limit=2)
        return page is not None and page[0][1].state == states.RUNNING

    wait_until(runs_again, what="the second one runs again", timeout=10)

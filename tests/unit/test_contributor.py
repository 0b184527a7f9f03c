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
    calls = 0
    refuses: frozenset[str] | set[str] = frozenset()

    def contribute(
        self, feed: str, said: Sequence[Contribution], *, run: int, lease: float, verdict: bool = False
    ) -> Counted | Fenced | Closed | Missing:
        self.calls += 1
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


def test_a_success_is_said_together_with_the_next_beginning(journal: Journal, contributor: Contributor) -> None:
    contributor.say(part(0), Contribution(0, states.RUNNING))
    assert contributor.hold(part(0), Contribution(0, states.SUCCEEDED))
    calls = journal.calls
    answer = contributor.say(part(1), Contribution(1, states.RUNNING))
    assert journal.calls == calls + 1
    assert isinstance(answer, Counted)
    assert answer.ended == (False,)
    ring(journal)
    assert ended(journal) == 1


def test_a_success_that_nothing_follows_is_said_soon(journal: Journal, contributor: Contributor) -> None:
    contributor.say(part(0), Contribution(0, states.RUNNING))
    contributor.hold(part(0), Contribution(0, states.SUCCEEDED))
    wait_until(lambda: journal.children(GROUP, limit=1)[0][0].state == "succeeded", what="it is said", timeout=2)  # type: ignore[index]


def test_a_second_delivery_of_a_task_whose_success_is_held_does_not_run(
    journal: Journal, contributor: Contributor
) -> None:
    contributor.say(part(0), Contribution(0, states.RUNNING))
    contributor.hold(part(0), Contribution(0, states.SUCCEEDED))
    answer = contributor.say(part(0), Contribution(0, states.RUNNING))
    assert isinstance(answer, Counted)
    assert answer.ended == (True,)


def test_what_is_held_when_the_journal_goes_away_comes_later(journal: Journal, contributor: Contributor) -> None:
    for child in range(3):
        contributor.hold(part(child), Contribution(child, states.SUCCEEDED))
    journal.is_away = True
    assert not contributor.flush(0.05)
    assert not contributor.hold(part(3), Contribution(3, states.SUCCEEDED))
    assert contributor.say(part(4), Contribution(4, states.RUNNING)) is None
    journal.is_away = False
    assert contributor.flush(5)
    ring(journal)
    assert ended(journal) == 4


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


def test_a_process_that_ends_has_rung_its_last_number(journal: Journal, contributor: Contributor) -> None:
    for child in range(CHILDREN - 2):
        contributor.say(part(child), Contribution(child, states.SUCCEEDED))
    contributor.hold(part(CHILDREN - 2), Contribution(CHILDREN - 2, states.SUCCEEDED))
    assert contributor.close(5)
    assert ended(journal) == CHILDREN - 1
    journal.is_away = True
    contributor.say(part(CHILDREN - 1), Contribution(CHILDREN - 1, states.RUNNING))
    assert not contributor.close(0.1)
    journal.is_away = False


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

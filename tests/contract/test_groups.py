"""Groups: one feed that counts many children, each once, on every store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text

from petiole.errors import InvalidName, Refusal
from petiole.journal import Journal
from petiole.journal.answers import Closed, Counted, Duplicate, ExpiredChild, Fenced, Held, ListedChild, Missing, Stored
from petiole.journal.groups import FAILURES_KEPT, MAX_ATTEMPT, RING_EVERY, WHOLE, Child, Contribution
from petiole.journal.sql.url import read_url
from petiole.protocol.events import Cursor, Event, group_feed
from petiole.protocol.reader import Read, Reader, Reading, Reset, Show
from tests.contract.backends import (
    FEED,
    HOSTILE,
    LONG,
    OWNER,
    SHORT,
    Backend,
    MemoryBackend,
    document,
    folded,
    line,
    state,
    stored,
)
from tests.contract.backends import opened as opened_task
from tests.support.waiting import wait_until

GROUP = group_feed("g")
EPOCH = "0000000a"
NEXT_EPOCH = "0000000b"
ERROR = {"message": "ValueError: no such file", "reference": "ab12", "type": "ValueError"}


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"


def chain_of(number: int) -> list[Child]:
    """Children each of which follows the one before."""
    return [Child(uuid(at), (at + 1, number) if at + 1 < number else (0, 0)) for at in range(number)]


def chord_of(header: int) -> list[Child]:
    """The children of a chord: its header, then its body."""
    return [*(Child(uuid(at), (header, header + 1)) for at in range(header)), Child(uuid(header))]


def opened(journal: Journal, children: int | list[Child] = 3, feed: str = GROUP, **more: Any) -> Cursor:
    made = [Child(uuid(at)) for at in range(children)] if isinstance(children, int) else children
    return journal.open_group(
        feed, made, **{"owner": OWNER, "draft": state("queued", title="Thumbnails"), "epoch": EPOCH, **more}
    )


def say(journal: Journal, *said: Contribution, feed: str = GROUP, **more: Any) -> Any:
    return journal.contribute(feed, said, **{"run": 0, "lease": LONG, **more})


def counted(journal: Journal, *said: Contribution, **more: Any) -> Counted:
    answer = say(journal, *said, **more)
    assert isinstance(answer, Counted), answer
    return answer


def end(journal: Journal, state: str, *numbers: int, **more: Any) -> Counted:
    """Have these children begin and end."""
    counted(journal, *(Contribution(number, "running") for number in numbers), **more)
    return counted(journal, *(Contribution(number, state) for number in numbers), **more)


def ring_all(backend: Backend, journal: Journal, **more: Any) -> None:
    """Contribute nothing, as often as it says it is due, until the newest numbers have rung."""
    if isinstance(backend, MemoryBackend):
        backend.now += (counted(journal, **more).due or 0.0) + 0.001
    wait_until(lambda: counted(journal, **more).due is None, what="the newest numbers have rung")


def progress(backend: Backend, journal: Journal, **more: Any) -> dict[str, Any]:
    if not isinstance(say(journal, **more), Closed):
        ring_all(backend, journal, **more)
    return document(journal, GROUP)["progress"]


def counts(backend: Backend, journal: Journal, **more: Any) -> dict[str, int]:
    children = progress(backend, journal, **more)["children"]
    assert [one.state for one in listing(journal)] == sorted_states(listing(journal), children)
    return {name: number for name, number in children.items() if number}


def sorted_states(found: list[ListedChild], children: dict[str, int]) -> list[str]:
    """Return the states of a listing if there are as many of each as the group counts."""
    states = [one.state for one in found]
    assert {name: states.count(name) for name in children} == children
    return states


def listing(journal: Journal, feed: str = GROUP, *, limit: int = 1000, **more: Any) -> list[ListedChild]:
    found: list[ListedChild] = []
    after: int | None = -1
    while after is not None:
        page = journal.children(feed, after=after, limit=limit, **more)
        assert page is not None
        assert len(page[0]) <= limit
        found += page[0]
        after = page[1]
    return found


def states_of(journal: Journal, **more: Any) -> list[str]:
    return [child.state for child in listing(journal, **more)]


def expire(backend: Backend, journal: Journal, *numbers: int) -> tuple[int, list[ExpiredChild]]:
    """Wait until the leases of these children have ended."""
    if isinstance(backend, MemoryBackend):
        backend.now += SHORT + 0.001

    def found() -> list[ExpiredChild]:
        return list(journal.expired_children(GROUP, limit=100)[1])

    wait_until(lambda: {child.number for child in found()} == set(numbers), what=f"{numbers} have expired")
    run, expired = journal.expired_children(GROUP, limit=100)
    return run, list(expired)


def cancel(journal: Journal, **more: Any) -> Any:
    return journal.cancel(GROUP, cancelling=state("cancelling"), cancelled=state("cancelled", reason="by you"), **more)


def repeat(journal: Journal, *numbers: int, **more: Any) -> Any:
    again = state("queued", finished_at=None, reason=None, **{f"error{at}": None for at in range(1, 6)})
    return journal.repeat_children(GROUP, numbers, **{"draft": again, "epoch": NEXT_EPOCH, "lease": LONG, **more})


def reading(journal: Journal, cursor: Cursor | None = None) -> Reading:
    found = journal.read(GROUP, cursor, limit=10_000)
    assert found is not None
    return found


def facts(journal: Journal) -> list[Event]:
    return list(reading(journal).events)


class TestOpening:
    def test_a_group_begins_with_all_of_its_children_queued(self, journal):
        cursor = opened(journal, 3)
        assert (cursor.epoch, cursor.seq, cursor.facts) == (EPOCH, 1, 1)
        assert document(journal, GROUP) == {
            "state": "queued",
            "title": "Thumbnails",
            "progress": {
                "completed": 0,
                "total": 3,
                "fraction": 0,
                "rate": None,
                "time_left": None,
                "stage": None,
                "step": None,
                "unit": "tasks",
                "description": None,
                "children": {
                    "queued": 3,
                    "running": 0,
                    "retrying": 0,
                    "succeeded": 0,
                    "failed": 0,
                    "cancelled": 0,
                    "lost": 0,
                    "skipped": 0,
                },
            },
        }
        assert listing(journal) == [ListedChild(at, uuid(at), "queued", 0) for at in range(3)]
        head = journal.heads([GROUP])[GROUP]
        assert (head.state, head.owner, head.run, head.lease_left) == ("queued", OWNER, 0, None)

    def test_its_lease_ends_as_a_tasks_does(self, backend, journal):
        opened(journal, lease=SHORT)
        backend.end_lease(journal, GROUP)
        [expired] = [lease for lease in journal.expired(limit=100) if lease.feed == GROUP]
        assert (expired.run, expired.waits) == (0, False)
        journal.confirm(GROUP, lease=LONG)
        assert journal.heads([GROUP])[GROUP].waits
        journal.confirm(GROUP)
        assert journal.heads([GROUP])[GROUP].lease_left is None

    def test_an_empty_group_ends_with_the_first_contribution(self, journal):
        opened(journal, 0)
        assert document(journal, GROUP)["progress"]["fraction"] == 1
        assert counted(journal) == Counted(journal.heads([GROUP])[GROUP].cursor, (), None)
        assert document(journal, GROUP)["state"] == "succeeded"
        assert listing(journal) == []

    def test_a_group_of_one_ends_with_its_child(self, journal):
        opened(journal, 1)
        end(journal, "succeeded", 0)
        ended = document(journal, GROUP)
        assert (ended["state"], ended["progress"]["completed"]) == ("succeeded", 1)

    def test_many_children_are_kept_in_their_order(self, journal):
        opened(journal, 3000)
        assert [child.task_id for child in listing(journal)] == [uuid(at) for at in range(3000)]
        assert document(journal, GROUP)["progress"]["total"] == 3000

    def test_ids_may_be_any_text(self, journal):
        names = [*HOSTILE, "00000000-0000-0000-0000-000000000000", uuid(1).upper(), uuid(1).replace("-", ""), "x" * 500]
        opened(journal, [Child(name) for name in names])
        assert [child.task_id for child in listing(journal)] == names
        for number in range(len(names)):
            counted(journal, Contribution(number, "failed", error=ERROR))
        shown = [document(journal, GROUP)[f"error{at}"]["id"] for at in range(1, 6)]
        assert shown == names[:5]

    def test_opened_again_it_is_left_as_it_is(self, backend, journal):
        cursor = opened(journal, 3)
        assert opened(journal, 3) == cursor
        counted(journal, Contribution(1, "succeeded"))
        now = journal.heads([GROUP])[GROUP].cursor
        for epoch in (EPOCH, NEXT_EPOCH):
            assert opened(journal, 5, epoch=epoch) == now
        assert counts(backend, journal) == {"queued": 2, "succeeded": 1}

    def test_only_a_groups_feed_has_children(self, journal):
        with pytest.raises(InvalidName, match=r"task:a is not a group's feed\. Use group:"):
            opened(journal, feed=FEED)
        assert journal.snapshot(FEED) is None

    @pytest.mark.parametrize("voids", [(0, 1), (1, 2), (2, 2), (3, 2), (2, 4)])
    def test_a_child_comes_before_what_it_voids(self, journal, voids):
        with pytest.raises(ValueError, match="Number children in the order in which they begin"):
            opened(journal, [Child(uuid(0)), Child(uuid(1), voids), Child(uuid(2))])
        assert journal.snapshot(GROUP) is None


class TestContributions:
    def test_a_child_begins_gets_on_and_ends(self, backend, journal):
        opened(journal, 2)
        assert counted(journal, Contribution(0, "running")).ended == (False,)
        first = listing(journal)[0]
        assert (first.state, first.fraction) == ("running", 0.0)
        assert first.since
        assert document(journal, GROUP)["state"] == "running"
        assert document(journal, GROUP)["started_at"] == first.since
        counted(journal, Contribution(0, "running", done=WHOLE // 2))
        assert progress(backend, journal)["fraction"] == 0.25
        assert listing(journal)[0].fraction == 0.5
        counted(journal, Contribution(0, "succeeded"))
        assert progress(backend, journal)["fraction"] == 0.5
        assert counts(backend, journal) == {"queued": 1, "succeeded": 1}
        assert listing(journal)[0] == ListedChild(0, uuid(0), "succeeded", 0, None, first.since)

    def test_said_twice_it_counts_once(self, backend, journal):
        opened(journal, 3)
        for said in ("running", "retrying", "succeeded"):
            for _ in range(3):
                counted(journal, Contribution(0, said), Contribution(0, said))
            assert counts(backend, journal) == {"queued": 2, said: 1}

    @pytest.mark.parametrize("first", ["succeeded", "failed", "cancelled", "lost", "skipped"])
    @pytest.mark.parametrize("later", ["running", "retrying", "succeeded", "failed", "lost"])
    def test_an_end_is_final_and_the_child_must_not_run(self, backend, journal, first, later):
        opened(journal, 2)
        counted(journal, Contribution(0, first))
        assert counted(journal, Contribution(0, later, attempt=7), Contribution(1, "running")).ended == (True, False)
        assert counts(backend, journal) == {"running": 1, first: 1}

    def test_a_retry_is_a_later_attempt(self, backend, journal):
        opened(journal, 2)
        for attempt in range(3):
            counted(journal, Contribution(0, "running", attempt, done=100))
            assert counts(backend, journal) == {"queued": 1, "running": 1}
            counted(journal, Contribution(0, "retrying", attempt))
            assert counts(backend, journal) == {"queued": 1, "retrying": 1}
            assert progress(backend, journal)["fraction"] == 0
        counted(journal, Contribution(0, "succeeded", attempt=3))
        assert listing(journal)[0].attempt == 3
        assert counts(backend, journal) == {"queued": 1, "succeeded": 1}

    def test_an_earlier_attempt_is_over(self, backend, journal):
        opened(journal, 2)
        counted(journal, Contribution(0, "running", attempt=1))
        for said in ("running", "retrying", "failed", "succeeded"):
            assert counted(journal, Contribution(0, said, attempt=0)).ended == (False,)
        assert counts(backend, journal) == {"queued": 1, "running": 1}

    def test_a_running_that_comes_late_does_not_undo_a_retry(self, backend, journal):
        opened(journal, 2)
        counted(journal, Contribution(0, "retrying"))
        counted(journal, Contribution(0, "running"))
        assert counts(backend, journal) == {"queued": 1, "retrying": 1}

    def test_a_redelivered_child_runs_again_and_counts_once(self, backend, journal):
        opened(journal, 2)
        counted(journal, Contribution(0, "running", done=5000))
        assert counted(journal, Contribution(0, "running")).ended == (False,)
        assert listing(journal)[0].fraction == 0
        end(journal, "succeeded", 0)
        assert counted(journal, Contribution(0, "running")).ended == (True,)
        assert counts(backend, journal) == {"queued": 1, "succeeded": 1}

    def test_numbers_that_are_too_large_are_kept_at_their_limit(self, backend, journal):
        opened(journal, 2)
        counted(journal, Contribution(0, "running", attempt=10**9, done=10**9))
        assert listing(journal)[0].attempt == MAX_ATTEMPT
        assert listing(journal)[0].fraction == 1
        counted(journal, Contribution(1, "running", done=-5))
        assert listing(journal)[1].fraction == 0
        counted(journal, Contribution(0, "succeeded", attempt=10**9))
        assert counts(backend, journal) == {"running": 1, "succeeded": 1}

    def test_more_than_255_retries_are_seen(self, backend, journal):
        opened(journal, 1)
        counted(journal, Contribution(0, "retrying", attempt=300))
        counted(journal, Contribution(0, "running", attempt=301))
        assert counts(backend, journal) == {"running": 1}

    @pytest.mark.parametrize("number", [3, -1, 2**31])
    def test_a_child_that_the_group_does_not_have_must_not_run(self, backend, journal, number):
        opened(journal, 3)
        assert counted(journal, Contribution(number, "running")).ended == (True,)
        assert counts(backend, journal) == {"queued": 3}

    def test_many_contributions_are_one_step(self, backend, journal):
        opened(journal, 1000)
        answer = counted(journal, *(Contribution(at, "succeeded") for at in range(999)), Contribution(5, "failed"))
        assert answer.ended == (*[False] * 999, True)
        assert counts(backend, journal) == {"queued": 1, "succeeded": 999}

    def test_many_writers_at_once_count_each_child_once(self, server_backend):
        journal = server_backend.make(journal_timeout=20.0)
        opened(journal, 200)

        def run(writer: int) -> int:
            # Each of them runs each child, as if everything were delivered four times.
            return sum(
                isinstance(say(journal, Contribution(at, said)), Counted)
                for at in range(200)
                for said in ("running", "retrying" if (at + writer) % 7 == 0 else "succeeded", "succeeded")
            )

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(run, range(4))) >= 600
        ended = document(journal, GROUP)
        assert (ended["state"], ended["progress"]["completed"]) == ("succeeded", 200)
        assert ended["progress"]["children"]["succeeded"] == 200
        assert [event.patch["state"] for event in facts(journal)] == ["queued", "running", "succeeded"]


class TestVoids:
    def test_what_follows_a_failed_link_is_skipped(self, backend, journal):
        opened(journal, chain_of(4))
        end(journal, "succeeded", 0)
        end(journal, "failed", 1)
        assert states_of(journal) == ["succeeded", "failed", "skipped", "skipped"]
        assert document(journal, GROUP)["state"] == "failed"
        assert document(journal, GROUP)["reason"] == "1 of 4 tasks failed."

    @pytest.mark.parametrize("how", ["failed", "lost", "cancelled", "skipped"])
    def test_the_body_of_a_chord_is_skipped_once(self, backend, journal, how):
        opened(journal, chord_of(3))
        end(journal, how, 0)
        assert counts(backend, journal)["skipped"] == (2 if how == "skipped" else 1)
        end(journal, "failed", 1)
        end(journal, "succeeded", 2)
        assert states_of(journal) == [how, "failed", "succeeded", "skipped"]
        assert say(journal, Contribution(3, "running")) == Closed("failed")

    def test_voids_are_followed(self, backend, journal):
        # A chord whose header has chains: only the rest of its own chain follows each of them, then the body.
        children = [
            Child(uuid(0), (1, 2)),
            Child(uuid(1), (4, 6)),
            Child(uuid(2), (3, 4)),
            Child(uuid(3), (4, 6)),
            Child(uuid(4), (5, 6)),
            Child(uuid(5)),
        ]
        opened(journal, children)
        end(journal, "failed", 0)
        assert counts(backend, journal) == {"failed": 1, "skipped": 3, "queued": 2}
        end(journal, "succeeded", 2)
        end(journal, "succeeded", 3)
        assert states_of(journal) == ["failed", "skipped", "succeeded", "succeeded", "skipped", "skipped"]

    def test_a_skipped_child_must_not_run(self, journal):
        opened(journal, [*chain_of(2), Child(uuid(2))])
        end(journal, "failed", 0)
        assert counted(journal, Contribution(1, "running")).ended == (True,)

    def test_a_success_that_nothing_follows_skips_the_rest(self, journal):
        opened(journal, chain_of(3))
        counted(journal, Contribution(0, "succeeded", stops=True))
        assert states_of(journal) == ["succeeded", "skipped", "skipped"]
        assert document(journal, GROUP)["state"] == "succeeded"

    def test_a_long_chain_is_skipped_in_one_step(self, journal):
        opened(journal, chain_of(1500))
        end(journal, "failed", 0)
        assert states_of(journal) == ["failed", *["skipped"] * 1499]

    def test_the_stage_is_the_furthest_step(self, backend, journal):
        opened(journal, chain_of(3))
        for number, name in enumerate(("Fetch", 'Re"size\n', "Upload")):
            counted(journal, Contribution(number, "running", stage=(number + 1, name)))
            shown = progress(backend, journal)
            assert (shown["step"], shown["stage"]) == (number + 1, name)
            counted(journal, Contribution(0, "running", stage=(1, "Fetch")))
            assert progress(backend, journal)["step"] == number + 1


class TestErrors:
    def test_the_first_errors_are_shown_and_all_are_listed(self, backend, journal):
        opened(journal, 8)
        for number in range(7):
            counted(journal, Contribution(number, "failed", error={**ERROR, "message": f"number {number}"}))
        shown = document(journal, GROUP)
        assert [shown[f"error{at}"] for at in range(1, 6)] == [
            {**ERROR, "message": f"number {at}", "id": uuid(at)} for at in range(5)
        ]
        assert "error6" not in shown
        assert [child.error["message"] for child in listing(journal, state="failed")] == [
            f"number {at}" for at in range(7)
        ]

    def test_an_error_rings_at_once_as_a_fact(self, journal):
        opened(journal)
        end(journal, "failed", 0)
        before = journal.heads([GROUP])[GROUP].cursor
        after = counted(journal, Contribution(1, "failed", error=ERROR))
        assert (after.cursor.facts, after.due) == (before.facts + 1, None)
        assert facts(journal)[-1].patch == {"error1": {**ERROR, "id": uuid(1)}}

    def test_an_error_may_have_any_characters(self, journal):
        opened(journal, len(HOSTILE))
        for number, message in enumerate(HOSTILE):
            counted(journal, Contribution(number, "failed", error={"message": message}, message=message))
        assert [child.error["message"] for child in listing(journal)] == HOSTILE
        assert document(journal, GROUP)["error5"]["message"] == HOSTILE[4]
        kept = journal.child_messages(GROUP)
        assert kept == {number: message for number, message in enumerate(HOSTILE) if message}

    def test_a_failed_childs_message_is_kept(self, journal):
        opened(journal)
        assert journal.child_messages(GROUP) == {}
        counted(journal, Contribution(2, "failed", error=ERROR, message='{"task": "x"}'))
        counted(journal, Contribution(1, "lost", message="second"))
        counted(journal, Contribution(0, "failed", error=ERROR))
        assert journal.child_messages(GROUP) == {1: "second", 2: '{"task": "x"}'}

    def test_a_repeated_end_keeps_the_first_error(self, journal):
        opened(journal)
        counted(journal, Contribution(0, "failed", error=ERROR, message="first"))
        counted(journal, Contribution(0, "failed", error={"message": "other"}, message="other"))
        assert listing(journal)[0].error == ERROR
        assert journal.child_messages(GROUP) == {0: "first"}
        assert "error2" not in document(journal, GROUP)

    def test_of_very_many_failures_the_first_are_kept_and_all_count(self, backend, journal):
        number = FAILURES_KEPT + 50
        opened(journal, number + 1)
        for first in range(0, number, 350):
            counted(
                journal,
                *(Contribution(at, "failed", error=ERROR, message="m") for at in range(first, first + 350)),
            )
        assert counts(backend, journal) == {"queued": 1, "failed": number}
        assert len(journal.child_messages(GROUP)) == FAILURES_KEPT
        assert len([child for child in listing(journal) if child.error]) == FAILURES_KEPT


class TestEnd:
    @pytest.mark.parametrize(
        ("ends", "how", "reason"),
        [
            (["succeeded"] * 3, "succeeded", None),
            (["succeeded", "failed", "succeeded"], "failed", "1 of 3 tasks failed."),
            (["lost", "succeeded", "failed"], "failed", "2 of 3 tasks failed."),
            (["cancelled", "failed", "succeeded"], "failed", "1 of 3 tasks failed."),
            (["cancelled", "succeeded", "succeeded"], "cancelled", None),
            (["succeeded", "skipped", "succeeded"], "succeeded", None),
        ],
    )
    def test_it_comes_once_in_the_step_of_the_last_child(self, journal, ends, how, reason):
        opened(journal)
        for number, one in enumerate(ends):
            assert document(journal, GROUP)["state"] != how
            last = end(journal, one, number)
        ended = document(journal, GROUP)
        assert (ended["state"], ended.get("reason"), last.due) == (how, reason, None)
        assert ended["progress"]["completed"] == 3
        assert ended["finished_at"] >= ended["started_at"]
        assert [event.patch["state"] for event in facts(journal)] == ["queued", "running", how]
        before = journal.heads([GROUP])[GROUP]
        assert (before.lease_left, before.cursor) == (None, last.cursor)
        assert say(journal, Contribution(0, "running")) == Closed(how)
        assert say(journal) == Closed(how)
        assert journal.heads([GROUP])[GROUP] == before

    def test_the_owner_has_one_notice_to_come_and_one_line_in_the_list(self, journal):
        opened(journal, 2)
        opened_task(journal)
        assert [found.feed for found in journal.list(OWNER, limit=9)[0]] == [FEED, GROUP]
        end(journal, "succeeded", 0)
        assert GROUP not in journal.pending(limit=99)
        end(journal, "succeeded", 1)
        assert list(journal.pending(limit=99)) == [GROUP]
        journal.settle(GROUP)
        assert list(journal.pending(limit=99)) == []

    def test_a_group_that_was_never_begun_can_be_concluded(self, backend, journal):
        opened(journal, lease=SHORT)
        backend.end_lease(journal, GROUP)
        stored(journal.conclude(GROUP, 0, state("failed", reason="never sent")))
        assert document(journal, GROUP)["state"] == "failed"
        assert say(journal, Contribution(0, "running")) == Closed("failed")

    def test_others_facts_go_into_the_feed_too(self, backend, journal):
        opened(journal)
        stored(journal.append(GROUP, line("a note of the web")))
        end(journal, "succeeded", 0, 1, 2)
        assert [event.kind for event in facts(journal)] == ["state", "log", "state", "state"]
        assert folded(tuple(facts(journal))) == document(journal, GROUP)


class TestRings:
    def test_numbers_ring_at_most_every_100_ms(self, backend, journal):
        opened(journal, 400)
        first = counted(journal, Contribution(0, "running"))
        assert first.due is None
        answers = [counted(journal, Contribution(at, "running")) for at in range(1, 40)]
        begun = reading(journal).events[-1].at
        if isinstance(backend, MemoryBackend):
            assert {answer.cursor for answer in answers} == {first.cursor}
            assert {answer.due for answer in answers} == {RING_EVERY / 1000}
        assert all(answer.due is None or 0 < answer.due <= RING_EVERY / 1000 for answer in answers)
        ring_all(backend, journal)
        last = counted(journal, Contribution(0, "succeeded"))
        now = listing(journal)[39].since
        assert now is not None
        assert last.cursor.seq - first.cursor.seq <= (now - begun) / RING_EVERY + 3

    def test_an_empty_contribution_rings_what_is_due_and_nothing_twice(self, backend, journal):
        opened(journal)
        counted(journal, Contribution(0, "running"))
        waiting = counted(journal, Contribution(1, "running"))
        ring_all(backend, journal)
        rung = counted(journal)
        assert rung.cursor.seq > first_seq(waiting)
        assert document(journal, GROUP)["progress"]["children"]["running"] == 2
        assert counted(journal) == counted(journal) == rung

    def test_what_changes_nothing_rings_nothing(self, backend, journal):
        opened(journal)
        counted(journal, Contribution(0, "running", done=10))
        ring_all(backend, journal)
        before = counted(journal).cursor
        for _ in range(3):
            assert counted(journal, Contribution(0, "running", done=10), Contribution(9, "failed")).due is None
        assert counted(journal).cursor == before

    def test_the_rate_and_the_time_left_come_with_time(self, make_backend):
        backend = make_backend("memory")
        journal = backend.make()
        opened(journal, 100)
        for number in range(50):
            end(journal, "succeeded", number)
            backend.now += 0.1
        shown = progress(backend, journal)
        assert shown["rate"] == pytest.approx(10, rel=0.1)
        assert shown["time_left"] == pytest.approx(5, abs=1)

    def test_a_reader_follows_a_group_by_the_rule_of_all_feeds(self, backend, journal):
        rung: list[Event] = []
        rings_itself = hasattr(journal, "_ring")
        if rings_itself:
            journal._ring = lambda _feed, text: rung.append(Event.from_text(text))
        reader = Reader(GROUP, cursor=opened(journal), document=document(journal, GROUP))
        reader.start()
        reader.answer(reading(journal, reader.cursor))

        def hear() -> list[object]:
            done = [action for event in rung for action in reader.offer(event)] if rings_itself else reader.start()
            rung.clear()
            while reader.reading:
                done += reader.answer(reading(journal, reader.cursor))
            assert reader.cursor == journal.heads([GROUP])[GROUP].cursor
            assert reader.document == document(journal, GROUP)
            return done

        rung.clear()
        for number in range(2):
            end(journal, "failed", number)
            ring_all(backend, journal)
            shown = [action for action in hear() if not isinstance(action, Show | Read)]
            assert shown == []
        end(journal, "succeeded", 2)
        hear()
        assert reader.document["state"] == "failed"
        repeat(journal, 0, 1)
        # A new epoch: the reader is told that this is another run.
        assert [action for action in hear() if isinstance(action, Reset)]
        assert (reader.document["state"], reader.document["run"]) == ("queued", 1)
        end(journal, "succeeded", 0, 1, run=1)
        hear()
        assert reader.document["state"] == "succeeded"


def first_seq(answer: Counted) -> int:
    return answer.cursor.seq - 1


class TestCancelling:
    def test_without_running_children_it_is_cancelled_at_once(self, journal):
        opened(journal)
        assert isinstance(cancel(journal), Stored)
        ended = document(journal, GROUP)
        assert (ended["state"], ended["reason"]) == ("cancelled", "by you")
        assert ended["progress"]["children"]["cancelled"] == 3
        assert states_of(journal) == ["cancelled"] * 3
        assert journal.heads([GROUP])[GROUP].lease_left is None
        assert say(journal, Contribution(0, "running")) == Closed("cancelled")
        assert list(journal.pending(limit=9)) == [GROUP]

    def test_what_waits_is_cancelled_and_what_runs_goes_on(self, backend, journal):
        opened(journal, 5)
        end(journal, "succeeded", 0)
        counted(journal, Contribution(1, "running"), Contribution(2, "retrying"), Contribution(3, "running"))
        answer = stored(cancel(journal))
        assert answer.cancel
        assert document(journal, GROUP)["state"] == "cancelling"
        assert counts(backend, journal) == {"succeeded": 1, "running": 2, "cancelled": 2}
        assert isinstance(cancel(journal), Duplicate)
        heard = counted(journal, Contribution(4, "running"), Contribution(2, "running", attempt=1))
        assert (heard.ended, heard.cancel) == ((True, True), True)
        assert counted(journal, Contribution(1, "retrying")).ended == (False,)
        assert counts(backend, journal) == {"succeeded": 1, "running": 1, "cancelled": 3}
        counted(journal, Contribution(3, "succeeded"))
        ended = document(journal, GROUP)
        assert (ended["state"], ended["progress"]["children"]["succeeded"]) == ("cancelled", 2)
        assert cancel(journal) == Closed("cancelled")

    def test_a_cancelled_chain_ends_with_the_link_that_runs(self, backend, journal):
        opened(journal, chain_of(3))
        counted(journal, Contribution(0, "running"))
        cancel(journal)
        counted(journal, Contribution(0, "cancelled"))
        assert document(journal, GROUP)["state"] == "cancelled"
        assert document(journal, GROUP)["progress"]["children"]["cancelled"] == 3
        assert states_of(journal) == ["cancelled"] * 3

    def test_what_was_all_done_anyway_has_succeeded(self, journal):
        opened(journal, 1)
        counted(journal, Contribution(0, "running"))
        cancel(journal)
        counted(journal, Contribution(0, "succeeded"))
        assert document(journal, GROUP)["state"] == "succeeded"

    @pytest.mark.parametrize("asked", [True, False])
    def test_by_force_it_is_asked_again(self, backend, journal, asked):
        opened(journal, 3)
        counted(journal, Contribution(0, "running"))
        if asked:
            cancel(journal)
        assert isinstance(cancel(journal, force=True), Stored)
        assert isinstance(cancel(journal, force=True), Duplicate)
        assert isinstance(cancel(journal), Duplicate)
        assert journal.renew_children(GROUP, [0], run=0, lease=LONG) == Held(True, True, False, True)
        assert counts(backend, journal) == {"running": 1, "cancelled": 2}
        counted(journal, Contribution(0, "cancelled"))
        assert document(journal, GROUP)["progress"]["children"]["cancelled"] == 3
        assert document(journal, GROUP)["state"] == "cancelled"

    def test_an_empty_group_can_be_cancelled(self, journal):
        opened(journal, 0)
        cancel(journal)
        assert document(journal, GROUP)["state"] == "cancelled"

    def test_the_list_shows_by_state_what_was_cancelled_before_it_began(self, journal):
        opened(journal, 4)
        counted(journal, Contribution(0, "running"), Contribution(1, "retrying"), Contribution(2, "cancelled"))
        cancel(journal)
        assert [child.number for child in listing(journal, state="cancelled")] == [1, 2, 3]
        assert listing(journal, state="queued") == listing(journal, state="retrying") == []


class TestLeases:
    def test_a_running_child_whose_lease_ends_is_found(self, backend, journal):
        opened(journal, 4)
        counted(journal, Contribution(0, "running", late=True, attempt=2), lease=SHORT)
        counted(journal, Contribution(1, "running"), lease=LONG)
        counted(journal, Contribution(2, "running"), Contribution(2, "retrying"), lease=SHORT)
        run, [child] = expire(backend, journal, 0)
        since = listing(journal)[0].since
        assert (run, child) == (0, ExpiredChild(0, uuid(0), 2, True, since))

    def test_the_groups_lease_is_that_of_its_first_child_to_expire(self, backend, journal):
        opened(journal, lease=LONG * 2)
        counted(journal, Contribution(0, "running"), lease=LONG)
        left = journal.heads([GROUP])[GROUP].lease_left
        assert LONG - 5 < left <= LONG
        counted(journal, Contribution(1, "running"), lease=LONG * 2)
        assert journal.heads([GROUP])[GROUP].lease_left <= LONG
        counted(journal, Contribution(2, "running"), lease=SHORT)
        backend.end_lease(journal, GROUP)
        assert GROUP in [lease.feed for lease in journal.expired(limit=100)]
        wait_until(lambda: journal.expired_children(GROUP, limit=9)[1], what="it has expired")
        # Soon again: somebody is about to conclude it.
        assert 0 < journal.heads([GROUP])[GROUP].lease_left <= 1
        counted(journal, Contribution(2, "lost"), verdict=True)
        assert journal.expired_children(GROUP, limit=9) == (0, [])
        assert LONG - 60 < journal.heads([GROUP])[GROUP].lease_left <= LONG or (
            journal.heads([GROUP])[GROUP].lease_left <= journal._settings.unheard_after
        )

    def test_a_renewed_child_is_alive(self, backend, journal):
        opened(journal)
        counted(journal, Contribution(0, "running"), Contribution(1, "running"), lease=SHORT)
        expire(backend, journal, 0, 1)
        assert journal.renew_children(GROUP, [0, 2, 99, -1, 2**40], run=0, lease=LONG) == Held(True, False)
        _, [child] = expire(backend, journal, 1)
        assert child.number == 1
        assert counted(journal, Contribution(0, "lost"), verdict=True).ended == (False,)
        assert states_of(journal) == ["running", "running", "queued"]

    def test_a_verdict_is_over_a_running_child_whose_lease_has_ended(self, backend, journal):
        opened(journal, 5)
        counted(journal, Contribution(0, "running"), Contribution(1, "running", late=True, attempt=3), lease=SHORT)
        counted(journal, Contribution(2, "running"))
        expire(backend, journal, 0, 1)
        answer = counted(
            journal,
            Contribution(0, "lost", error=ERROR),
            Contribution(1, "queued"),
            *(Contribution(at, "lost") for at in (2, 3, 99)),
            verdict=True,
        )
        assert answer.ended == (False, False, False, False, True)
        assert states_of(journal) == ["lost", "queued", "running", "queued", "queued"]
        assert counts(backend, journal) == {"lost": 1, "queued": 3, "running": 1}
        assert listing(journal)[1].attempt == 3
        # What the broker returns is the same attempt.
        counted(journal, Contribution(1, "running", attempt=3))
        end(journal, "succeeded", 3, 4)
        counted(journal, Contribution(1, "succeeded", attempt=3), Contribution(2, "succeeded"))
        ended = document(journal, GROUP)
        assert (ended["state"], ended["error1"]["id"]) == ("failed", uuid(0))

    def test_a_child_that_was_believed_dead_ends_all_the_same(self, backend, journal):
        opened(journal, 2)
        counted(journal, Contribution(0, "running", late=True), lease=SHORT)
        expire(backend, journal, 0)
        counted(journal, Contribution(0, "queued"), verdict=True)
        counted(journal, Contribution(0, "succeeded"))
        assert counts(backend, journal) == {"queued": 1, "succeeded": 1}

    def test_a_verdict_in_a_cancelled_group_ends_the_child(self, backend, journal):
        opened(journal, 2)
        counted(journal, Contribution(0, "running", late=True), lease=SHORT)
        cancel(journal)
        expire(backend, journal, 0)
        counted(journal, Contribution(0, "queued"), verdict=True)
        assert document(journal, GROUP)["state"] == "cancelled"

    def test_an_ended_group_has_no_leases(self, journal):
        opened(journal, 1, lease=LONG)
        end(journal, "succeeded", 0)
        assert journal.expired_children(GROUP, limit=9) == (0, [])
        assert journal.renew_children(GROUP, [0], run=0, lease=LONG) == Held(False, False)
        assert GROUP not in [lease.feed for lease in journal.expired(limit=100)]

    def test_at_most_so_many_are_told_at_once(self, backend, journal):
        opened(journal, 9)
        counted(journal, *(Contribution(at, "running") for at in range(9)), lease=SHORT)
        expire(backend, journal, *range(9))
        assert len(journal.expired_children(GROUP, limit=4)[1]) == 4


class TestRepeating:
    def failed(self, journal: Journal) -> None:
        opened(journal, 4)
        end(journal, "succeeded", 0)
        counted(journal, Contribution(1, "failed", attempt=2, error=ERROR, message="one"))
        counted(journal, Contribution(2, "lost", message="two"))
        end(journal, "cancelled", 3)
        assert document(journal, GROUP)["state"] == "failed"

    def test_the_failed_ones_run_again_in_the_next_run(self, backend, journal):
        self.failed(journal)
        before = journal.heads([GROUP])[GROUP].cursor
        cursor = repeat(journal, 1, 2)
        assert (cursor.epoch, cursor.seq, cursor.facts) == (NEXT_EPOCH, 1, 1)
        shown = document(journal, GROUP)
        assert (shown["state"], shown["run"], shown["title"]) == ("queued", 1, "Thumbnails")
        assert not {"reason", "finished_at", "error1"} & shown.keys()
        assert counts(backend, journal, run=1) == {"queued": 2, "succeeded": 1, "cancelled": 1}
        assert shown["progress"]["completed"] == 2
        assert journal.child_messages(GROUP) == {}
        assert listing(journal)[1] == ListedChild(1, uuid(1), "queued", 0)
        assert list(journal.pending(limit=9)) == []
        assert LONG - 5 < journal.heads([GROUP])[GROUP].lease_left <= LONG
        # A page that stands in the run before is told so, and the rule of all feeds has it read again.
        assert not reading(journal, before).recovered
        assert [event.patch["state"] for event in facts(journal)] == ["queued"]
        end(journal, "failed", 1, run=1)
        counted(journal, Contribution(2, "succeeded"), run=1)
        ended = document(journal, GROUP)
        assert (ended["state"], ended["reason"]) == ("failed", "1 of 4 tasks failed.")
        assert list(journal.pending(limit=9)) == [GROUP]

    def test_errors_are_shown_from_the_first_again(self, journal):
        self.failed(journal)
        repeat(journal, 1)
        counted(journal, Contribution(1, "failed", error={"message": "again"}), run=1)
        assert document(journal, GROUP)["error1"] == {"message": "again", "id": uuid(1)}

    def test_an_earlier_run_is_fenced_and_a_lost_one_missing(self, backend, journal):
        self.failed(journal)
        repeat(journal, 1)
        assert say(journal, Contribution(1, "running")) == Fenced(1)
        assert journal.renew_children(GROUP, [1], run=0, lease=LONG) == Held(False, False)
        assert say(journal, Contribution(1, "running"), run=2) == Missing()
        assert counts(backend, journal, run=1) == {"queued": 1, "succeeded": 1, "lost": 1, "cancelled": 1}

    def test_asked_again_with_the_same_epoch_it_answers_the_same(self, backend, journal):
        self.failed(journal)
        cursor = repeat(journal, 1)
        assert repeat(journal, 1) == cursor
        counted(journal, Contribution(1, "running"), run=1)
        assert repeat(journal, 1, 2).epoch == NEXT_EPOCH
        assert counts(backend, journal, run=1) == {"running": 1, "succeeded": 1, "lost": 1, "cancelled": 1}
        assert repeat(journal, 1, epoch="0000000c") == Closed("running")

    def test_what_has_not_ended_or_has_no_such_child_is_closed(self, backend, journal):
        opened(journal, 2)
        assert repeat(journal, 0) == Closed("queued")
        end(journal, "succeeded", 0)
        assert repeat(journal, 0) == Closed("running")
        end(journal, "succeeded", 1)
        for numbers in ((0, 1), (), (5, -1, 10**9)):
            assert repeat(journal, *numbers) == Closed("succeeded")
        assert counts(backend, journal) == {"succeeded": 2}
        assert journal.heads([GROUP])[GROUP].cursor.epoch == EPOCH

    def test_what_was_skipped_because_of_it_runs_again_too(self, backend, journal):
        opened(journal, chain_of(4))
        end(journal, "succeeded", 0)
        end(journal, "failed", 1)
        repeat(journal, 1, 1)
        assert states_of(journal) == ["succeeded", "queued", "queued", "queued"]
        for number in (1, 2, 3):
            end(journal, "succeeded", number, run=1)
        assert document(journal, GROUP)["state"] == "succeeded"

    def test_what_another_failed_child_still_voids_stays_skipped(self, backend, journal):
        opened(journal, chord_of(3))
        end(journal, "failed", 0, 1)
        end(journal, "succeeded", 2)
        repeat(journal, 0)
        assert states_of(journal) == ["queued", "failed", "succeeded", "skipped"]
        end(journal, "succeeded", 0, run=1)
        assert document(journal, GROUP)["state"] == "failed"
        repeat(journal, 1, epoch="0000000c")
        assert states_of(journal) == ["succeeded", "queued", "succeeded", "queued"]

    def test_a_child_whose_predecessor_does_not_run_again_does_not_either(self, journal):
        opened(journal, chain_of(3))
        end(journal, "failed", 0)
        assert repeat(journal, 1, 2) == Closed("failed")

    def test_what_stopped_its_chain_with_a_success_still_does(self, journal):
        opened(journal, chord_of(2))
        counted(journal, Contribution(0, "succeeded", stops=True))
        end(journal, "failed", 1)
        repeat(journal, 1)
        assert states_of(journal) == ["succeeded", "queued", "skipped"]

    def test_a_cancelled_group_can_be_repeated(self, backend, journal):
        opened(journal, [*chain_of(3), Child(uuid(3)), Child(uuid(4))])
        counted(journal, Contribution(0, "running"), Contribution(3, "retrying", attempt=4))
        cancel(journal)
        counted(journal, Contribution(0, "cancelled"))
        assert document(journal, GROUP)["state"] == "cancelled"
        repeat(journal, 0, 3)
        assert states_of(journal) == ["queued", "queued", "queued", "queued", "cancelled"]
        assert counts(backend, journal, run=1) == {"queued": 4, "cancelled": 1}
        assert not counted(journal, Contribution(3, "running"), run=1).cancel
        end(journal, "succeeded", 0, 1, 2, 3, run=1)
        assert document(journal, GROUP)["state"] == "cancelled"

    def test_very_many_children_are_repeated_in_one_step(self, backend, journal):
        opened(journal, 2500)
        counted(journal, *(Contribution(at, "failed" if at % 2 else "succeeded") for at in range(2500)))
        repeat(journal, *range(0, 2500))
        assert counts(backend, journal, run=1) == {"queued": 1250, "succeeded": 1250}
        assert states_of(journal) == ["succeeded", "queued"] * 1250


class TestLists:
    def test_pages_by_number(self, journal):
        opened(journal, 25)
        page, after = journal.children(GROUP, limit=10)
        assert ([child.number for child in page], after) == (list(range(10)), 9)
        page, after = journal.children(GROUP, after=19, limit=10)
        assert ([child.number for child in page], after) == (list(range(20, 25)), None)
        assert journal.children(GROUP, after=24, limit=10) == ([], None)
        assert journal.children(GROUP, after=10**12, limit=10) == ([], None)
        assert [child.number for child in journal.children(GROUP, after=-99, limit=2)[0]] == [0, 1]
        assert [child.number for child in listing(journal, limit=7)] == list(range(25))

    @pytest.mark.parametrize("limit", [1, 4, 1000])
    def test_pages_of_one_state(self, journal, limit):
        opened(journal, 30)
        ends = ["running", "failed", "succeeded", "retrying", "lost", "queued"]
        counted(journal, *(Contribution(at, ends[at % 6]) for at in range(30) if at % 6 != 5))
        for at, one in enumerate(ends):
            found = listing(journal, state=one, limit=limit)
            assert [child.number for child in found] == list(range(at, 30, 6))
            assert {child.state for child in found} == {one}
        assert listing(journal, state="skipped", limit=limit) == []

    def test_an_unknown_group_has_no_list(self, journal):
        assert journal.children(GROUP, limit=10) is None

    def test_a_list_is_also_kept_after_the_end(self, journal):
        opened(journal, 2)
        end(journal, "succeeded", 0)
        end(journal, "failed", 1)
        assert states_of(journal) == ["succeeded", "failed"]


class TestRemoval:
    def test_a_forgotten_group_is_unknown_with_its_children(self, backend, journal):
        opened(journal, 3, lease=LONG)
        counted(journal, Contribution(0, "failed", error=ERROR, message="m"), Contribution(1, "running"))
        journal.forget(GROUP)
        assert say(journal, Contribution(1, "succeeded")) == Missing()
        assert journal.children(GROUP, limit=9) is None
        assert journal.child_messages(GROUP) == {}
        assert journal.expired_children(GROUP, limit=9) == (0, [])
        assert journal.renew_children(GROUP, [1], run=0, lease=LONG) == Held(False, False)
        assert repeat(journal, 0) == Missing()
        opened(journal, 2)
        assert states_of(journal) == ["queued", "queued"]

    def test_a_removed_group_takes_no_more_contributions(self, journal):
        opened(journal, 3)
        counted(journal, Contribution(0, "failed", error=ERROR, message="m"))
        journal.remove(GROUP)
        assert say(journal, Contribution(1, "running")) == Closed("cancelled")
        assert journal.children(GROUP, limit=9) is None
        assert journal.child_messages(GROUP) == {}
        assert journal.renew_children(GROUP, [1], run=0, lease=LONG).valid is False
        assert journal.expired_children(GROUP, limit=9) == (0, [])
        assert repeat(journal, 0) == Closed("cancelled")
        assert cancel(journal) == Closed("cancelled")
        assert [found.feed for found in journal.list(OWNER, limit=9)[0]] == []

    def test_keys_live_no_longer_than_their_feed(self, redis_backend):
        journal = redis_backend.make(kept_for=100.0, live_kept_for=1000.0)
        opened(journal, [Child("no uuid"), Child("another")])
        counted(journal, Contribution(0, "failed", error=ERROR, message="m"), Contribution(1, "running"))
        client, names = redis_backend.server.client(), journal._names.child(GROUP, "*")
        assert len(client.keys(names)) == 8
        assert {client.ttl(key) for key in client.keys(names)} <= {999, 1000}
        counted(journal, Contribution(1, "succeeded"))
        assert {client.ttl(key) for key in client.keys(names)} <= {99, 100}
        repeat(journal, 0)
        assert {client.ttl(key) for key in client.keys(names)} <= {999, 1000}
        journal.forget(GROUP)
        assert client.keys(names) == []

    def test_rows_live_no_longer_than_their_feed(self, sql_backend):
        journal = sql_backend.make(live_kept_for=0.001)
        opened(journal, [Child("forgotten by time")])
        engine = create_engine(read_url(sql_backend.url))
        found = text("SELECT count(*) FROM petiole_children WHERE task_id = '\"forgotten by time\"'")

        def rows() -> int:
            journal._sweep_at = 0.0
            journal.expired(limit=1)
            with engine.connect() as connection:
                return connection.scalar(found) or 0

        wait_until(lambda: rows() == 0, what="the children are gone with their feed")
        engine.dispose()


class TestOtherFeeds:
    @pytest.mark.parametrize("feed", [FEED, "user:0123"])
    def test_a_feed_that_is_no_group_is_one_that_nobody_knows(self, journal, feed):
        opened_task(journal)
        before = journal.snapshot(FEED)
        assert say(journal, Contribution(0, "succeeded"), feed=feed) == Missing()
        assert say(journal, feed=feed) == Missing()
        assert journal.children(feed, limit=9) is None
        assert journal.child_messages(feed) == {}
        assert journal.renew_children(feed, [0], run=0, lease=LONG) == Held(False, False)
        assert journal.expired_children(feed, limit=9) == (0, [])
        again = journal.repeat_children(feed, [0], draft=state("queued"), epoch=NEXT_EPOCH, lease=LONG)
        assert again == Missing()
        assert journal.snapshot(FEED) == before

    def test_a_groups_feed_that_was_opened_without_children_is_empty(self, journal):
        opened_task(journal, feed=GROUP)
        assert counted(journal, Contribution(0, "running")).ended == (True,)
        assert document(journal, GROUP)["state"] == "succeeded"


class TestSpoiled:
    @pytest.mark.parametrize("name", ["meta", "document", "facts", "children", "alive", "failures", "messages"])
    def test_a_key_that_holds_something_else_is_refused_and_nothing_is_counted(self, redis_backend, name):
        journal = redis_backend.make()
        opened(journal, 3)
        counted(journal, Contribution(0, "running"))
        client = redis_backend.server.client()
        key = journal._names.child(GROUP, name)
        kept = client.dump(key)
        client.delete(key)
        client.lpush(key, "x") if name != "facts" else client.set(key, "x")
        said = Contribution(1, "running"), Contribution(0, "failed", error=ERROR, message="m")
        with pytest.raises(Refusal):
            say(journal, *said)
        client.delete(key)
        if kept is not None:
            client.restore(key, 0, kept)
        counted(journal, *said)
        counted(journal, Contribution(1, "succeeded"), Contribution(2, "succeeded"))
        ended = document(journal, GROUP)
        assert (ended["state"], ended["progress"]["completed"]) == ("failed", 3)
        assert states_of(journal) == ["failed", "succeeded", "succeeded"]

    @pytest.mark.parametrize(
        ("field", "value"), [("counts", "1 2"), ("counts", "a b c d e f g h"), ("told", "soon"), ("stage", "")]
    )
    def test_spoiled_numbers_are_refused(self, redis_backend, field, value):
        journal = redis_backend.make()
        opened(journal)
        counted(journal, Contribution(0, "running"))
        redis_backend.server.client().hset(journal._names.feed(GROUP)[0], field, value)
        for call in (lambda: say(journal, Contribution(0, "succeeded")), lambda: cancel(journal)):
            with pytest.raises(Refusal):
                call()
        journal.forget(GROUP)

    @pytest.mark.parametrize("kept", [0, 1, 35, 36])
    def test_children_that_are_cut_are_refused_and_never_taken_for_ended(self, redis_backend, kept):
        journal = redis_backend.make()
        opened(journal)
        client = redis_backend.server.client()
        key = journal._names.child(GROUP, "children")
        records = client.get(key)
        client.set(key, records[:kept])
        with pytest.raises(Refusal, match="spoiled"):
            say(journal, Contribution(0, "running"))
        if kept % 36:
            with pytest.raises(Refusal, match="can't be read"):
                journal.children(GROUP, limit=9)
        client.set(key, records)
        assert counted(journal, Contribution(0, "running")).ended == (False,)

    def test_a_record_or_an_error_that_is_no_longer_one_is_refused(self, redis_backend):
        journal = redis_backend.make()
        opened(journal, [Child("no uuid"), Child(uuid(1))])
        counted(journal, Contribution(1, "failed", error=ERROR))
        client = redis_backend.server.client()
        for name in ("ids", "failures"):
            client.hset(journal._names.child(GROUP, name), "0" if name == "ids" else "1", "{")
            with pytest.raises(Refusal, match="can't be read"):
                journal.children(GROUP, limit=9)
            client.delete(journal._names.child(GROUP, name))
            assert journal.children(GROUP, limit=9)
        client.setrange(journal._names.child(GROUP, "children"), 16, b"\xff")
        with pytest.raises(Refusal, match="can't be read"):
            journal.children(GROUP, limit=9)

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            ("UPDATE petiole_children SET task_id = '{' WHERE number = 0 AND feed = :feed", "can't be read"),
            ("UPDATE petiole_children SET state = 99 WHERE number = 0 AND feed = :feed", "can't be read"),
            ("UPDATE petiole_groups SET numbers = '{' WHERE feed = :feed", "can't be read"),
            ('UPDATE petiole_groups SET numbers = \'{"counts": [1], "stage": [0, ""]}\' WHERE feed = :feed', "read"),
            ("DELETE FROM petiole_children WHERE number = 0 AND feed = :feed", "is gone"),
        ],
    )
    def test_spoiled_rows_are_refused(self, sql_backend, spoil, said):
        journal = sql_backend.make()
        opened(journal)
        engine = create_engine(read_url(sql_backend.url))
        with engine.begin() as connection:
            own = text("SELECT id FROM petiole_feeds WHERE prefix = :prefix AND name = :name")
            feed = connection.scalar(own, {"prefix": journal._settings.key_prefix, "name": GROUP})
            connection.execute(text(spoil), {"feed": feed})
        engine.dispose()
        with pytest.raises(Refusal, match=said):
            say(journal, Contribution(0, "running"))
        journal.forget(GROUP)
        assert journal.snapshot(GROUP) is None


class TestCost:
    """A contribution costs the same however many children its group has."""

    SAID = (
        [Contribution(4, "running")],
        [Contribution(4, "running", done=500)],
        [Contribution(4, "failed", error=ERROR, message="m")],
        [Contribution(5, "running"), Contribution(6, "running")],
        [Contribution(5, "succeeded")],
        [],
    )

    def test_in_commands_of_redis(self, redis_backend):
        journal = redis_backend.make()
        client = redis_backend.server.client()

        def commands() -> int:
            return sum(found["calls"] for found in client.info("commandstats").values())

        def cost(number: int) -> list[int]:
            feed = group_feed(f"of{number}")
            opened(
                journal, [Child(uuid(at), (number - 1, number)) for at in range(number - 1)] + [Child(uuid(0))], feed
            )
            say(journal, feed=feed)
            spent = []
            for said in self.SAID:
                before = commands()
                say(journal, *said, feed=feed)
                spent.append(commands() - before)
            return spent

        cost(10)  # the scripts are loaded
        few, many = cost(20), cost(20_000)
        assert all(abs(one - other) <= 12 for one, other in zip(few, many, strict=True)), (few, many)
        assert max(many) < 40

    def test_in_statements_of_sql(self, sql_backend):
        journal = sql_backend.make()
        opened(journal, 1, group_feed("first"))
        found: list[str] = []
        event.listen(journal._server._engine, "before_cursor_execute", lambda *given: found.append(given[2]))

        def cost(number: int) -> list[int]:
            feed = group_feed(f"of{number}")
            opened(
                journal, [Child(uuid(at), (number - 1, number)) for at in range(number - 1)] + [Child(uuid(0))], feed
            )
            spent = []
            for said in self.SAID:
                before = len(found)
                say(journal, *said, feed=feed)
                spent.append(len(found) - before)
            return spent

        few, many = cost(20), cost(4000)
        assert all(abs(one - other) <= 4 for one, other in zip(few, many, strict=True)), (few, many)
        assert max(many) < 20

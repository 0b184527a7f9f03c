"""A group in a journal and the rules of groups beside it: whatever is contributed in whatever order, both say the same.

It runs on every backend; `GroupStore` is the required interface.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any, ClassVar, Protocol

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from petiole.journal import Journal, groups
from petiole.journal.answers import Closed, Counted, Duplicate, Fenced, Held, Missing, Stored
from petiole.journal.groups import CHILD_STATES, UNSUCCESSFUL, WHOLE, Child, Contribution, Group
from petiole.protocol import states
from petiole.protocol.events import Draft
from petiole.settings import Settings
from tests.support.memory_journal import MemoryJournal
from tests.support.waiting import wait_until

# So long that the real time that passes on a server meanwhile is negligible.
LEASE = 800.0
# What a group says at its end, and what a page shows of its failed children.
FIELDS = ("state", "reason", "run", *(f"error{at}" for at in range(1, 6)))
# What each child of a canvas voids.
CANVASES = (
    [(0, 0)] * 5,
    [(1, 4), (2, 4), (3, 4), (0, 0)],
    [(1, 2), (2, 3), (3, 4), (4, 5), (0, 0)],
    [(3, 5), (3, 5), (3, 5), (4, 5), (0, 0), (0, 0)],
    [(1, 2), (4, 6), (3, 4), (4, 6), (5, 6), (0, 0)],
    [(0, 0)],
)
NUMBERS = st.integers(0, 6)
CONTRIBUTIONS = st.lists(
    st.builds(
        Contribution,
        NUMBERS,
        # Most go on and some end.
        st.sampled_from([*CHILD_STATES, states.RUNNING, states.RUNNING, states.RETRYING, states.SUCCEEDED]),
        attempt=st.sampled_from([0, 0, 0, 1, 2, 70_000]),
        done=st.sampled_from([0, 0, 1, WHOLE // 3, WHOLE, 20_000]),
        late=st.booleans(),
        stops=st.sampled_from([False, False, False, True]),
        error=st.sampled_from([None, None, {"message": 'a "word"\n\x00 ä'}, {"message": "", "type": "ValueError"}]),
        message=st.sampled_from(["", "", "a message\x00", '{"task": "x"}']),
        stage=st.sampled_from([None, (1, "Fetch"), (2, 'Re"size\\'), (3, "Upload 🎉")]),
    ),
    max_size=4,
)


class GroupStore(Protocol):
    """A journal whose time a test controls."""

    journal: Journal

    def begin(self) -> None:
        """Prepare for another example."""

    def end_leases(self, feed: str) -> None:
        """Make the leases of the group's running children end."""

    def ring(self) -> None:
        """Let so much time pass that a group may ring again, if the test controls it."""


class MemoryGroupStore:
    def begin(self) -> None:
        self.now = 1_000.0
        self.journal: Journal = MemoryJournal(Settings(journal_url="redis://x"), clock=lambda: self.now)

    def end_leases(self, feed: str) -> None:
        self.now += LEASE + 1

    def ring(self) -> None:
        self.now += 0.2


class GroupMachine(RuleBasedStateMachine):
    """The oracle is a group by the pure rules, in a dictionary."""

    store: ClassVar[GroupStore]
    examples: ClassVar[Iterator[int]] = count()

    @initialize(voids=st.sampled_from(CANVASES), uuids=st.booleans())
    def begin(self, voids, uuids):
        number = next(self.examples)
        self.feed = f"group:machine-{number}"
        self.store.begin()
        self.journal = self.store.journal
        names = [f"00000000-0000-4000-8000-{at:012x}" if uuids or at % 2 else f'a "{at}"' for at in range(len(voids))]
        self.children = {at: Child(name, tuple(one)) for at, (name, one) in enumerate(zip(names, voids, strict=True))}
        self.group = Group(states.QUEUED, 0, 0, groups.first_counts(len(voids)))
        self.document = {"state": states.QUEUED}
        # Of the running children, whether their lease has ended; what is kept of those that failed.
        self.leases = {}
        self.errors = {}
        self.messages = {}
        self.epochs = [self.epoch(number)]
        self.open()

    def epoch(self, number):
        return f"{number:08x}"

    def open(self):
        return self.journal.open_group(
            self.feed,
            list(self.children.values()),
            owner="alice",
            draft=Draft("state", {"state": states.QUEUED}),
            epoch=self.epochs[0],
        )

    @property
    def ended(self):
        return states.is_terminal(self.group.state)

    @property
    def cancelled(self):
        return self.group.cancel > 0

    @rule(said=CONTRIBUTIONS)
    def children_say(self, said):
        self.contribute(said, expired=None)

    @precondition(lambda self: self.leases)
    @rule(said=CONTRIBUTIONS)
    def a_reaper_says(self, said):
        self.contribute(said, expired={number for number, ended in self.leases.items() if ended})

    @precondition(lambda self: not self.ended)
    @rule(number=NUMBERS, end=st.sampled_from([states.SUCCEEDED, states.FAILED]))
    def a_child_runs_and_ends(self, number, end):
        number %= len(self.children)
        attempt = self.children[number].attempt
        for state in (states.RUNNING, end, end):
            self.contribute([Contribution(number, state, attempt)], expired=None)

    @precondition(lambda self: not self.ended)
    @rule(end=st.sampled_from([states.SUCCEEDED, states.FAILED, states.CANCELLED]))
    def all_end(self, end):
        for number, child in list(self.children.items()):
            self.contribute([Contribution(number, end, child.attempt)], expired=None)

    def contribute(self, said, *, expired):
        answer = self.journal.contribute(self.feed, said, run=self.group.run, lease=LEASE, verdict=expired is not None)
        if self.ended:
            assert answer == Closed(self.group.state)
            return
        done = groups.contribute(self.group, self.children, said, now=0, expired=expired)
        assert isinstance(answer, Counted)
        assert answer.ended == tuple(one.ended for one in done.answers)
        assert answer.cancel == self.cancelled
        assert answer.due is None or 0 <= answer.due <= groups.RING_EVERY / 1000
        for one, found in zip(said, done.answers, strict=True):
            if found.counted and one.state == states.RUNNING:
                self.leases[one.child] = False
            elif found.counted:
                self.leases.pop(one.child, None)
        for one in done.failed:
            self.errors |= {one.child: one.error} if one.error is not None else {}
            self.messages |= {one.child: one.message} if one.message else {}
        self.group = done.group
        self.take(done.patch)

    def take(self, patch):
        self.document |= patch
        if self.ended:
            self.leases.clear()

    @rule(run=st.sampled_from([-1, 1]), said=CONTRIBUTIONS)
    def another_run_says(self, run, said):
        answer = self.journal.contribute(self.feed, said, run=self.group.run + run, lease=LEASE)
        assert answer == (Missing() if run > 0 else Fenced(self.group.run))

    @rule(force=st.booleans())
    def somebody_cancels(self, force):
        self.cancel(force=force)

    def cancel(self, *, force):
        cancelling, cancelled = (Draft("state", {"state": name}) for name in (states.CANCELLING, states.CANCELLED))
        answer = self.journal.cancel(self.feed, cancelling=cancelling, cancelled=cancelled, force=force)
        if self.ended:
            assert answer == Closed(self.group.state)
            return
        after = groups.cancel(self.group, force=force, now=0)
        if after is None:
            assert isinstance(answer, Duplicate)
            return
        assert isinstance(answer, Stored)
        self.group = after
        self.take({"state": after.state})

    @precondition(lambda self: not self.ended)
    @rule(number=NUMBERS, end=st.sampled_from([states.CANCELLED, states.FAILED, states.RETRYING]))
    def a_child_runs_and_is_cancelled(self, number, end):
        number %= len(self.children)
        attempt = self.children[number].attempt
        self.contribute([Contribution(number, states.RUNNING, attempt)], expired=None)
        self.cancel(force=False)
        self.contribute([Contribution(number, end, attempt)], expired=None)

    @rule(numbers=st.sets(NUMBERS))
    def some_run_again(self, numbers):
        self.again(numbers)

    @precondition(lambda self: self.ended)
    @rule()
    def all_that_failed_run_again(self):
        shown = {number: groups.listed(child, cancelled=self.cancelled) for number, child in self.children.items()}
        self.again({number for number, state in shown.items() if state in (*UNSUCCESSFUL, states.CANCELLED)})

    def again(self, numbers):
        epoch = self.epoch(next(self.examples))
        draft = Draft("state", {"state": states.QUEUED, **dict.fromkeys(FIELDS[3:]), "reason": None})

        def repeat():
            return self.journal.repeat_children(self.feed, list(numbers), draft=draft, epoch=epoch, lease=LEASE)

        answer = repeat()
        after = groups.again(self.group, self.children, numbers) if self.ended else None
        if after is None:
            assert answer == Closed(self.group.state)
            return
        assert (answer.epoch, answer.facts) == (epoch, 1)
        assert repeat() == answer
        self.epochs.append(epoch)
        self.group, self.document = after, {"state": states.QUEUED}
        for number, child in self.children.items():
            if child.state == states.QUEUED:
                self.errors.pop(number, None)
                self.messages.pop(number, None)

    @rule()
    def it_is_opened_again(self):
        assert self.open() == self.journal.heads([self.feed])[self.feed].cursor

    @precondition(lambda self: self.leases)
    @rule()
    def leases_end(self):
        self.store.end_leases(self.feed)
        self.leases = dict.fromkeys(self.leases, True)

    @rule(numbers=st.lists(NUMBERS), run=st.sampled_from([0, 0, 0, 1]))
    def a_worker_renews(self, numbers, run):
        held = self.journal.renew_children(self.feed, numbers, run=self.group.run + run, lease=LEASE)
        valid = not self.ended and run == 0
        assert held == Held(valid, self.cancelled, False, self.group.cancel > 1)
        if valid:
            self.leases |= {number: False for number in numbers if number in self.leases}

    @rule()
    def a_reaper_looks(self):
        run, found = self.journal.expired_children(self.feed, limit=100)
        assert {one.number for one in found} == {number for number, ended in self.leases.items() if ended}
        assert run == (0 if self.ended else self.group.run)
        for one in found:
            child = self.children[one.number]
            assert (one.task_id, one.attempt, one.late) == (child.task_id, child.attempt, child.late)

    @precondition(lambda self: not self.ended)
    @rule()
    def what_is_due_rings(self):
        self.ring_all()
        shown = self.journal.snapshot(self.feed).document["progress"]
        expected = groups.progress_of(self.group)
        # They depend on the time.
        assert {**shown, "rate": None, "time_left": None} == {**expected, "rate": None, "time_left": None}

    def ring_all(self):
        self.store.ring()
        wait_until(lambda: self.say_nothing() is None, what="the newest numbers have rung")
        if not self.group.counts or groups.left(self.group.counts):
            self.group = replace(self.group, untold=False)

    def say_nothing(self):
        answer = self.journal.contribute(self.feed, [], run=self.group.run, lease=LEASE)
        assert isinstance(answer, Counted)
        return answer.due

    @invariant()
    def the_journal_lists_what_the_oracle_has(self):
        if not hasattr(self, "journal"):
            return
        found, more = self.journal.children(self.feed, limit=100)
        assert more is None
        for one, (number, child) in zip(found, self.children.items(), strict=True):
            error = self.errors.get(number) if child.state in UNSUCCESSFUL else None
            state = groups.listed(child, cancelled=self.cancelled)
            fraction = child.done / WHOLE if state == states.RUNNING else None
            assert (one.number, one.task_id, one.state) == (number, child.task_id, state)
            assert (one.attempt, one.fraction, one.error) == (child.attempt, fraction, error)
        shown = [one.state for one in found]
        assert self.group.counts == tuple(shown.count(state) for state in CHILD_STATES)
        assert self.journal.child_messages(self.feed) == self.messages

    @invariant()
    def the_document_is_that_of_the_oracle(self):
        if not hasattr(self, "journal"):
            return
        document = self.journal.snapshot(self.feed).document
        run = {"run": self.group.run} if self.group.run else {}
        expected = {name: value for name, value in (self.document | run).items() if value is not None}
        assert {name: document[name] for name in FIELDS if name in document} == {
            name: expected[name] for name in FIELDS if name in expected
        }
        assert document["state"] == self.group.state
        if self.ended:
            assert document["progress"]["children"] == dict(zip(CHILD_STATES, self.group.counts, strict=True))
        head = self.journal.heads([self.feed])[self.feed]
        assert (head.run, head.cursor.epoch) == (self.group.run, self.epochs[-1])

    def teardown(self):
        if not hasattr(self, "journal"):
            return
        reading = self.journal.read(self.feed, None, limit=10_000)
        passed = [event.patch["state"] for event in reading.events if "state" in event.patch]
        assert sum(map(states.is_terminal, passed)) == self.ended
        self.journal.forget(self.feed)
        assert self.journal.children(self.feed, limit=1) is None


def machine_on(store: GroupStore, **more: Any) -> type[GroupMachine]:
    """Return the state machine for this store."""
    return type("GroupMachineOnStore", (GroupMachine,), {"store": store, **more})

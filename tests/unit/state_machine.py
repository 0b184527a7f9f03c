"""Task states in the journal: claims, appends, verdicts and cancels in any order, compared with a simple oracle.

It runs on every backend; `Store` is the required interface.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, pairwise
from typing import ClassVar, Protocol

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from petiole.journal import Journal
from petiole.journal.answers import Busy, Claimed, Closed, Conflict, Duplicate, Fenced, Held, Stored, TextGap
from petiole.journal.rules import MAX_SILENT_ENDS
from petiole.protocol import states
from petiole.protocol.events import ZERO_CHAIN, Cursor, Draft, Event
from petiole.protocol.reader import follow
from petiole.protocol.texts import NO_TEXTS, Chunk, Texts, size_of
from petiole.settings import Settings
from tests.support.memory_journal import MemoryJournal

# So long that the real time that passes on a server meanwhile is negligible.
LEASE = 800.0
WORKERS = ("worker-1", "worker-2")
# The journal's own `cancel` writes `cancelling` and sets the flag in the same step.
SAID = [name for name in (*states.ACTIVE, *states.TERMINAL) if name != states.CANCELLING]
DELIVERIES = st.sampled_from(["delivery-1", "delivery-2", "delivery-3", "delivery-4"])


def said(name):
    return Draft("state", {"state": name})


class Run:
    """A worker's knowledge of its run."""

    def __init__(self, number, *, worker, delivery, retries, fact):
        self.number = number
        self.worker = worker
        self.delivery = delivery
        self.retries = retries
        self.fact = fact
        self.counter = 0
        self.over = False


class Store(Protocol):
    """A journal whose time a test controls. `rung`: the events passed to the bus, if observable."""

    journal: Journal
    rung: list[Event] | None
    # How much real time may pass, in seconds.
    slack: float

    def begin(self, number: int) -> None:
        """Prepare for another example."""

    def pass_time(self, feed: str, seconds: float) -> None:
        """Make the feed's lease end so much earlier."""


class MemoryStore:
    slack = 0.0

    def begin(self, number: int) -> None:
        self.now = 1_000.0
        self.rung: list[Event] = []
        self.journal: Journal = MemoryJournal(
            Settings(journal_url="redis://x", lease=LEASE),
            ring=lambda _feed, text: self.rung.append(Event.from_text(text)),
            clock=lambda: self.now,
        )

    def pass_time(self, feed: str, seconds: float) -> None:
        self.now += seconds


class StateMachine(RuleBasedStateMachine):
    """The oracle is the list of runs that began, the state, and the facts that the journal has accepted."""

    store: ClassVar[Store]
    examples: ClassVar[Iterator[int]] = count()

    @initialize(lease=st.none() | st.just(LEASE))
    def begin(self, lease):
        number = next(self.examples)
        self.feed = f"task:machine-{number}"
        self.now = 0.0
        self.store.begin(number)
        self.journal, self.rung = self.store.journal, self.store.rung
        self.journal.open(self.feed, owner="alice", draft=said(states.QUEUED), lease=lease)
        self.runs = []
        self.state = states.QUEUED
        self.facts = 1
        self.events = 1
        self.silent = 0
        self.cancel = False
        self.ends = None if lease is None else self.now + lease
        # Whose texts the feed has; 0: nobody has written any.
        self.writer = 0
        self.written = {}

    # Every writing call of the journal is here.

    def append(self, run, draft, *, fact=0, counter=0, texts=NO_TEXTS):
        number = 0 if run is None else run.number
        return self.journal.append(self.feed, draft, run=number, fact=fact, counter=counter, texts=texts)

    def claim(self, *, worker, delivery, retries):
        return self.journal.claim(
            self.feed,
            said(states.RUNNING),
            worker=worker,
            delivery=delivery,
            retries=retries,
            lease=LEASE,
            failed=said(states.FAILED),
        )

    def took(self, draft):
        """Record in the oracle what the journal has stored."""
        self.events += 1
        self.facts += draft.is_fact
        if draft.state is not None:
            assert self.state in states.PREDECESSORS[draft.state]
            self.state = draft.state
        if draft.state in states.ENDS_RUN:
            self.ends = None
            for run in self.runs:
                run.over = True

    def texts_of(self, run):
        """How much of its texts a run has written here."""
        texts = self.written.items() if self.writer == run.number else ()
        return Texts.of(run.number, [(name, size_of(text)) for name, text in texts])

    @property
    def live(self):
        return self.runs[-1] if self.runs and not self.runs[-1].over else None

    @precondition(lambda self: self.live)
    @rule(worker=st.sampled_from(WORKERS))
    def a_run_dies_and_the_broker_delivers_again(self, worker):
        self.time_passes(max(0.0, (self.ends or self.now) - self.now))
        self.claims(worker=worker, delivery=f"again-{len(self.runs)}", retries=self.live.retries)

    @rule(worker=st.sampled_from(WORKERS), delivery=DELIVERIES, retries=st.integers(0, 2))
    def a_worker_claims(self, worker, delivery, retries):
        self.claims(worker=worker, delivery=delivery, retries=retries)

    def claims(self, *, worker, delivery, retries):
        live, left = self.live, (self.ends or 0.0) - self.now
        answer = self.claim(worker=worker, delivery=delivery, retries=retries)
        if states.is_terminal(self.state):
            assert answer == Closed(self.state)
        elif live and live.delivery == delivery:
            assert isinstance(answer, Claimed)
            assert (answer.run, answer.facts_written) == (live.number, live.fact)
        elif live and retries <= live.retries and left > 0:
            assert answer == Busy(live.number, self.about(left))
        else:
            self.silent += live is not None and retries <= live.retries
            if live and retries <= live.retries and self.silent >= MAX_SILENT_ENDS:
                assert answer == Closed(states.FAILED)
                self.took(said(states.FAILED))
                return
            assert isinstance(answer, Claimed)
            assert (answer.run, answer.cancel) == (len(self.runs) + 1, self.cancel)
            for run in self.runs:
                run.over = True
            if not self.cancel:
                self.took(said(states.RUNNING))
                if self.writer:
                    self.writer, self.written = answer.run, {}
            fact = 0 if self.cancel else 1
            self.runs.append(Run(answer.run, worker=worker, delivery=delivery, retries=retries, fact=fact))
            self.ends = self.now + LEASE

    def expected(self, run, draft, *, fact, counter, texts):
        """The journal's expected answer to an event of a run."""
        newest, has = self.runs[-1], self.texts_of(run)
        if run is not newest:
            return Fenced(newest.number)
        if draft.chunk is not None:
            if draft.chunk.end <= has.length(draft.chunk.name):
                return Duplicate
            if draft.chunk.at != has.length(draft.chunk.name):
                return TextGap(has)
        elif fact <= run.fact if draft.is_fact else (fact, counter) <= (run.fact, run.counter):
            return Duplicate
        elif fact > run.fact + draft.is_fact:
            return Conflict(run.fact)
        elif any(has.length(name) < length for name, length in texts.lengths):
            return TextGap(has)
        if states.is_terminal(self.state) or not (draft.state is None or states.may_follow(draft.state, self.state)):
            return Closed(self.state)
        return Stored

    def says(self, run, draft, *, fact, counter=0, texts=NO_TEXTS):
        expected = self.expected(run, draft, fact=fact, counter=counter, texts=texts)
        answer = self.append(run, draft, fact=fact, counter=counter, texts=texts)
        if not isinstance(expected, type):
            assert answer == expected
            return
        assert isinstance(answer, expected)
        assert answer.cancel == self.cancel
        if expected is Stored:
            if draft.chunk is not None:
                self.written = self.written if self.writer == run.number else {}
                self.writer = run.number
                self.written[draft.chunk.name] = self.written.get(draft.chunk.name, "") + draft.chunk.text
            else:
                run.fact, run.counter = fact, 0 if draft.is_fact else counter
            assert answer.stalled == (self.state == states.STALLED and draft.state is None)
            self.took(draft)
            if not run.over and (self.ends or 0.0) - self.now < LEASE / 2:
                self.ends = self.now + LEASE

    @precondition(lambda self: self.runs)
    @rule(
        run=st.integers(0, 5),
        name=st.sampled_from([*SAID, None]),
        ahead=st.sampled_from([1, 1, 1, 1, 0, 2]),
        more=st.sampled_from([0, 0, 0, 1]),
    )
    def a_run_says_a_fact(self, run, name, ahead, more):
        """It also says how much it has written; `more` than that is what the journal has lost."""
        chosen = self.runs[-1 - run % len(self.runs)]
        texts = Texts.of(chosen.number, [(name, length + more) for name, length in self.texts_of(chosen).lengths])
        draft = Draft("log", data="a line") if name is None else said(name)
        self.says(chosen, draft, fact=chosen.fact + ahead, texts=texts if texts.lengths else NO_TEXTS)

    @precondition(lambda self: self.runs)
    @rule(
        run=st.sampled_from([0, 0, 0, 1]),
        name=st.sampled_from("ab"),
        text=st.sampled_from(["x", "ä", "👋🏽 yz"]),
        ahead=st.sampled_from([0, 0, 0, -1, -8, 3]),
    )
    def a_run_writes(self, run, name, text, ahead):
        chosen = self.runs[-1 - run % len(self.runs)]
        chunk = Chunk(name, max(self.texts_of(chosen).length(name) + ahead, 0), text)
        self.says(chosen, Draft.of_text(chunk), fact=chosen.fact)

    @precondition(lambda self: self.runs)
    @rule(run=st.integers(0, 5), ahead=st.sampled_from([1, 1, 0, 3]), missing=st.booleans())
    def a_run_counts(self, run, ahead, missing):
        chosen = self.runs[-1 - run % len(self.runs)]
        draft = Draft("counter", progress={"completed": self.events})
        self.says(chosen, draft, fact=chosen.fact + missing, counter=chosen.counter + ahead)

    @rule(name=st.sampled_from(SAID))
    def web_says_a_state(self, name):
        """Without a run, like the main process for a child that died: guarded by state alone."""
        answer = self.append(None, said(name))
        if not states.is_terminal(self.state) and states.may_follow(name, self.state):
            assert isinstance(answer, Stored)
            self.took(said(name))
        else:
            assert answer == Closed(self.state)

    @rule(seconds=st.sampled_from([1.0, LEASE / 2 + 1, LEASE, 4 * LEASE]))
    def some_time_passes(self, seconds):
        self.time_passes(seconds)

    @precondition(lambda self: self.live)
    @rule(seconds=st.sampled_from([1.0, LEASE / 2 + 1]))
    def the_live_run_speaks_again(self, seconds):
        """Its event is a sign of life, and prolongs a lease of which half has passed."""
        self.time_passes(seconds)
        self.says(self.live, Draft("log", data="a line"), fact=self.live.fact + 1)

    def time_passes(self, seconds):
        self.now += seconds
        self.store.pass_time(self.feed, seconds)

    def about(self, left):
        """Return the rest of a lease, as precisely as a server's clock can be compared."""
        return left if left is None else pytest.approx(left, abs=self.store.slack)

    @rule(verdict=st.sampled_from([states.STALLED, states.LOST, states.FAILED, states.CANCELLED]), stale=st.booleans())
    def a_reaper_speaks(self, verdict, stale):
        number = max(len(self.runs) - stale, 0)
        ended = self.ends is not None and self.ends <= self.now
        again = LEASE if verdict == states.STALLED else None
        may = not states.is_terminal(self.state) and states.may_follow(verdict, self.state)
        answer = self.journal.conclude(self.feed, number, said(verdict), lease=again)
        if number == len(self.runs) and ended and may:
            assert isinstance(answer, Stored)
            self.took(said(verdict))
            self.ends = None if again is None else self.now + again
        else:
            assert answer == Closed(self.state)

    @rule()
    def somebody_cancels(self):
        is_gone = self.state == states.STALLED and self.ends is None
        at_once = self.state in (states.QUEUED, states.RETRYING) or is_gone
        answer = self.journal.cancel(self.feed, cancelling=said(states.CANCELLING), cancelled=said(states.CANCELLED))
        if states.is_terminal(self.state):
            assert answer == Closed(self.state)
        elif self.cancel:
            assert isinstance(answer, Duplicate)
        else:
            assert isinstance(answer, Stored)
            self.cancel = True
            self.took(said(states.CANCELLED if at_once else states.CANCELLING))

    @rule(worker=st.sampled_from(WORKERS))
    def a_worker_renews(self, worker):
        held = self.journal.renew(worker, [self.feed], lease=LEASE)[self.feed]
        valid = self.live is not None and self.live.worker == worker
        assert held == Held(valid, self.cancel, self.state == states.STALLED)
        if valid:
            self.ends = self.now + LEASE

    @rule()
    def the_dispatch_is_confirmed(self):
        self.journal.confirm(self.feed)
        if not self.runs:
            self.ends = None

    @invariant()
    def at_most_one_run_may_write(self):
        if hasattr(self, "journal"):
            valid = [run.number for run in self.runs if self.journal.check(self.feed, run.number).valid]
            assert valid == ([self.live.number] if self.live else [])

    @invariant()
    def the_journal_has_what_the_oracle_has(self):
        if hasattr(self, "journal"):
            head = self.journal.heads([self.feed])[self.feed]
            assert (head.state, head.run) == (self.state, len(self.runs))
            assert (head.cursor.facts, head.cursor.seq) == (self.facts, self.events)
            assert head.lease_left == self.about(None if self.ends is None else self.ends - self.now)

    @invariant()
    def the_texts_are_what_one_run_has_written(self):
        if hasattr(self, "journal"):
            lengths = [(name, size_of(text)) for name, text in self.written.items()]
            assert self.journal.snapshot(self.feed).cursor.texts == Texts.of(self.writer, lengths)
            assert {name: self.journal.text(self.feed, name) for name in self.written} == self.written

    @invariant()
    def only_an_ended_lease_is_expired(self):
        if hasattr(self, "journal"):
            expired = [each.run for each in self.journal.expired(limit=1000) if each.feed == self.feed]
            assert expired == ([len(self.runs)] if self.ends is not None and self.ends <= self.now else [])

    def teardown(self):
        if not hasattr(self, "journal"):
            return
        reading = self.journal.read(self.feed, None, limit=10_000)
        assert [event.facts for event in reading.events] == list(range(1, self.facts + 1))
        assert follow(Cursor(reading.cursor.epoch, 0, 0, ZERO_CHAIN), reading.events)
        brought = {}
        for chunk in reading.chunks:
            assert chunk.at == size_of(brought.get(chunk.name, ""))
            brought[chunk.name] = brought.get(chunk.name, "") + chunk.text
        assert brought == self.written
        passed = [event.patch["state"] for event in reading.events if "state" in event.patch]
        assert all(states.may_follow(after, before) for before, after in pairwise(passed))
        assert sum(map(states.is_terminal, passed)) == states.is_terminal(self.state)
        assert self.silent <= MAX_SILENT_ENDS
        if self.rung is not None:
            assert [event.seq for event in self.rung] == list(range(1, self.events + 1))
            if states.is_terminal(self.state):
                assert self.rung[-1].patch == {"state": self.state}
            runs = [event.run for event in self.rung if event.run > 0]
            assert runs == sorted(runs)
        self.journal.forget(self.feed)


def machine_on(store: Store, **more: object) -> type[StateMachine]:
    """Return the state machine for this store."""
    return type("StateMachineOnStore", (StateMachine,), {"store": store, **more})

"""The reader's rule: the transcripts that both languages run, and a reader with a real journal and a faulty bus."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from petiole.journal.answers import Stored
from petiole.protocol.events import ZERO_CHAIN, Cursor, Draft, Event, EventHeader, fold
from petiole.protocol.reader import (
    BUFFER_LIMIT,
    Clear,
    Read,
    Reader,
    Reading,
    Reset,
    Show,
    Verdict,
    Write,
    follow,
    judge,
)
from petiole.protocol.texts import Chunk
from petiole.settings import Settings
from tests.support.memory_journal import MemoryJournal

FEED = "task:a"
TRANSCRIPTS = sorted((Path(__file__).parents[2] / "protocol" / "transcripts").glob("*.json"))


def on_the_wire(action):
    match action:
        case Show(event):
            return {"show": event.id}
        case Read(cursor):
            return {"read": None if cursor is None else str(cursor)}
        case Reset(cursor):
            return {"reset": str(cursor)}
        case Write(chunk):
            return {"write": [chunk.name, chunk.at, chunk.text]}
        case Clear(run):
            return {"clear": run}


def relayed(action):
    if isinstance(action, Write):
        return None if action.event is None else {"show": action.event.id}
    return None if isinstance(action, Clear) else on_the_wire(action)


def for_a_relay(step, waiting):
    """Return what a relay does: it passes on text events, also those that were `waiting`, and looks into no text."""
    rung = [step["event"]] if "event" in step else waiting
    done = []
    for action in step["do"]:
        if "write" in action:
            name, at, text = action["write"]
            chunk = {"name": name, "at": at, "chunk": text}
            done.extend({"show": event["id"]} for event in rung if event.get("data") == chunk)
        elif "clear" not in action:
            done.append(action)
    return done


def take(reader, step):
    if step.get("start"):
        return reader.start()
    if "event" in step:
        return reader.offer(Event.from_wire(step["event"]))
    if "reading" in step:
        return reader.answer(Reading.from_wire(step["reading"]))
    if "reset" in step:
        return reader.reset(Reading.from_wire(step["reset"]))
    return reader.head(Cursor(**step["head"]), asked=Cursor.parse(step["asked"]))


def test_there_are_transcripts():
    assert len(TRANSCRIPTS) >= 14


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(path):
    transcript = json.loads(path.read_text(encoding="utf-8"))
    cursor = transcript.get("cursor")
    reader = Reader(
        transcript["feed"],
        cursor=None if cursor is None else Cursor.parse(cursor),
        document=transcript.get("document"),
    )
    assert transcript["steps"][0].get("start") is True
    for number, step in enumerate(transcript["steps"]):
        done = [on_the_wire(action) for action in take(reader, step)]
        assert done == step["do"], f"step {number}"
    assert {
        "cursor": None if reader.cursor is None else str(reader.cursor),
        "document": reader.document,
        "shown": reader.shown,
        "complete": reader.complete,
        "texts": reader.texts,
    } == {"texts": {}, **transcript["expect"]}


# A relay keeps no texts, so it doesn't find out.
OF_CONTENT = {
    "text-that-does-not-fit-is-read-again-from-the-start",
    "texts-of-which-one-does-not-fit-are-both-read-again",
    "text-of-a-later-run-that-does-not-fit-voids-the-earlier-run-as-well",
}


@pytest.mark.parametrize(
    "path", [path for path in TRANSCRIPTS if path.stem not in OF_CONTENT], ids=lambda path: path.stem
)
def test_a_relay_that_steps_past_what_follows_reads_by_the_same_rule(path):
    transcript = json.loads(path.read_text(encoding="utf-8"))
    cursor = transcript.get("cursor")
    reader = Reader(transcript["feed"], cursor=None if cursor is None else Cursor.parse(cursor), keep_document=False)
    waiting = []
    for number, step in enumerate(transcript["steps"]):
        rung = EventHeader.from_text(Event.from_wire(step["event"]).to_text()) if "event" in step else None
        if rung is not None and reader.step(rung):
            done = [{"show": rung.id}]
        else:
            done = [done for action in take(reader, step) if (done := relayed(action)) is not None]
        assert done == for_a_relay(step, waiting), f"step {number}"
        waiting = [*waiting, step["event"]] if "event" in step and not step["do"] else []
    assert None if reader.cursor is None else str(reader.cursor) == transcript["expect"]["cursor"]
    assert (reader.shown, reader.complete) == (transcript["expect"]["shown"], transcript["expect"]["complete"])


def test_a_reader_without_texts_passes_over_them_and_over_a_gap_in_them():
    journal, heard = new_journal(), []
    journal._ring = lambda _feed, text: heard.append(Event.from_text(text))
    journal.open(FEED, owner="alice", draft=FIRST)
    journal.claim(FEED, Draft("state", {"state": "running"}), worker="w", delivery="d", retries=0, lease=9)
    journal.append(FEED, Draft.of_text(Chunk("output", 0, "before ")), run=1, delivery="d")
    reader = Reader(FEED, keep_texts=False)
    reader.start()
    reader.answer(journal.read(FEED, None, limit=10, texts=False))
    heard.clear()
    journal.append(FEED, Draft.of_text(Chunk("output", 7, "lost ")), run=1, delivery="d")
    journal.append(FEED, Draft.of_text(Chunk("output", 12, "after")), run=1, delivery="d")
    journal.append(FEED, Draft("log", data=1), run=1, fact=2, delivery="d")
    _, chunk, fact = heard
    assert reader.offer(chunk) == []
    assert reader.offer(fact) == [Show(fact)]
    assert (str(reader.cursor), reader.texts) == (str(fact.cursor.place), {})


def test_a_reader_that_keeps_a_document_steps_past_nothing():
    journal = new_journal()
    journal.open(FEED, owner="alice", draft=FIRST)
    whole, light = Reader(FEED), Reader(FEED, keep_document=False)
    for reader in (whole, light):
        reader.start()
        reader.answer(journal.read(FEED, None, limit=10))
    journal.append(FEED, Draft("log", data=1))
    event = journal.read(FEED, None, limit=10).events[-1]
    assert not whole.step(event)
    assert light.step(event)
    assert not light.step(event)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_readings_text_says_what_its_object_says(count):
    journal = new_journal()
    journal.open(FEED, owner="alice", draft=Draft("state", {"state": "queued", "events": [], "note": '"events":[]'}))
    for number in range(count):
        journal.append(FEED, Draft("log", data={"message": f"ü {number}"}))
    for cursor in (None, Cursor("ffffffff", 0, 0, ZERO_CHAIN)):
        reading = journal.read(FEED, cursor, limit=2)
        assert json.loads(reading.to_text()) == reading.to_wire()
        assert Reading.from_wire(json.loads(reading.to_text())) == reading
        assert reading.to_text() is reading.to_text()


def new_journal(ring=None, *, facts_kept=2000):
    return MemoryJournal(
        Settings(journal_url="redis://x", facts_kept=facts_kept),
        ring=ring and (lambda _feed, text: ring(Event.from_text(text))),
    )


FIRST = Draft("state", {"state": "queued"})


class TestReader:
    @pytest.fixture
    def rung(self):
        return []

    @pytest.fixture
    def journal(self, rung):
        journal = new_journal(rung.append)
        journal.open(FEED, owner="alice", draft=FIRST)
        return journal

    @pytest.fixture
    def reader(self, journal):
        reader = Reader(FEED)
        reader.start()
        reader.answer(journal.read(FEED, None, limit=10))
        return reader

    def test_a_buffer_that_overflows_is_discarded_and_one_more_read_asked_for(self, journal, rung):
        reader = Reader(FEED)
        reader.start()
        early = journal.read(FEED, None, limit=10)
        for number in range(BUFFER_LIMIT + 1):
            journal.append(FEED, Draft("log", data=number))
        rung.pop(0)
        assert all(reader.offer(event) == [] for event in rung)
        shown, again = reader.answer(early)
        assert isinstance(shown, Show)
        assert again == Read(early.cursor)
        answers = reader.answer(journal.read(FEED, early.cursor, limit=10_000))
        assert len(answers) == BUFFER_LIMIT + 1
        assert reader.complete
        assert not reader.reading

    @pytest.fixture
    def overflowed(self, journal, rung):
        """A reader at the first fact that is reading, with more events than it buffers; and its cursor."""
        reader = Reader(FEED)
        reader.start()
        early = journal.read(FEED, None, limit=10)
        reader.answer(early)
        reader.start()
        for number in range(BUFFER_LIMIT + 2):
            journal.append(FEED, Draft("log", data=number))
        for event in rung[2:]:
            assert reader.offer(event) == []
        return reader, early.cursor

    def test_all_pages_are_read_before_the_one_more_read_after_an_overflow(self, journal, overflowed):
        reader, cursor = overflowed
        first = journal.read(FEED, cursor, limit=1000)
        assert first.more
        assert reader.answer(first)[-1] == Read(first.cursor)
        last = journal.read(FEED, first.cursor, limit=1000)
        assert not last.more
        assert reader.answer(last)[-1] == Read(last.cursor)
        assert reader.answer(journal.read(FEED, last.cursor, limit=1000)) == []
        assert (reader.reading, reader.complete, reader.shown) == (False, True, BUFFER_LIMIT + 3)

    def test_a_reset_after_an_overflow_is_followed_by_one_more_read(self, journal, overflowed):
        reader, _ = overflowed
        gone = journal.read(FEED, Cursor("ffffffff", 1, 1, ZERO_CHAIN), limit=10)
        assert reader.answer(gone) == [Reset(gone.cursor), Read(gone.cursor)]
        assert reader.answer(journal.read(FEED, gone.cursor, limit=10)) == []
        assert (reader.reading, reader.complete) == (False, False)

    def test_a_head_is_passed_over_after_an_overflow(self, journal, overflowed):
        reader, cursor = overflowed
        for head in (cursor, journal.snapshot(FEED).cursor, Cursor("ffffffff", 1, 1, ZERO_CHAIN)):
            assert reader.head(head, asked=cursor) == []
        assert reader.reading

    def test_a_buffer_of_exactly_the_limit_is_offered(self, journal, rung):
        reader = Reader(FEED)
        reader.start()
        early = journal.read(FEED, None, limit=10)
        for number in range(BUFFER_LIMIT):
            journal.append(FEED, Draft("log", data=number))
        for event in rung:
            reader.offer(event)
        assert rung[0].seq == 1
        reader = Reader(FEED)
        reader.start()
        for event in rung[1:]:
            reader.offer(event)
        actions = reader.answer(early)
        assert [action.event.seq for action in actions] == list(range(1, BUFFER_LIMIT + 2))
        assert not reader.reading

    def test_a_reader_without_a_document_keeps_only_the_cursor(self, journal, rung):
        reader = Reader(FEED, keep_document=False)
        reader.start()
        reader.answer(journal.read(FEED, None, limit=10))
        journal.append(FEED, Draft("state", {"note": 1}))
        assert reader.offer(rung[-1]) == [Show(rung[-1])]
        assert reader.document == {}
        assert reader.cursor == journal.snapshot(FEED).cursor

    def test_a_reader_that_comes_back_counts_what_its_application_showed(self, journal):
        for number in range(5):
            journal.append(FEED, Draft("log", data=number))
        cursor = journal.read(FEED, None, limit=3).cursor
        reader = Reader(FEED, cursor=cursor, document={"state": "queued"})
        assert reader.start() == [Read(cursor)]
        assert len(reader.answer(journal.read(FEED, cursor, limit=10))) == 3
        assert reader.shown == 6
        assert reader.complete

    def test_events_while_reading_are_not_shown_before_the_answer(self, reader, journal, rung):
        journal.append(FEED, Draft("log", data=1))
        journal.append(FEED, Draft("log", data=2))
        journal.append(FEED, Draft("log", data=3))
        assert reader.offer(rung[2]) == [Read(reader.cursor)]
        assert reader.offer(rung[3]) == []
        assert reader.offer(rung[1]) == []
        actions = reader.answer(journal.read(FEED, reader.cursor, limit=10))
        assert [action.event.data for action in actions] == [1, 2, 3]

    def test_a_head_is_passed_over_while_reading(self, reader, journal):
        journal.append(FEED, Draft("log", data=1))
        head = journal.snapshot(FEED).cursor
        asked = reader.cursor
        assert reader.head(head, asked=asked) == [Read(asked)]
        assert reader.head(head, asked=asked) == []

    def test_a_head_that_the_reader_has_passed_meanwhile_is_nothing(self, reader, journal, rung):
        asked = reader.cursor
        head = journal.snapshot(FEED).cursor
        journal.append(FEED, Draft("log", data=1))
        reader.offer(rung[-1])
        assert reader.head(head, asked=asked) == []

    def test_facts_follow_by_number_and_chain(self, journal):
        for number in range(3):
            journal.append(FEED, Draft("log", data=number))
        events = journal.read(FEED, None, limit=10).events
        start = Cursor(events[0].epoch, 0, 0, ZERO_CHAIN)
        assert follow(start, events)
        assert follow(events[1].cursor, events[2:])
        assert not follow(start, events[1:])
        assert not follow(start, (events[0], events[2]))
        assert not follow(start, events[::-1])
        assert not follow(Cursor("ffffffff", 0, 0, ZERO_CHAIN), events)

    def test_the_verdict_on_an_event_of_the_same_place_is_to_drop_it(self, journal, rung):
        cursor = journal.snapshot(FEED).cursor
        assert judge(cursor, rung[0]) is Verdict.DROP


class FeedMachine(RuleBasedStateMachine):
    """One writer, a journal, a bus that drops, doubles and swaps, and one reader whose reads and heads are delayed."""

    falls_back = False

    @initialize(facts_kept=st.sampled_from([2, 5, 2000]), limit=st.sampled_from([1, 2, 500]))
    def begin(self, facts_kept, limit):
        self.facts_kept = facts_kept
        self.limit = limit
        self.rung = deque()
        self.said = 0
        self.drafts = [FIRST]
        self.journal = new_journal(self.rung.append, facts_kept=facts_kept)
        self.journal.open(FEED, owner="alice", draft=FIRST, epoch="0123abcd")
        self.reader = Reader(FEED)
        self.shown = []
        self.document = {}
        self.resets = 0
        self.wanted = deque()
        self.answer = None
        self.head = None
        self.act(self.reader.start())

    def act(self, actions):
        for action in actions:
            match action:
                case Show(event) if event.is_fact:
                    self.shown.append(event.id)
                case Read():
                    assert not self.wanted, "a reader asks for one read at a time"
                    self.wanted.append(action)
                case Reset():
                    self.resets += 1

    def append(self, draft):
        self.drafts.append(draft)
        assert isinstance(self.journal.append(FEED, draft), Stored)

    @rule(patch=st.dictionaries(st.sampled_from("abc"), st.none() | st.integers(0, 9), max_size=2), moved=st.booleans())
    def write_a_fact(self, patch, moved):
        self.said += 1
        self.append(Draft("custom", patch, {"completed": self.said} if moved else None, {"number": self.said}))

    @rule()
    def write_a_counter(self):
        self.said += 1
        self.append(Draft("counter", progress={"completed": self.said}))

    @precondition(lambda self: self.rung)
    @rule()
    def ring(self):
        self.act(self.reader.offer(self.rung.popleft()))

    @precondition(lambda self: self.rung)
    @rule()
    def ring_twice(self):
        self.act(self.reader.offer(self.rung[0]))

    @precondition(lambda self: self.rung)
    @rule()
    def ring_later_again(self):
        self.rung.append(self.rung[0])

    @precondition(lambda self: self.rung)
    @rule()
    def lose_a_ring(self):
        self.rung.popleft()

    @precondition(lambda self: len(self.rung) > 1)
    @rule(by=st.integers(1, 3))
    def swap_rings(self, by):
        by = min(by, len(self.rung) - 1)
        self.rung[0], self.rung[by] = self.rung[by], self.rung[0]

    @precondition(lambda self: self.wanted and self.answer is None)
    @rule()
    def the_journal_reads(self):
        self.answer = self.journal.read(FEED, self.wanted[0].cursor, limit=self.limit)

    @precondition(lambda self: self.answer is not None)
    @rule()
    def the_reading_arrives(self):
        answer, self.answer = self.answer, None
        self.wanted.popleft()
        self.act(self.reader.answer(answer))

    @precondition(lambda self: self.reader.cursor is not None and self.head is None)
    @rule()
    def ask_for_the_head(self):
        self.head = (self.journal.heads([FEED])[FEED].cursor, self.reader.cursor)

    @precondition(lambda self: self.head is not None)
    @rule()
    def the_head_arrives(self):
        (head, asked), self.head = self.head, None
        self.act(self.reader.head(head, asked=asked))

    @precondition(lambda self: self.falls_back and len(self.drafts) > 1)
    @rule(lost=st.integers(1, 4))
    def fall_back(self, lost):
        """A replica takes over that doesn't have the last events."""
        self.drafts = self.drafts[: max(len(self.drafts) - lost, 1)]
        self.journal = new_journal(facts_kept=self.facts_kept)
        self.journal.open(FEED, owner="alice", draft=FIRST, epoch="0123abcd")
        for draft in self.drafts[1:]:
            self.journal.append(FEED, draft)
        self.journal._ring = lambda _feed, text: self.rung.append(Event.from_text(text))

    @invariant()
    def a_complete_reader_has_shown_each_fact_once_and_in_order(self):
        if hasattr(self, "reader") and self.reader.complete and not self.falls_back:
            facts = [draft.id for draft in self.drafts if draft.is_fact]
            assert self.shown == facts[: len(self.shown)]
            assert self.reader.shown == len(self.shown)

    @invariant()
    def a_reader_says_whether_it_was_reset(self):
        if hasattr(self, "reader"):
            assert self.reader.complete is (self.resets == 0)

    @invariant()
    def a_reader_that_follows_waits_for_no_read(self):
        if hasattr(self, "reader"):
            assert self.reader.reading is bool(self.wanted)

    def settle(self):
        while self.rung:
            self.ring()
        if self.head is not None:
            self.the_head_arrives()
        for _ in range(3):
            while self.wanted:
                if self.answer is None:
                    self.the_journal_reads()
                self.the_reading_arrives()
            self.ask_for_the_head()
            self.the_head_arrives()

    def teardown(self):
        if not hasattr(self, "reader"):
            return
        if self.falls_back:
            # A counter may reuse the number of a lost one; the next event corrects it, as it corrects a lost one.
            self.write_a_fact({}, True)
        self.settle()
        assert not self.reader.reading
        snapshot = self.journal.snapshot(FEED)
        assert self.reader.cursor == snapshot.cursor
        assert self.reader.document == snapshot.document
        if self.reader.complete:
            assert self.shown == [draft.id for draft in self.drafts if draft.is_fact]
        if not self.falls_back:
            assert len(set(self.shown)) == len(self.shown)


class FallingFeedMachine(FeedMachine):
    falls_back = True


_PACE = settings(
    max_examples=200,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestFeed = FeedMachine.TestCase
TestFeed.settings = _PACE
TestFallingFeed = pytest.mark.slow(FallingFeedMachine.TestCase)
TestFallingFeed.settings = _PACE


def breaks(machine):
    """Whether the state machine finds the injected fault."""
    try:
        machine.TestCase("runTest").runTest()
    except AssertionError:
        return True
    return False


class NoHeads(FallingFeedMachine):
    @precondition(lambda self: self.head is not None)
    @rule()
    def the_head_arrives(self):
        self.head = None


class TrustsTheBus(FeedMachine):
    """A reader that applies every event."""

    @precondition(lambda self: self.rung)
    @rule()
    def ring(self):
        event = self.rung.popleft()
        if self.reader.reading:
            self.act(self.reader.offer(event))
        else:
            self.reader.cursor = event.cursor
            self.reader.document = fold(self.reader.document, event)
            self.shown += [event.id] if event.is_fact else []


@pytest.mark.parametrize("machine", [NoHeads, TrustsTheBus])
def test_the_state_machine_finds_a_reader_that_lacks_a_part_of_the_rule(machine):
    machine.TestCase.settings = settings(_PACE, phases=[Phase.generate], report_multiple_bugs=False)
    assert breaks(machine)

"""Texts: a writer whose replies are lost, a journal that may lose its data, a faulty bus, and one reader."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from petiole.journal import Journal
from petiole.journal import texts as journal_texts
from petiole.journal.answers import Appended, Claimed, Duplicate, Fenced, Stored, TextGap
from petiole.protocol.events import Cursor, Draft, Event
from petiole.protocol.reader import Clear, Read, Reader, Reset, Write
from petiole.protocol.texts import MAX_READ_BYTES, NO_TEXTS, Chunk, Texts, size_of
from petiole.settings import Settings
from tests.support.memory_journal import MemoryJournal
from tests.unit.test_feed import breaks

FEED = "task:a"
NAMES = ("output", "errors")
# Of one to four bytes each, and some that JSON escapes.
CHARACTERS = st.sampled_from(["a", "b", '"', "\\", "\x00", "é", "日", "🎉", "\u200d"])
RUNNING = {"state": "running"}
FATES = st.lists(st.sampled_from(["ring", "ring", "ring", "lose", "twice", "later"]), min_size=1, max_size=6)


class TextMachine(RuleBasedStateMachine):
    """A run writes, merges and sends again what it isn't sure of; a reader shows the text on a page."""

    @initialize(
        facts_kept=st.sampled_from([2, 2000]), limit=st.sampled_from([1, 500]), read=st.sampled_from([8, 2**18])
    )
    def begin(self, facts_kept: int, limit: int, read: int) -> None:
        self.limit = limit
        journal_texts.MAX_READ_BYTES = read
        self.rung: deque[Event] = deque()
        self.journal = self.open_journal(facts_kept)
        self.journal.open(FEED, owner="alice", draft=Draft("state", {"state": "queued"}))
        # What each run has written, and how much of the newest one's the writer knows to be in the journal.
        self.history: dict[int, dict[str, str]] = {0: {}}
        self.known: dict[str, int] = {}
        self.sent: list[tuple[int, Draft]] = []
        self.run = self.fact = self.counter = 0
        self.reader = Reader(FEED)
        self.page: dict[str, str] = {}
        self.resets = 0
        self.wanted: deque[Read] = deque()
        self.begin_a_run()
        self.act(self.reader.start())

    def open_journal(self, facts_kept: int) -> Journal:
        return self.journal_class(Settings(journal_url="redis://x", facts_kept=facts_kept), ring=self.hear)

    journal_class: type[MemoryJournal] = MemoryJournal

    def hear(self, _feed: str, text: str | bytes) -> None:
        self.rung.append(Event.from_text(text))

    @property
    def written(self) -> dict[str, str]:
        return self.history[self.run]

    # The writer.

    @rule(
        name=st.sampled_from(NAMES),
        text=st.text(CHARACTERS, min_size=1, max_size=6),
        sent=st.sampled_from(["at once", "at once", "later", "without a reply"]),
    )
    def write(self, name: str, text: str, sent: str) -> None:
        self.written[name] = self.written.get(name, "") + text
        if sent != "later":
            self.send(name, replied=sent == "at once")

    def send(self, name: str, *, replied: bool) -> None:
        """Send what the journal lacks as one chunk: after a lost reply that is more than was sent before."""
        at = self.known.get(name, 0)
        chunk = Chunk(name, at, self.written[name].encode()[at:].decode())
        draft = Draft.of_text(chunk)
        self.sent.append((self.run, draft))
        answer = self.journal.append(FEED, draft, run=self.run)
        if not replied:
            return
        match answer:
            case Stored() | Duplicate():
                self.known[name] = chunk.end
            case TextGap(texts):
                self.known = dict(texts.lengths)
                self.send(name, replied=True)
            case _:
                raise AssertionError(answer)

    @rule(which=st.integers(0, 1000))
    def receive_a_chunk_once_more(self, which: int) -> None:
        if self.sent:
            run, draft = self.sent[-1 - which % min(len(self.sent), 4)]
            assert isinstance(self.journal.append(FEED, draft, run=run), Fenced) is (run < self.run)

    @rule(again=st.booleans())
    def write_a_fact(self, again: bool) -> None:
        draft = Draft("custom", data={})
        said = {
            "run": self.run,
            "fact": self.fact + 1,
            "texts": Texts.of(self.run, {name: size_of(text) for name, text in self.written.items()}),
        }
        answer = self.journal.append(FEED, draft, **said)
        if isinstance(answer, TextGap):
            self.known = dict(answer.texts.lengths)
            for name, text in self.written.items():
                if self.known.get(name, 0) < size_of(text):
                    self.send(name, replied=True)
            answer = self.journal.append(FEED, draft, **said)
        assert isinstance(answer, Stored)
        self.fact, self.counter = self.fact + 1, 0
        if again:
            assert isinstance(self.journal.append(FEED, draft, **said), Duplicate)

    @rule()
    def count(self) -> None:
        self.counter += 1
        draft = Draft("counter", progress={"completed": self.counter})
        assert isinstance(self.journal.append(FEED, draft, run=self.run, fact=self.fact, counter=self.counter), Stored)

    @rule(chance=st.integers(0, 5), lost=st.booleans())
    def begin_again(self, chance: int, lost: bool) -> None:
        if chance == 0:
            self.lose_all_data() if lost else self.begin_a_run()

    def begin_a_run(self) -> None:
        draft, run = Draft("state", RUNNING), self.run + 1
        answer = self.journal.claim(FEED, draft, worker="w", delivery=f"d{run}", retries=run, lease=600.0)
        assert isinstance(answer, Claimed)
        self.run, self.fact, self.counter, self.known = run, 1, 0, {}
        self.history[run] = {}

    def lose_all_data(self) -> None:
        snapshot = self.journal.snapshot(FEED)
        assert snapshot is not None
        self.journal.forget(FEED)
        answer = self.journal.rebase(
            FEED,
            owner="alice",
            run=self.run,
            delivery=f"d{self.run}",
            retries=self.run,
            last=snapshot.cursor.place,
            fact=self.fact,
            document=snapshot.document,
            worker="w",
            lease=600.0,
        )
        assert isinstance(answer, Cursor)

    # The bus and the reader.

    @rule(fates=FATES)
    def pass_on(self, fates: list[str]) -> None:
        for fate in fates:
            if not self.rung:
                return
            event = self.rung.popleft()
            match fate:
                case "ring":
                    self.offer(event)
                case "twice":
                    self.offer(event)
                    self.offer(event)
                case "later":
                    self.rung.insert(2, event)

    def offer(self, event: Event) -> None:
        self.act(self.reader.offer(event))

    @precondition(lambda self: self.wanted)
    @rule(meanwhile=FATES)
    def read(self, meanwhile: list[str]) -> None:
        answer = self.journal.read(FEED, self.wanted[0].cursor, limit=self.limit)
        assert answer is not None
        self.pass_on(meanwhile)
        self.wanted.popleft()
        self.act(self.reader.answer(answer))

    @rule(meanwhile=FATES)
    def look_at_the_head(self, meanwhile: list[str]) -> None:
        asked, head = self.reader.cursor, self.journal.heads([FEED])[FEED].cursor
        if asked is not None:
            self.pass_on(meanwhile)
            self.act(self.reader.head(head, asked=asked))

    def act(self, actions: list[Any]) -> None:
        for action in actions:
            match action:
                case Write(chunk):
                    assert chunk.at == size_of(self.page.get(chunk.name, ""))
                    self.page[chunk.name] = self.page.get(chunk.name, "") + chunk.text
                case Clear():
                    self.page.clear()
                case Reset():
                    self.resets += 1
                case Read():
                    assert not self.wanted, "a reader asks for one read at a time"
                    self.wanted.append(action)

    def catch_up(self) -> None:
        for _ in range(3):
            self.pass_on(["ring"] * len(self.rung))
            reads = 0
            while self.wanted:
                self.read([])
                reads += 1
                assert reads < 500, "The reader reads for ever."
            self.look_at_the_head([])
        assert not self.reader.reading

    @invariant()
    def the_journal_has_what_was_written(self) -> None:
        for name in NAMES if hasattr(self, "reader") else ():
            assert self.written.get(name, "").startswith(self.journal.text(FEED, name) or "")

    @invariant()
    def the_page_has_what_was_written(self) -> None:
        if hasattr(self, "reader"):
            assert self.page == self.reader.texts
            texts = self.reader.cursor.texts if self.reader.cursor else NO_TEXTS
            assert {name: size_of(text) for name, text in self.page.items()} == dict(texts.lengths)
            for name, text in self.page.items():
                assert self.history[texts.run].get(name, "").startswith(text)

    def teardown(self) -> None:
        if not hasattr(self, "reader"):
            return
        try:
            self.write_a_fact(False)
            self.catch_up()
            # Rings of chunks are lost, and what rings next tells of them: the next chunk, or the last fact.
            for name in NAMES:
                self.write(name, "é", "at once")
                self.rung.clear()
            self.write(NAMES[0], "ü", "at once")
            self.catch_up()
            self.write(NAMES[0], "日", "at once")
            self.rung.clear()
            self.write(NAMES[1], "ñ", "later")
            self.write_a_fact(False)
            self.catch_up()
            snapshot = self.journal.snapshot(FEED)
            assert snapshot is not None
            assert {name: self.journal.text(FEED, name) for name in self.written} == self.written
            assert self.page == self.reader.texts == self.written
            assert (self.reader.cursor, self.reader.document) == (snapshot.cursor, snapshot.document)
            assert self.reader.complete is (self.resets == 0)
        finally:
            journal_texts.MAX_READ_BYTES = MAX_READ_BYTES


PACE = settings(
    max_examples=200,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestTexts = TextMachine.TestCase
TestTexts.settings = PACE


class CarelessJournal(MemoryJournal):
    """Appends each chunk to the end of its text, wherever it begins."""

    def append(self, feed: str, draft: Draft, *, run: int = 0, **more: Any) -> Appended:
        chunk = draft.chunk
        if chunk is not None:
            ends = self._feeds[feed].texts.of_run(run).length(chunk.name)
            draft = replace(draft, data=chunk._replace(at=ends).to_wire())
        return super().append(feed, draft, run=run, **more)


class AppendsWithoutThePosition(TextMachine):
    journal_class = CarelessJournal


class IgnoresTheLengths(TextMachine):
    """A reader to which every event says that it has all there is."""

    def offer(self, event: Event) -> None:
        if not self.reader.reading and self.reader.cursor is not None and event.texts:
            held, span = self.reader.cursor.texts.of_run(event.texts.run), event.span
            event = replace(event, texts=held if span is None else held.grown(span.name, span.end))
        super().offer(event)


class WritesEveryChunk(TextMachine):
    """A reader that writes what rings, wherever it begins."""

    def offer(self, event: Event) -> None:
        chunk = event.chunk
        if not self.reader.reading and self.reader.cursor is not None and chunk is not None:
            held = self.reader.cursor.texts.of_run(event.texts.run)
            moved = chunk._replace(at=held.length(chunk.name))
            event = replace(event, data=moved.to_wire(), texts=held.grown(chunk.name, moved.end))
        super().offer(event)


class TakesFactsBeforeTheirText(TextMachine):
    """A journal that takes a fact though it lacks the text that was written before."""

    class Eager(MemoryJournal):
        def append(self, feed: str, draft: Draft, *, texts: Texts = NO_TEXTS, **more: Any) -> Appended:
            return super().append(feed, draft, **more)

    journal_class = Eager


@pytest.mark.parametrize(
    "machine", [AppendsWithoutThePosition, IgnoresTheLengths, WritesEveryChunk, TakesFactsBeforeTheirText]
)
def test_the_state_machine_finds_what_lacks_a_part_of_the_rule(machine: type[TextMachine]) -> None:
    machine.TestCase.settings = settings(PACE, phases=[Phase.generate], report_multiple_bugs=False)
    assert breaks(machine)

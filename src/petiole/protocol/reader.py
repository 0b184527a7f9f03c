"""The reader's rule, as `protocol/README.md` states it: relay, browser and Python client all read by it.

Pure: no clock, no I/O. `browser/src/protocol/reader.ts` is its twin, and both run `protocol/transcripts/*.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple, Protocol, TypeAlias, cast

from petiole.protocol.encoding import JSON
from petiole.protocol.events import VERSIONS, ZERO_CHAIN, Cursor, Document, Event, advance_chain, fold
from petiole.protocol.texts import NO_TEXTS, Chunk, Span, Texts

BUFFER_LIMIT: Final = 1024


class Verdict(Enum):
    """What the rule says about one event."""

    APPLY = "apply"
    DROP = "drop"
    READ = "read"


@dataclass(frozen=True, slots=True)
class Show:
    """Show this event: it was applied, or it came with a reading that has it folded in already."""

    event: Event


@dataclass(frozen=True, slots=True)
class Write:
    """Append this chunk to its text; `event` is the one that brought it, `None` if a reading did."""

    chunk: Chunk
    event: Event | None = None


@dataclass(frozen=True, slots=True)
class Clear:
    """Void the texts: `run` begins its own, or they are shown again from the start."""

    run: int


@dataclass(frozen=True, slots=True)
class Read:
    """Ask the journal for what follows this cursor (`None`: from the start)."""

    cursor: Cursor | None


@dataclass(frozen=True, slots=True)
class Reset:
    """The document was replaced by a snapshot; facts in between may have been missed."""

    cursor: Cursor


def _dump(wire: Document) -> str:
    return json.dumps(wire, separators=(",", ":"))


Action: TypeAlias = Show | Write | Clear | Read | Reset


@dataclass(frozen=True, slots=True)
class Reading:
    """The journal's answer to a read, all of one instant.

    `events` are the facts after the cursor, folded into `document` already. Not `recovered`: no events, and the document
    is a snapshot. `more`: read again from `cursor` at once. `start`: a reader without a cursor isn't recovered
    either, because the facts before `start` are no longer kept; `events` follow from there. `chunks` are what the texts
    have after the cursor; of a later run, and if not `recovered`, from the start.
    """

    feed: str
    document: Document
    events: tuple[Event, ...]
    cursor: Cursor
    recovered: bool
    more: bool = False
    start: Cursor | None = None
    chunks: tuple[Chunk, ...] = ()
    _text: str | None = field(default=None, init=False, repr=False, compare=False)

    def to_text(self) -> str:
        """Return the JSON text that goes to a browser. It is made once, and of facts it is the journal's own text."""
        if self._text is None:
            events = ",".join(event.to_text() for event in self.events)
            before = _dump({"feed": self.feed, "document": self.document}).removesuffix("}")
            after = _dump(self._place()).removeprefix("{")
            object.__setattr__(self, "_text", f'{before},"events":[{events}],{after}')
        return cast(str, self._text)

    def to_wire(self) -> Document:
        return {
            "feed": self.feed,
            "document": self.document,
            "events": [event.to_wire() for event in self.events],
            **self._place(),
        }

    def _place(self) -> Document:
        # A reader of version 1, such as a page that was loaded before a deploy, reads the cursor and passes over the texts.
        place: Document = {"cursor": str(self.cursor.place), "recovered": self.recovered, "more": self.more}
        if self.start is not None:
            place["start"] = str(self.start)
        if self.cursor.texts:
            place["texts"] = {"after": str(self.cursor.texts), "chunks": [chunk.to_wire() for chunk in self.chunks]}
        return place

    @classmethod
    def from_wire(cls, wire: Mapping[str, JSON]) -> Reading:
        texts = wire.get("texts") or {}
        return cls(
            feed=wire["feed"],
            document=wire["document"],
            events=tuple(Event.from_wire(event) for event in wire["events"]),
            cursor=Cursor.parse(wire["cursor"], texts.get("after")),
            recovered=wire["recovered"],
            more=wire["more"],
            start=None if wire.get("start") is None else Cursor.parse(wire["start"]),
            chunks=tuple(Chunk.from_wire(chunk) for chunk in texts.get("chunks", ())),
        )


class Numbered(Protocol):
    """What the rule needs of an event."""

    @property
    def v(self) -> int: ...
    @property
    def id(self) -> str: ...
    @property
    def feed(self) -> str: ...
    @property
    def epoch(self) -> str: ...
    @property
    def seq(self) -> int: ...
    @property
    def facts(self) -> int: ...
    @property
    def chain(self) -> str: ...
    @property
    def is_fact(self) -> bool: ...
    @property
    def texts(self) -> Texts: ...
    @property
    def span(self) -> Span | None: ...
    @property
    def cursor(self) -> Cursor: ...


def judge(cursor: Cursor, event: Numbered, *, texts: bool = True) -> Verdict:
    """Decide what a reader at `cursor` does with `event`; `texts`: whether it reads texts."""
    if event.epoch != cursor.epoch:
        return Verdict.READ
    if event.facts < cursor.facts or (event.facts == cursor.facts and event.seq <= cursor.seq):
        return Verdict.DROP
    if event.seq <= cursor.seq:
        return Verdict.READ
    if event.is_fact:
        follows = event.facts == cursor.facts + 1 and event.chain == advance_chain(cursor.chain, event.id)
    else:
        follows = event.facts == cursor.facts and event.chain == cursor.chain
    follows = follows and (not texts or event.texts.follows(cursor.texts, event.span))
    return Verdict.APPLY if follows else Verdict.READ


def follow(cursor: Cursor, events: Sequence[Event]) -> bool:
    """Say whether these facts follow from `cursor` one by one, by number and by chain."""
    facts, chain = cursor.facts, cursor.chain
    for event in events:
        facts, chain = facts + 1, advance_chain(chain, event.id)
        if event.epoch != cursor.epoch or event.facts != facts or event.chain != chain:
            return False
    return True


class _Written(NamedTuple):
    actions: list[Action]
    texts: Texts


class Reader:
    """One reader of one feed. Not thread-safe: its owner calls it from one place at a time.

    `keep_document=False` is for a relay, which passes events on and needs only the cursor. `keep_texts=False` is for a reader
    that shows no texts: it passes over them, and its cursor has no lengths.
    """

    def __init__(
        self,
        feed: str,
        *,
        cursor: Cursor | None = None,
        document: Document | None = None,
        keep_document: bool = True,
        keep_texts: bool = True,
    ) -> None:
        self.feed = feed
        # Whoever gives a cursor has shown the facts up to it, and no text.
        self.cursor = cursor.place if cursor else None
        self.document: Document = document or {}
        self.reading = True
        self.shown = cursor.facts if cursor else 0
        self.complete = True
        self._keep_document = keep_document
        self.keep_texts = keep_texts
        self._written: dict[str, list[str]] = {}
        self._buffer: list[Event] = []
        self._overflowed = False

    @property
    def texts(self) -> dict[str, str]:
        """The texts as far as this reader has them, by their names."""
        return {name: self.text(name) for name in self._written}

    def text(self, name: str) -> str:
        """Return a text as far as this reader has it; empty if there is none."""
        parts = self._written.get(name, [])
        if len(parts) > 1:
            parts[:] = ["".join(parts)]
        return parts[0] if parts else ""

    def start(self) -> list[Action]:
        """Begin, or begin again after a reconnect: the reader asks for a read from where it stands."""
        self.reading = True
        self._overflowed = False
        self._buffer.clear()
        return [Read(self.cursor)]

    def offer(self, event: Event) -> list[Action]:
        """Take an event from the bus or the relay."""
        if event.v not in VERSIONS or event.feed != self.feed:
            return []
        if self.reading or self.cursor is None:
            if len(self._buffer) < BUFFER_LIMIT and not self._overflowed:
                self._buffer.append(event)
            else:
                self._buffer.clear()
                self._overflowed = True
            return []
        match judge(self.cursor, event, texts=self.keep_texts):
            case Verdict.APPLY:
                return self._apply(event)
            case Verdict.READ:
                # Not buffered: the journal kept it before it rang, so the read that follows has it.
                self.reading = True
                return [Read(self.cursor)]
            case _:
                return []

    def step(self, event: Numbered) -> bool:
        """Advance past an event that follows directly. False, and nothing changes, if it doesn't: then `offer` it.

        For a reader that keeps no document; an event that it steps past is to be shown.
        """
        if self.reading or self.cursor is None or self._keep_document:
            return False
        if event.v not in VERSIONS or event.feed != self.feed or judge(self.cursor, event) is not Verdict.APPLY:
            return False
        self.cursor = event.cursor
        self.shown += event.is_fact
        return True

    def answer(self, reading: Reading) -> list[Action]:
        """Take the journal's answer to the read that this reader asked for."""
        actions: list[Action] = []
        follows = fits = self._fits(reading)
        if not fits:
            self.complete = False
            kept = self._start_of(reading)
            actions.append(Reset(kept or reading.cursor))
            fits = kept is not None
        if fits:
            for event in reading.events:
                self.shown += 1
                actions.append(Show(event))
        held = self.cursor.texts if self.cursor is not None and follows else NO_TEXTS
        self.cursor = reading.cursor if self.keep_texts else reading.cursor.place
        if self._keep_document:
            self.document = reading.document
        if self._keep_document and self.keep_texts:
            written = self._write_all(reading, held)
            actions.extend(written.actions)
            self.cursor = reading.cursor.at_texts(written.texts)
        # Texts that don't fit are read again from the start, once.
        if reading.more or (self.cursor != reading.cursor and held):
            self.reading = True
            return [*actions, Read(self.cursor)]
        self.reading = False
        if self._overflowed:
            self._overflowed = False
            self.reading = True
            return [*actions, Read(self.cursor)]
        buffered, self._buffer = self._buffer, []
        for event in buffered:
            actions.extend(self.offer(event))
            if self.reading:
                break  # the rest rang before this next read was sent
        return actions

    def reset(self, reading: Reading) -> list[Action]:
        """Take a reset that the relay sent.

        It describes where the relay stood: a reader that can go on from its own cursor reads from there.
        """
        if self.cursor is None or not reading.cursor.is_behind(self.cursor):
            return self.start()
        return self.answer(reading)

    def head(self, head: Cursor, *, asked: Cursor) -> list[Action]:
        """Compare with the feed's head, asked for while the reader stood at `asked`."""
        if self.reading or self.cursor is None:
            return []
        ahead = head.facts > self.cursor.facts or head.seq > self.cursor.seq
        if not ahead and not head.is_behind(asked):
            return []
        self.reading = True
        return [Read(self.cursor)]

    def _apply(self, event: Event) -> list[Action]:
        later = self.cursor is not None and event.texts.run > self.cursor.texts.run
        actions = self._clear(event.texts.run) if later else []
        self.cursor = event.cursor if self.keep_texts else event.cursor.place
        if self._keep_document:
            self.document = fold(self.document, event)
        if event.is_fact:
            self.shown += 1
        chunk = event.chunk
        if chunk is None:
            return [*actions, Show(event)]
        return [*actions, self._write(chunk, event)] if self.keep_texts else []

    def _write_all(self, reading: Reading, held: Texts) -> _Written:
        """Write what a reading brings of the texts to a reader that has `held` of them; nothing, if it doesn't fit."""
        told = reading.cursor.texts
        brought = held.of_run(told.run)
        fits = True
        for chunk in reading.chunks:
            fits = fits and chunk.at == brought.length(chunk.name)
            brought = brought.grown(chunk.name, chunk.end)
        fits = fits and brought == told
        # What was written before a reset isn't held any more.
        actions = [] if fits and held and held.run == told.run else self._clear(told.run)
        if not fits:
            return _Written(actions, NO_TEXTS)
        actions.extend(self._write(chunk) for chunk in reading.chunks)
        return _Written(actions, told)

    def _clear(self, run: int) -> list[Action]:
        if not self._written:
            return []
        self._written.clear()
        return [Clear(run)]

    def _write(self, chunk: Chunk, event: Event | None = None) -> Write:
        if self._keep_document:
            self._written.setdefault(chunk.name, []).append(chunk.text)
        return Write(chunk, event)

    def _fits(self, reading: Reading) -> bool:
        if not reading.recovered:
            return False
        held = self.cursor or Cursor(reading.cursor.epoch, 0, 0, ZERO_CHAIN)
        return not reading.cursor.is_behind(held) and _lead(held, reading)

    def _start_of(self, reading: Reading) -> Cursor | None:
        """Return where a reader without a cursor begins if the first facts are no longer kept, as the reading says."""
        start = reading.start if self.cursor is None and not reading.recovered else None
        return start if start is not None and _lead(start, reading) else None


def _lead(start: Cursor, reading: Reading) -> bool:
    """Say whether a reading's facts lead from `start` to its cursor."""
    if not follow(start, reading.events):
        return False
    last = reading.events[-1] if reading.events else None
    facts, chain = (last.facts, last.chain) if last else (start.facts, start.chain)
    return start.epoch == reading.cursor.epoch and (facts, chain) == (reading.cursor.facts, reading.cursor.chain)

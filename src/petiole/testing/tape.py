"""Tapes: the events of a real run in a file, a JSON object a line, as `petiole events --json` prints them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from petiole.errors import InvalidEvent, PetioleError
from petiole.journal.rules import is_recovered
from petiole.journal.texts import chunks_of, spans_after
from petiole.protocol.events import VERSION, ZERO_CHAIN, Cursor, Document, Event, advance_chain, fold, mint_epoch
from petiole.protocol.reader import Reading
from petiole.protocol.texts import NO_TEXTS, TEXT
from petiole.testing.recording import Recording


@dataclass(frozen=True, slots=True)
class Tape:
    """The events of one feed, from its first fact on."""

    events: tuple[Event, ...]

    def __post_init__(self) -> None:
        feeds = {event.feed for event in self.events}
        if len(feeds) != 1:
            raise PetioleError(
                f"A tape has the events of one task, and this one of {len(feeds)}. Record one task a file."
            )
        first = next((event for event in self.events if event.is_fact), None)
        if first is None or first.facts != 1:
            raise PetioleError(
                "This tape doesn't begin with its task's first fact. Record it before the journal has let go of that."
            )

    @classmethod
    def load(cls, path: Path | str) -> Tape:
        """Read a tape.

        Raises:
            PetioleError: a line isn't an event, or it isn't the tape of one task from its start.
            OSError: the file can't be read.
        """
        events = []
        for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
            try:
                events.append(Event.from_text(line))
            except InvalidEvent as error:
                raise PetioleError(
                    f"Line {number} of {path} isn't an event ({error}) Record it with: petiole events --json"
                ) from None
        return cls.of(events)

    @classmethod
    def of(cls, events: Iterable[Event] | Recording) -> Tape:
        """Return the tape of what was recorded. Without the texts themselves its events don't count them."""
        taken = tuple(events.events if isinstance(events, Recording) else events)
        if not any(event.kind == TEXT for event in taken):
            taken = tuple(_without_texts(event) for event in taken)
        return cls(taken)

    def save(self, path: Path | str) -> None:
        """Write it to a file."""
        Path(path).write_text("".join(f"{event.to_text()}\n" for event in self.events), encoding="utf-8")

    @property
    def feed(self) -> str:
        return self.events[0].feed

    def lost_at(self, line: int) -> Tape:
        """Return the tape of a journal that has lost all of it after a line: its writer goes on in another epoch."""
        epoch = mint_epoch()
        after = tuple(replace(event, epoch=epoch) for event in self.events[line:])
        return Tape((*self.events[:line], *after))

    def read(self, cursor: Cursor | None, *, upto: int, texts: bool = True) -> Reading:
        """Return what a journal with the first `upto` lines answers to a reader at `cursor`."""
        past = self.events[:upto]
        head = past[-1].cursor if past else Cursor(self.events[0].epoch, 0, 0, ZERO_CHAIN)
        facts = [event for event in past if event.is_fact and event.epoch == head.epoch]
        first = facts[0].facts if facts else 1
        held = cursor or Cursor(head.epoch, 0, 0, ZERO_CHAIN)
        after = [event for event in facts if event.facts > held.facts]
        fits = not after or after[0].chain == advance_chain(held.chain, after[0].id)
        recovered = is_recovered(head, held, first=first, fits=fits)
        has = (held.texts if recovered else NO_TEXTS) if texts else head.texts
        written = _written(past, head.texts.run)
        found = [(span, bytes(written[span.name][span.at : span.end])) for span in spans_after(head.texts, has)]
        chunks, brought = chunks_of(head.texts, has, found)
        events = tuple(after) if recovered else ()
        place = head.place.at_texts(brought)
        return Reading(self.feed, _document(past), events, place, recovered, brought != head.texts, None, chunks)


def _without_texts(event: Event) -> Event:
    patch = {name: value for name, value in event.patch.items() if name != "texts"}
    return replace(event, texts=NO_TEXTS, patch=patch, v=VERSION)


def _document(events: Iterable[Event]) -> Document:
    document: Document = {}
    for event in events:
        # A task that begins again has nothing of what it was before.
        document = fold({} if event.is_fact and event.facts == 1 else document, event)
    return document


def _written(events: Iterable[Event], run: int) -> dict[str, bytearray]:
    written: dict[str, bytearray] = {}
    for event in events:
        chunk = event.chunk if event.texts.run == run else None
        if chunk is not None:
            written.setdefault(chunk.name, bytearray()).extend(chunk.text.encode())
    return written

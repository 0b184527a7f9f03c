"""Texts: what a task writes bit by bit, and how far each text of a feed goes. No I/O.

A text belongs to a run and has a name. Its positions are lengths in bytes of UTF-8, and a chunk never splits a character.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from petiole.errors import InvalidEvent, InvalidName
from petiole.protocol.encoding import JSON

TEXT: Final = "text"
# A reader of version 1, which knows no texts, passes over events of this version.
TEXT_VERSION: Final = 2
MAX_TEXTS: Final = 8
MAX_CHUNK_BYTES: Final = 32 * 1024
MAX_READ_BYTES: Final = 256 * 1024

_NUMBERS: Final = re.compile(r'"([A-Za-z0-9_-]+)":([0-9]+)')
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,32}\Z")
_PLACES: Final = re.compile(r"[0-9]{1,15}(~[A-Za-z0-9_-]{1,32}~[0-9]{1,15}){0,8}\Z")


def is_text_name(name: object) -> bool:
    """Say whether a text can have this name: 1 to 32 letters, digits, `_` and `-`."""
    return isinstance(name, str) and _NAME.match(name) is not None


def size_of(text: str) -> int:
    """Return how many bytes a text has in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def boundary(text: bytes | bytearray, at: int) -> int:
    """Return the last position up to `at`, in bytes of UTF-8, that isn't within a character."""
    if at >= len(text):
        return len(text)
    while at > 0 and text[at] & 0xC0 == 0x80:
        at -= 1
    return at


class Chunk(NamedTuple):
    """A part of a text: `at` is the length of the text before it, in bytes."""

    name: str
    at: int
    text: str

    @property
    def end(self) -> int:
        """The length of the text with this chunk, in bytes."""
        return self.at + size_of(self.text)

    @property
    def span(self) -> Span:
        return Span(self.name, self.at, self.end)

    @classmethod
    def from_wire(cls, wire: object) -> Chunk:
        """Read a chunk from its JSON object.

        Raises:
            InvalidEvent: a field is missing or of another type.
        """
        if isinstance(wire, Mapping):
            name, at, text = wire.get("name"), wire.get("at"), wire.get("chunk")
            if isinstance(name, str) and type(at) is int and at >= 0 and isinstance(text, str):
                return cls(name, at, text)
        raise InvalidEvent("A text's chunk lacks its name, its position or its text. It is set aside.")

    def to_wire(self) -> dict[str, JSON]:
        return {"name": self.name, "at": self.at, "chunk": self.text}


class Span(NamedTuple):
    """Which part of a text a chunk is, in bytes."""

    name: str
    at: int
    end: int


class Texts(NamedTuple):
    """How long each text of a feed is, in bytes, and which run writes them; `lengths` is in the order of the names."""

    run: int = 0
    lengths: tuple[tuple[str, int], ...] = ()

    def __bool__(self) -> bool:
        return self.run > 0

    @classmethod
    def of(cls, run: int, lengths: Mapping[str, int] | Iterable[tuple[str, int]]) -> Texts:
        return cls(run, tuple(sorted(dict(lengths).items())))

    @classmethod
    def from_text(cls, text: str) -> Texts:
        """Read the lengths from the JSON text that journals write, in a fifth of the time that a JSON decoder takes."""
        (_, run), *lengths = _NUMBERS.findall(text)
        return cls(int(run), tuple(sorted((name, int(length)) for name, length in lengths)))

    @classmethod
    def from_wire(cls, wire: object) -> Texts:
        """Read the lengths from their JSON object, `None` if a feed has no texts.

        Raises:
            InvalidEvent: a field is missing or of another type.
        """
        if wire is None:
            return NO_TEXTS
        if isinstance(wire, Mapping):
            run, lengths = wire.get("run"), wire.get("lengths")
            if (
                type(run) is int
                and isinstance(lengths, Mapping)
                and all(type(size) is int for size in lengths.values())
            ):
                return cls.of(run, lengths)
        raise InvalidEvent("The lengths of a feed's texts can't be read. The event is set aside.")

    def to_wire(self) -> dict[str, JSON]:
        return {"run": self.run, "lengths": dict(self.lengths)}

    @classmethod
    def parse(cls, text: str) -> Texts:
        """Read the lengths from their form in a cursor: `run~name~length~…`, empty for none.

        Raises:
            InvalidName: it isn't of that form.
        """
        if not text:
            return NO_TEXTS
        if not _PLACES.match(text):
            raise InvalidName("That is not a cursor. Send the cursor of an earlier answer unchanged, or none.")
        run, *rest = text.split("~")
        return cls.of(int(run), zip(rest[::2], map(int, rest[1::2]), strict=True))

    def __str__(self) -> str:
        return "~".join([str(self.run), *(f"{name}~{length}" for name, length in self.lengths)]) if self else ""

    def length(self, name: str) -> int:
        """Return a text's length; 0 for one that there is not."""
        for found, length in self.lengths:
            if found == name:
                return length
        return 0

    def grown(self, name: str, length: int) -> Texts:
        """Return the lengths with this text's being `length`."""
        if len(self.lengths) == 1 and self.lengths[0][0] == name:
            return Texts(self.run, ((name, length),))
        return Texts.of(self.run, {**dict(self.lengths), name: length})

    def of_run(self, run: int) -> Texts:
        """Return the lengths as `run` continues them: a later run begins its texts anew."""
        return self if run == self.run else Texts(run)

    def follows(self, held: Texts, span: Span | None) -> bool:
        """Say whether a reader at `held` is here after an event that adds `span`, `None` if it adds nothing."""
        if self.run < held.run:
            return False
        expected = held.of_run(self.run)
        if span is not None:
            if span.at != expected.length(span.name) or span.end <= span.at:
                return False
            expected = expected.grown(span.name, span.end)
        return expected == self


NO_TEXTS: Final = Texts()

"""The parts of the small world of `model.py`, as hashable values, and its possible events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple

from petiole.protocol.events import COUNTER, Document, advance_chain
from petiole.protocol.texts import TEXT, Chunk, Texts

# The faults, each at most once in a world; `budget` limits their total.
FAULTS: Final = (
    "drop",
    "double",
    "swap",
    "trim",
    "lose data",
    "fall back",
    "cut",
    "lose a reply",
    "slow head",
    "again",
)
DROP, DOUBLE, SWAP, TRIM, LOSS, STALE, CUT, REPLY, SLOW, AGAIN = (1 << at for at in range(len(FAULTS)))


class Violation(AssertionError):
    """The guarantee doesn't hold: the message says which part, and after which steps."""


class Place(NamedTuple):
    """A cursor, as a tuple: it is hashed at every step. `texts` are the lengths in their form in a cursor."""

    epoch: str
    seq: int
    facts: int
    chain: str
    texts: str = ""

    @property
    def bare(self) -> Place:
        return self._replace(texts="")


class Summary(NamedTuple):
    """A document, reduced to this world's needs."""

    state: str
    run: int
    completed: int

    def as_document(self) -> Document:
        return {"state": self.state, "run": self.run, "progress": {"completed": self.completed}}


class Told(NamedTuple):
    """An event."""

    at: Place
    run: int
    id: str
    kind: str
    state: str
    completed: int | None
    chunk: Chunk | None = None


class Planned(NamedTuple):
    """An event that a writer is going to send; `id` is generated once. Or what it writes: `text` of the text `name`."""

    id: str
    kind: str
    state: str
    completed: int
    name: str = ""
    text: str = ""


# What texts have by their names, in the order of these.
Written = tuple[tuple[str, str], ...]


class Kept(NamedTuple):
    """The journal: `log` has every fact of this epoch; those before `first` are trimmed."""

    cursor: Place
    document: Summary
    log: tuple[Told, ...]
    first: int
    run: int
    fact: int
    counter: int
    lost: int  # the number from which a stale copy has fallen back: up to it two counters may have the same number
    # The other fields that `petiole.journal.rules` reads: here a run has one delivery, and there is no cancel.
    delivery: str = ""
    publication: str = ""
    spent: str = ""
    cancel: int = 0
    retries: int = 0
    silent: int = 0
    live: bool = True
    removed: bool = False
    written: Written = ()

    @property
    def state(self) -> str:
        return self.document.state

    @property
    def texts(self) -> Texts:
        return lengths(self.cursor.texts)


class Writer(NamedTuple):
    """A run: its position in its plan, and its knowledge of the journal; `texts`: how much the journal has of its texts."""

    at: int
    fact: int
    counter: int
    last: Place | None
    document: Summary
    stopped: bool
    texts: str = ""


class Answer(NamedTuple):
    """The journal's answer to a read, in transit."""

    document: Summary
    events: tuple[Told, ...]
    cursor: Place
    recovered: bool
    more: bool
    chunks: tuple[Chunk, ...] = ()


class Page(NamedTuple):
    """The reader, the facts it has shown since `since`, where it began or was reset, and the texts it shows."""

    cursor: Place | None
    document: Summary | None
    reading: bool
    complete: bool
    buffer: tuple[Told, ...]
    since: int
    shown: tuple[Told, ...]
    resets: int
    ahead: bool  # between two pages of a reading the document is newer than the cursor
    written: Written = ()


class World(NamedTuple):
    journal: Kept | None
    copy: Kept | None
    writers: tuple[Writer, Writer]
    bus: tuple[Told, ...]
    connected: bool
    page: Page
    asked: tuple[Place | None] | None
    answer: Answer | None
    head: tuple[Place, Place] | None
    faults: int
    epochs: int


Plan = tuple[Planned, ...]


@cache
def lengths(texts: str) -> Texts:
    """Read lengths from their form in a cursor."""
    return Texts.parse(texts)


def writes(name: str, text: str) -> Planned:
    """Return what a writer does when its task writes: nothing is sent yet."""
    return Planned("", TEXT, "", 0, name, text)


def added(written: Written, name: str, text: str) -> Written:
    """Return the texts with more of the text `name`."""
    texts = dict(written)
    texts[name] = texts.get(name, "") + text
    return tuple(sorted(texts.items()))


@cache
def written_by(plan: Plan) -> Written:
    """Return what a plan writes in all."""
    written: Written = ()
    for planned in plan:
        if planned.kind == TEXT:
            written = added(written, planned.name, planned.text)
    return written


FIRST_RUN: Final[Plan] = (
    Planned("1" * 16, "state", "running", 0),
    Planned("", COUNTER, "", 1),
    Planned("2" * 16, "log", "", 1),
    Planned("3" * 16, "state", "succeeded", 1),
)
LONGER_RUN: Final[Plan] = (*FIRST_RUN[:3], Planned("4" * 16, "log", "", 2), Planned("3" * 16, "state", "succeeded", 2))
LATER_RUN: Final[Plan] = (Planned("a" * 16, "state", "running", 0), Planned("b" * 16, "state", "succeeded", 0))
NO_RUN: Final[Plan] = ()
# Each character of these texts stands at one place only, and some have more than one byte.
TEXT_RUN: Final[Plan] = (
    Planned("1" * 16, "state", "running", 0),
    writes("a", "ä"),
    Planned("", COUNTER, "", 1),
    writes("a", "b"),
    Planned("3" * 16, "state", "succeeded", 1),
)
SHORT_TEXT_RUN: Final[Plan] = (TEXT_RUN[0], writes("a", "ä"), TEXT_RUN[-1])
MERGED_TEXT_RUN: Final[Plan] = (TEXT_RUN[0], writes("a", "ä"), writes("a", "b"), TEXT_RUN[-1])
TWO_TEXTS_RUN: Final[Plan] = (TEXT_RUN[0], writes("a", "bäç"), writes("b", "d"), TEXT_RUN[-1])
TEXT_THEN_COUNTERS_RUN: Final[Plan] = (
    *MERGED_TEXT_RUN[:3],
    Planned("", COUNTER, "", 1),
    Planned("", COUNTER, "", 2),
    Planned("3" * 16, "state", "succeeded", 2),
)
LATER_TEXT_RUN: Final[Plan] = (LATER_RUN[0], writes("a", "xÿ"), LATER_RUN[1])


@dataclass(frozen=True)
class Rules:
    """The possible events, and the mechanisms, each of which a negative control switches off."""

    plans: tuple[Plan, Plan] = (FIRST_RUN, LATER_RUN)
    budget: int = 1
    rings: int = 2  # in transit at a time
    faults: int = (1 << len(FAULTS)) - 1
    head_check: bool = True
    fence: bool = True
    progress_in_every_ring: bool = True
    lengths_in_every_event: bool = True
    lengths_with_facts: bool = True
    advance: Callable[[str, str], str] = advance_chain

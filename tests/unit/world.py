"""The parts of the small world of `model.py`, as hashable values, and its possible events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from petiole.protocol.events import COUNTER, Document, advance_chain

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
    """A cursor, as a tuple: it is hashed at every step."""

    epoch: str
    seq: int
    facts: int
    chain: str


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


class Planned(NamedTuple):
    """An event that a writer is going to send; `id` is generated once."""

    id: str
    kind: str
    state: str
    completed: int


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

    @property
    def state(self) -> str:
        return self.document.state


class Writer(NamedTuple):
    """A run: its position in its plan, and its knowledge of the journal."""

    at: int
    fact: int
    counter: int
    last: Place | None
    document: Summary
    stopped: bool


class Answer(NamedTuple):
    """The journal's answer to a read, in transit."""

    document: Summary
    events: tuple[Told, ...]
    cursor: Place
    recovered: bool
    more: bool


class Page(NamedTuple):
    """The reader, and the facts it has shown since `since`, where it began or was reset."""

    cursor: Place | None
    document: Summary | None
    reading: bool
    complete: bool
    buffer: tuple[Told, ...]
    since: int
    shown: tuple[Told, ...]
    resets: int
    ahead: bool  # between two pages of a reading the document is newer than the cursor


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

FIRST_RUN: Final[Plan] = (
    Planned("1" * 16, "state", "running", 0),
    Planned("", COUNTER, "", 1),
    Planned("2" * 16, "log", "", 1),
    Planned("3" * 16, "state", "succeeded", 1),
)
LONGER_RUN: Final[Plan] = (*FIRST_RUN[:3], Planned("4" * 16, "log", "", 2), Planned("3" * 16, "state", "succeeded", 2))
LATER_RUN: Final[Plan] = (Planned("a" * 16, "state", "running", 0), Planned("b" * 16, "state", "succeeded", 0))
NO_RUN: Final[Plan] = ()


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
    advance: Callable[[str, str], str] = advance_chain

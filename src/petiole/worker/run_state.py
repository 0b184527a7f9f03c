"""What the parts of a run share: how it began, its progress counter, and the signals of the journal's replies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from petiole.protocol.events import Cursor, Document


@dataclass(frozen=True, slots=True)
class RunStart:
    """Where a run begins: what `claim` answered.

    `message` returns the message from which the task can be started again; empty if it can't be kept.
    """

    feed: str
    owner: str
    worker: str
    run: int
    delivery: str
    retries: int
    facts_written: int
    cursor: Cursor
    document: Document
    message: Callable[[], str] = lambda: ""
    publication: str = ""


@dataclass(slots=True)
class Signals:
    """What the journal's replies have told a run; read by the task's thread."""

    cancel: bool = False
    fenced: bool = False
    away: bool = False


class ProgressCounter:
    """How much of a run is done: written at each step of its loops, and read by its outbox without a lock.

    `dirty`: the outbox knows of a change; a step that finds it false has to notify the outbox.
    """

    __slots__ = ("completed", "dirty")

    def __init__(self, *, dirty: bool = False) -> None:
        self.completed: float = 0
        self.dirty = dirty

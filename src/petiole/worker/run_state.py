"""What a run and its outbox share: where the run began, how far it has come, and what the journal has told it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from petiole.protocol.events import Cursor, Document


@dataclass(frozen=True, slots=True)
class RunStart:
    """Where a run begins: what `claim` answered.

    `message` returns what the task is started by again, as the journal keeps it; empty if that can't be kept.
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
    """What the journal's replies have told this run; read by the task's thread."""

    cancel: bool = False
    fenced: bool = False
    away: bool = False


class ProgressCounter:
    """How far a run has come: written at each step of its loops, and read by its outbox without a lock.

    `completed` is what is done. `dirty`: the outbox knows that there is news; a step that finds it false has to tell.
    """

    __slots__ = ("completed", "dirty")

    def __init__(self, *, dirty: bool = False) -> None:
        self.completed: float = 0
        self.dirty = dirty

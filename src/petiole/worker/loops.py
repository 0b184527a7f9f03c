"""Counted loops of a run: which of them counts, and how long they are."""

from __future__ import annotations

from collections.abc import Sized
from typing import Protocol

from billiard.exceptions import SoftTimeLimitExceeded

from petiole.protocol.values import words
from petiole.worker.run_state import ProgressCounter


class Speaker(Protocol):
    """The run that loops count for."""

    def begin_loop(self, loop: Loop, *, again: bool = False) -> bool: ...

    def tell(self) -> None: ...

    def stop_if_ended(self) -> None: ...

    def run_out(self, loop: Loop) -> None: ...


class Loop:
    """A counted loop or bar. Of those that are open at once the outermost `speaks`; the others aren't shown.

    `counter.completed` is what it has counted; a step that finds `counter` not dirty calls `tell`. `scoped`: Python itself
    ends it, because it is iterated or entered by `with`. A bar that is moved by hand may never be closed: it stops speaking
    once it has come to its total, or when another loop has come and gone without its moving. It speaks again when it moves
    and no other loop speaks.
    """

    __slots__ = (
        "_inner",
        "_nests",
        "_passed_over",
        "_run",
        "_seen",
        "counted",
        "counter",
        "description",
        "ended",
        "scoped",
        "speaks",
        "total",
        "unit",
    )

    def __init__(
        self,
        run: Speaker,
        *,
        description: object,
        total: object,
        unit: object,
        scoped: bool,
        completed: float = 0,
        counted: float = 0,
    ) -> None:
        self.counter = ProgressCounter()
        self.counter.completed = completed
        self.description = None if description is None else words(description) or None
        self.unit = None if unit is None else words(unit) or None
        self.total: object = total
        self.scoped = scoped
        self.ended = False
        # How much of its counter is part of the stage's own count already.
        self.counted = counted
        self._run = run
        self._inner: Loop | None = None
        self._seen: float | None = None
        self._nests = self._passed_over = False
        self.speaks = run.begin_loop(self)

    def tell(self) -> None:
        """Notify the page of a step.

        Raises:
            Cancelled, Fenced: the run must end.
        """
        if self.speaks:
            self._run.tell()
            return
        self._run.stop_if_ended()
        if not self.ended:
            self.claim()
            # It moves after others came and went: they were within it.
            self._nests = self._nests or (self.speaks and self._passed_over)

    def claim(self) -> None:
        """Speak, if no other loop does."""
        self.speaks = self.speaks or self._run.begin_loop(self, again=True)

    def run_out(self) -> None:
        """Report that there is no next item: the count is the total, whatever the length was."""
        if self.speaks:
            self._run.run_out(self)

    def end(self) -> None:
        """Let the next loop speak. Takes no lock: Python may call it anywhere (a generator's end)."""
        self.ended = True

    @property
    def is_over(self) -> bool:
        """Whether it has ended, as far as can be known."""
        return self.ended or (
            not self.scoped and isinstance(self.total, int | float) and self.counter.completed >= self.total
        )

    def contains(self, newcomer: Loop) -> bool:
        """Say whether a loop that begins at this moment is within this one."""
        if self.is_over:
            return False
        here, inner = self.counter.completed, self._inner
        if self.scoped or self._nests or inner is None or (inner.scoped and not inner.ended):
            self._seen, self._inner = here, newcomer
            return True
        self._nests = here != self._seen
        self._passed_over = not self._nests
        return self._nests


def length_of(iterable: object) -> int | None:
    """Return the number of items; `None`: unknown, or `len` raises, which may be any exception."""
    if not isinstance(iterable, Sized):
        return None
    try:
        return len(iterable)
    except SoftTimeLimitExceeded:
        raise
    except Exception:  # noqa: BLE001 (a class of the application's or a database's: it is counted without a total)
        return None

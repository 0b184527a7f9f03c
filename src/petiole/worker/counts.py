"""A run's counts: its current stage, how much of it is done, and which loop counts for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum

from petiole.protocol.events import MAX_NUMBER, Document
from petiole.protocol.values import finite, is_endless, words
from petiole.worker.estimate import Estimator
from petiole.worker.loops import Loop
from petiole.worker.run_state import ProgressCounter


class Begun(Enum):
    """What a loop that begins is: not counted, counted within the current stage, or a new stage."""

    SILENT = 0
    COUNTED = 1
    STAGE = 2


class Counts:
    """The progress of one run. Thread-safe; `counter` is written without a lock.

    `count_in` gives the outbox the counter of the loop that counts. `set_aside(name, value)` reports an invalid value.
    """

    def __init__(
        self,
        counter: ProgressCounter,
        *,
        count_in: Callable[[ProgressCounter | None], None],
        set_aside: Callable[[str, object], None],
        clock: Callable[[], float],
    ) -> None:
        self.stage: str | None = None
        self._counter = counter
        self._count_in = count_in
        self._set_aside = set_aside
        self._clock = clock
        # The loop that counts, until another one does or a stage begins.
        self._loop: Loop | None = None
        # Whether the task itself named the current stage, so that loops count for it, and whether it gave the total.
        self._named = False
        self._has_own_total = False
        self._total: float | None = None
        self._unit: str | None = None
        self._description: str | None = None
        # Shares of the whole task: where the current stage, or its newest loop, begins and ends; whether that is used up.
        self._from = 0.0
        self._until = 1.0
        self._used_up = False
        # The stage's count before its newest loop.
        self._counted_before: float = 0
        self._estimator = Estimator(now=clock())
        self._lock = threading.RLock()

    @property
    def completed(self) -> float:
        """The current stage's count: of `advance`, `update`, and its loops."""
        loop = self._loop
        return self._counter.completed + (0 if loop is None else loop.counter.completed - loop.counted)

    @property
    def fraction(self) -> float | None:
        """The share of the whole task that is done, as far as it is known."""
        with self._lock:
            return self._fraction(min(max(self.completed, 0), MAX_NUMBER))

    def update(self, completed: object, total: object, description: object) -> None:
        """Set what is given."""
        with self._lock:
            if total is not None:
                self._total = self._total_of(total, otherwise=self._total)
                self._has_own_total = True
            if completed is not None:
                number = self.number("completed", completed, None)
                self._counter.completed += 0 if number is None else number - self.completed
            if description is not None:
                self._description = words(description)

    def begin_stage(self, name: object, total: object, unit: object, until: object) -> str:
        """Begin a stage that the task names, from zero, and return its name; open loops stop counting."""
        with self._lock:
            if self._loop is not None:
                self._loop.end()
            self._begin_stage(words(name), self._total_of(total), None if unit is None else words(unit), until)
            self._named, self._has_own_total = True, self._total is not None
            return words(name)

    def begin_loop(self, loop: Loop, *, again: bool) -> Begun:
        """Let a loop count, unless it is within another one; `again`: it has begun before, and has moved.

        In a stage that the task named it counts for that stage, unless it has a description; otherwise it is a stage itself. A
        loop that begins repeatedly is one stage.
        """
        with self._lock:
            other = None if self._loop is loop else self._loop
            if other is not None and (not other.is_over if again else other.contains(loop)):
                return Begun.SILENT
            total = loop.total = self._total_of(loop.total)
            begun = Begun.COUNTED
            if self._named and loop.description is None:
                self._share_with(loop)
                self._count_up_to(loop, total)
                self._unit = loop.unit or self._unit
            else:
                name = loop.description or "Working"
                if self._named or name != self.stage:
                    begun = Begun.STAGE
                self._begin_stage(name, total, loop.unit, 1.0)
                self._named = self._has_own_total = False
                loop.counted = 0
            self._loop = loop
            self._count_in(loop.counter)
            return begun

    def move_loop(self, loop: Loop, completed: object, total: object) -> None:
        """Set a loop's count and total; nothing is shown of a loop that doesn't count."""
        with self._lock:
            loop.counter.completed = self.number("completed", completed, loop.counter.completed) or 0
            if finite(total) != loop.total:
                known = loop.total = self._total_of(total)
                if self._loop is loop:
                    self._count_up_to(loop, known)

    def reset_loop(self, loop: Loop) -> None:
        """Reset a loop to zero before it restarts; what it has counted for its stage stays."""
        with self._lock:
            self._leave_loop()
            loop.counter.completed = loop.counted = 0

    def correct_total(self, loop: Loop) -> None:
        """Lower the total to what a loop has counted, where it ended early."""
        with self._lock:
            if self._loop is loop and not self._has_own_total and self._total is not None:
                self._total = min(self._total, self.completed)

    def finish(self) -> None:
        """Mark the whole task as done."""
        with self._lock:
            self._from, self._until, self._used_up = 1.0, 1.0, False

    def disown(self) -> None:
        """Go on in a forked process, where the copied lock may be held for ever."""
        self._lock = threading.RLock()

    def progress(self) -> Document:
        """Return the progress as of now."""
        with self._lock:
            completed, total = min(max(self.completed, 0), MAX_NUMBER), self._total
            estimate = self._estimator.sample(completed, total=total, now=self._clock())
            return {
                "completed": completed,
                "total": total,
                "rate": None if estimate.rate is None else round(estimate.rate, 2),
                "time_left": None if estimate.time_left is None else round(estimate.time_left, 1),
                "fraction": self._fraction(completed),
                "stage": self.stage,
                "description": self._description,
                "unit": self._unit,
            }

    def number(self, name: str, value: object, otherwise: float | None) -> float | None:
        """Return a value as a number of 0 or more; an invalid one is set aside and reported."""
        number = None if isinstance(value, bool) else finite(value)
        if number is None or number < 0:
            self._set_aside(name, value)
            return otherwise
        return number

    def _total_of(self, value: object, *, otherwise: float | None = None) -> float | None:
        return None if value is None or is_endless(value) else self.number("total", value, otherwise)

    def _begin_stage(self, name: str, total: float | None, unit: str | None, until: object) -> None:
        self._leave_loop()
        # A stage that should have ended with the whole task is followed by another: the whole is unknown from then on.
        self._used_up = self.stage is not None and self._until >= 1.0
        self._from = self._until if self.stage is not None else 0.0
        self._until = min(max(self.number("until", until, 1.0) or 0.0, self._from), 1.0)
        self._total = total
        self.stage, self._unit, self._description = name, unit, None
        self._counter.completed = self._counted_before = 0
        self._estimator = Estimator(now=self._clock())

    def _fraction(self, completed: float) -> float | None:
        if self._used_up:
            return None
        begun, total = self._counted_before, self._total
        if total is None or total <= begun:
            return self._from or None
        return round(self._from + (self._until - self._from) * min(max(completed - begun, 0) / (total - begun), 1.0), 4)

    def _share_with(self, loop: Loop) -> None:
        """Give a further loop of the current stage the rest of its share, so that the fraction never decreases."""
        self._leave_loop()
        if not self._has_own_total and self.completed > loop.counted:
            self._from = self._fraction(self.completed) or self._from
            self._used_up = self._used_up or self._from >= 1.0
            self._counted_before = self.completed

    def _leave_loop(self) -> None:
        """Keep what the loop has counted, and stop counting it."""
        loop, self._loop = self._loop, None
        if loop is not None:
            self._counter.completed += loop.counter.completed - loop.counted
            loop.counted, loop.speaks = loop.counter.completed, False
            self._count_in(None)

    def _count_up_to(self, loop: Loop, total: float | None) -> None:
        """Set the total to the stage's own count plus a loop's total, unless the task gave the total."""
        if not self._has_own_total:
            self._total = None if total is None else self._counter.completed - loop.counted + total

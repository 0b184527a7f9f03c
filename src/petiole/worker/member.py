"""One execution of a task that is part of a group, and what it says of itself to the group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from petiole.dispatch.contributions import end_of
from petiole.dispatch.outcome import outcome
from petiole.dispatch.part import Part
from petiole.journal.groups import WHOLE, Contribution
from petiole.protocol import states


@dataclass(slots=True, eq=False)
class Member:
    """An execution of a group's child. `attempt` counts its executions that were published one after the other.

    `began` in seconds of the clock of whoever asks for `share`.
    """

    part: Part
    attempt: int
    late: bool
    began: float = 0.0
    # Whether it says nothing of its end: it isn't to run here, or another execution goes on.
    silent: bool = False
    # Whether another task continues it, under its id.
    replaced: bool = False
    # Whether it was stopped because that was asked for.
    cancelled: bool = False
    # The share that the group was told.
    told: int = 0

    def begins(self) -> Contribution:
        return Contribution(self.part.child, states.RUNNING, self.attempt, late=self.late, stage=self.part.step)

    def share(self, fraction: float | None) -> Contribution | None:
        """Return how much of it is done, if that is more than the group was told."""
        done = int((fraction or 0.0) * WHOLE)
        if done <= self.told:
            return None
        self.told = done
        return Contribution(self.part.child, states.RUNNING, self.attempt, done, self.late, stage=self.part.step)

    def ends(self, celery_state: str | None, value: Any, *, now: int) -> Contribution | None:
        """Return what its end is to the group, by Celery's state and result; `None`: nothing, or nobody knows."""
        if self.silent:
            return None
        if self.cancelled:
            return Contribution(self.part.child, states.CANCELLED, self.attempt)
        if self.replaced or celery_state == "RETRY":
            return Contribution(self.part.child, states.RETRYING, self.attempt)
        patch = outcome(celery_state, value, task_id=self.part.task_id, now=now)
        # Given back to the queue, it is redelivered at once, or its lease tells that it isn't.
        if patch is None or patch["state"] not in states.TERMINAL:
            return None
        return end_of(self.part.child, self.part.task_id, self.attempt, patch, stops=celery_state == "IGNORED")

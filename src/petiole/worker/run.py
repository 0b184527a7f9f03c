"""One execution of a tracked task, as its progress calls see it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

from petiole.errors import Cancelled, Fenced, InvalidEvent, Unavailable
from petiole.events import JSON, Document, Draft
from petiole.journal.contract import Journal
from petiole.settings import Settings
from petiole.state import SUCCEEDED
from petiole.timing import Estimator
from petiole.worker.outbox import Outbox, Standing

LOG_LIMIT: Final = 4000
CUT_MARK: Final = " … [cut]"
RESULT_LIMIT: Final = 2048

current_run: ContextVar[Run | None] = ContextVar("petiole_current_run", default=None)


class Run:
    """Counts, stages and facts of one run. Thread-safe: threads that the task starts may share it.

    `clock` gives seconds of a monotonic clock.
    """

    def __init__(
        self,
        journal: Journal,
        standing: Standing,
        settings: Settings,
        *,
        retries: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.feed = standing.feed
        self.number = standing.run
        self.retries = retries
        self.retry_cause: BaseException | None = None
        self.completed: float = 0
        self.outbox = Outbox(journal, standing, settings, newest=self.progress, clock=clock)
        self._journal = journal
        self._clock = clock
        self._total: float | None = None
        self._unit: str | None = None
        self._stage: str | None = None
        self._description: str | None = None
        self._from = 0.0
        self._until = 1.0
        self._artifacts: list[Document] = list(standing.document.get("artifacts", []))
        self._lock = threading.RLock()
        self._estimator = Estimator(now=clock())

    def advance(self, amount: float) -> None:
        """Count on; the hot path of every loop, so it only adds and marks."""
        self.completed += amount
        if not self.outbox.dirty:
            self.outbox.touch()

    def update(self, completed: float | None, total: float | None, description: str | None) -> None:
        """Set what is given."""
        with self._lock:
            if total is not None:
                self._total = total
            if completed is not None:
                self.completed = completed
            if description is not None:
                self._description = description
        self.outbox.touch()

    def stage(self, name: str, total: float | None, unit: str | None, until: float) -> None:
        """Begin a stage, from zero; `until` is the share of the whole task that is done when it ends."""
        with self._lock:
            self._from = self._until if self._stage is not None else 0.0
            self._until = min(max(until, self._from), 1.0)
            self._stage, self._total, self._unit, self._description = name, total, unit, None
            self.completed = 0
            self._estimator = Estimator(now=self._clock())
        self.say("stage", data={"name": name})

    def begin_loop(self, description: str | None, total: float | None, unit: str | None) -> None:
        """Begin a counted loop: in the present stage if there is one and the loop has no description, else as a stage."""
        if self._stage is None or description is not None:
            self.stage(description or "Working", total, unit, 1.0)
            return
        with self._lock:
            self._unit = unit or self._unit
        self.update(0, total, None)

    def say(
        self, kind: str, *, patch: Document | None = None, data: JSON = None, otherwise: Draft | None = None
    ) -> None:
        """Queue a fact; a value that can't be JSON is set aside, and that is said in its place."""
        try:
            draft = Draft(kind, patch or {}, self.progress(), data).settled()
        except InvalidEvent as error:
            draft = Draft(
                "log", {}, self.progress(), {"level": "warning", "message": f"An event was set aside. {error}"}
            )
        self.outbox.put(draft, otherwise=otherwise)

    def finish(self, patch: Document, *, otherwise: Draft | None = None) -> None:
        """Queue the run's last fact and take no more. After a success the whole task is done."""
        if patch["state"] == SUCCEEDED:
            with self._lock:
                self._from = self._until = 1.0
        self.say("state", patch=patch, otherwise=otherwise)
        self.outbox.close()

    def log(self, message: str, level: str) -> None:
        """Queue a log line, cut with a visible mark past 4,000 characters."""
        if len(message) > LOG_LIMIT:
            message = message[:LOG_LIMIT] + CUT_MARK
        self.say("log", data={"level": level, "message": message})

    def artifact(self, artifact: Document) -> None:
        """Add something that the task has made, and that can be had now."""
        with self._lock:
            self._artifacts = [*(a for a in self._artifacts if a["name"] != artifact["name"]), artifact]
            self.say("artifact", patch={"artifacts": self._artifacts}, data=artifact)

    def progress(self) -> Document:
        """Return the progress as of now."""
        with self._lock:
            completed, total = self.completed, self._total
            estimate = self._estimator.sample(completed, total=total, now=self._clock())
            fraction = self._from or None
            if total:
                fraction = round(self._from + (self._until - self._from) * min(completed / total, 1.0), 4)
            return {
                "completed": completed,
                "total": total,
                "rate": None if estimate.rate is None else round(estimate.rate, 2),
                "time_left": None if estimate.time_left is None else round(estimate.time_left, 1),
                "fraction": fraction,
                "stage": self._stage,
                "description": self._description,
                "unit": self._unit,
            }

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked the task to stop."""
        return self.outbox.signals.cancel

    def stop_if_ended(self) -> None:
        """Raise if this run must not go on.

        Raises:
            Cancelled: somebody asked the task to stop.
            Fenced: a later run has begun, or the task was concluded without this run.
        """
        signals = self.outbox.signals
        if signals.fenced:
            raise Fenced(
                "Another run of this task has begun, or it was declared lost. This run ends and publishes nothing."
            )
        if signals.cancel:
            raise Cancelled("The task was cancelled.")

    def confirm(self, timeout: float) -> bool:
        """Ask the journal whether this run may still publish; false if it didn't answer within `timeout` seconds.

        Raises:
            Cancelled: somebody asked the task to stop.
            Fenced: a later run has begun.
        """
        deadline = self._clock() + timeout
        while True:
            try:
                held = self._journal.check(self.feed, self.number)
            except Unavailable:
                if self._clock() >= deadline:
                    return False
                time.sleep(0.1)
                continue
            self.outbox.signals.cancel |= held.cancel
            self.outbox.signals.fenced |= not held.valid
            self.stop_if_ended()
            return True

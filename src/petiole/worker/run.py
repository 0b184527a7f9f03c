"""One execution of a tracked task, as its progress calls see it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from decimal import Decimal
from numbers import Integral, Real
from typing import Final
from weakref import ReferenceType

from petiole.dispatch.message import Header
from petiole.encoding import JSON, to_json
from petiole.errors import Cancelled, Fenced, InvalidEvent, Unavailable
from petiole.events import MAX_NUMBER, Document, Draft
from petiole.journal.contract import Journal
from petiole.settings import Settings
from petiole.state import RUNNING, SUCCEEDED
from petiole.timing import Estimator
from petiole.worker.nobody import nobody
from petiole.worker.outbox import Outbox
from petiole.worker.standing import Standing, Steps

LOG_LIMIT: Final = 4000
LOG_BYTES: Final = 5000
WORDS_LIMIT: Final = 200
WORDS_BYTES: Final = 600
CUT_MARK: Final = " … [cut]"
CONFIRM_PAUSE: Final = 0.1

current_run: ContextVar[Run | None] = ContextVar("petiole_current_run", default=None)
# The same run's steps, for the one call that a loop makes at each step. Where there is no run they are nobody's.
current_steps: ContextVar[Steps] = ContextVar("petiole_current_steps", default=nobody.steps)


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
        on_end: Callable[[Outbox], None] = lambda _outbox: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.feed = standing.feed
        self.number = standing.run
        self.delivery = standing.delivery
        self.owner = standing.owner
        self.retries = standing.retries
        self.retry_cause: BaseException | None = None
        # Whether the task runs again if its worker ends: its message is returned, or sent again.
        self.returns = False
        # What the task has last told Celery of itself by `update_state`, where that is listened to.
        self.celery_state: object = None
        # What the task's message says of it, where it was a message that started it.
        self.header: Header | None = None
        # Whether the task's call is under way: what calls the task again from within goes on in this run.
        self.inside = False
        # What the task's call has raised, which Celery doesn't tell where it lets that through.
        self.raised: Exception | None = None
        # Whether the task is replacing itself; whether it goes on by another message; whether that couldn't be published.
        self.replacing = False
        self.handed_over = False
        self.stranded = False
        # Whether its calls don't end it any more: the task's call has returned, or what calls isn't ready for that.
        self.quiet = False
        # Whether this is a copy of the run in a process that was forked while it went on.
        self.disowned = False
        # The outermost tqdm bar that is open, which speaks for this run.
        self.bar: ReferenceType[object] | None = None
        self.outbox = Outbox(journal, standing, settings, newest=self.progress, on_end=on_end, clock=clock)
        self.steps = self.outbox.steps
        self._journal = journal
        self._clock = clock
        self._total: float | None = None
        self._unit: str | None = None
        self._stage: str | None = None
        self._description: str | None = None
        self._from = 0.0
        self._until = 1.0
        self._used_up = False
        self._set_aside: set[str] = set()
        self._artifacts: list[Document] = list(standing.document.get("artifacts", []))
        self._lock = threading.RLock()
        self._before: tuple[Run | None, Steps] = None, nobody.steps
        self._estimator = Estimator(now=clock())

    def enter(self) -> None:
        """Have the calls of `progress` speak for this run from now on, until `leave` in the same context."""
        self._before = current_run.get(), current_steps.get()
        current_run.set(self)
        current_steps.set(self.steps)

    def leave(self) -> None:
        """Give the context back to whom `enter` took it from."""
        run, steps = self._before
        current_run.set(run)
        current_steps.set(steps)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Have the calls of `progress` in this context speak for this run."""
        run, steps = current_run.set(self), current_steps.set(self.steps)
        try:
            yield
        finally:
            current_steps.reset(steps)
            current_run.reset(run)

    def advance(self, amount: float) -> None:
        """Count on by a number of any kind; what isn't one is set aside, and that is said."""
        if type(amount) not in (int, float) or not -MAX_NUMBER <= amount <= MAX_NUMBER:
            number = finite(amount)
            if number is None:
                self._say_set_aside("advance", amount)
                return
            amount = number
        self.steps.completed += amount
        if not self.steps.dirty:
            self.tell()

    def tell(self) -> None:
        """Have the outbox look at the steps, after one that found them not dirty.

        Raises:
            Cancelled, Fenced: as `stop_if_ended`.
        """
        self.stop_if_ended()
        self.outbox.touch()

    def update(self, completed: float | None, total: float | None, description: str | None) -> None:
        """Set what is given; with nothing given there is nothing to say."""
        if completed is None and total is None and description is None:
            return
        with self._lock:
            if total is not None:
                self._total = self._number("total", total, self._total)
            if completed is not None:
                self.steps.completed = self._number("completed", completed, self.steps.completed) or 0
            if description is not None:
                self._description = _words(description)
        self.outbox.touch()

    def stage(self, name: str, total: float | None, unit: str | None, until: float) -> None:
        """Begin a stage, from zero; `until` is the share of the whole task that is done when it ends."""
        with self._lock:
            # A stage that was to end with the whole task is followed by another: then nobody knows the whole any more.
            self._used_up = self._stage is not None and self._until >= 1.0
            self._from = self._until if self._stage is not None else 0.0
            self._until = min(max(self._number("until", until, 1.0) or 0.0, self._from), 1.0)
            self._total = None if total is None else self._number("total", total, None)
            self._stage, self._unit, self._description = _words(name), None if unit is None else _words(unit), None
            self.steps.completed = 0
            self._estimator = Estimator(now=self._clock())
        self.say("stage", data={"name": self._stage})

    def begin_loop(self, description: str | None, total: float | None, unit: str | None) -> None:
        """Begin a counted loop: in the present stage if there is one and the loop has no description, else as a stage."""
        if self._stage is None or description is not None:
            self.stage(description or "Working", total, unit, 1.0)
            return
        with self._lock:
            self._unit = _words(unit) if unit else self._unit
        self.update(0, total, None)

    def say(
        self,
        kind: str,
        *,
        patch: Document | None = None,
        data: JSON = None,
        otherwise: Draft | None = None,
        successor: str = "",
    ) -> bool:
        """Queue a fact; a value that can't be JSON is set aside, and that is said in its place. Says whether it was taken."""
        # A fact carries the progress as of now, so a counter that waits has nothing left to say.
        self.steps.dirty = False
        progress = self.progress()
        taken = True
        try:
            draft = replace(Draft(kind, patch or {}, progress, data), successor=successor).settled()
        except InvalidEvent as error:
            taken = False
            message = _cut(f"An event was set aside. {error}", LOG_LIMIT, LOG_BYTES)
            draft, otherwise = Draft("log", {}, progress, {"level": "warning", "message": message}), None
        self.outbox.put(draft, otherwise=otherwise)
        if self.steps.completed != progress["completed"]:
            self.outbox.touch()  # another thread has counted on meanwhile
        return taken

    def hand_over(self, patch: Document, *, successor: str, otherwise: Draft) -> None:
        """Say that the task goes on by another publication. What this run says until that begins is kept."""
        self.handed_over = self.quiet = True
        self.say("state", patch=patch, otherwise=replace(otherwise, successor=successor), successor=successor)

    def take_over(self, reason: str) -> None:
        """Say that this run goes on after all: the message by which the task was to go on couldn't be published."""
        self.handed_over, self.stranded = False, True
        self.say("state", patch={"state": RUNNING, "reason": reason, "retry_at": None})

    def disown(self) -> None:
        """Say nothing any more, in a forked process: numbers, locks and connections are the parent's."""
        self.disowned = self.quiet = True
        self._lock = threading.RLock()
        self.outbox.disown()

    def finish(self, patch: Document, *, otherwise: Draft | None = None) -> None:
        """Queue the run's last fact and take no more. After a success the whole task is done."""
        if patch["state"] == SUCCEEDED:
            with self._lock:
                self._from, self._until, self._used_up = 1.0, 1.0, False
        if not self.say("state", patch=patch, otherwise=otherwise):
            # The state itself is never set aside: without it the task would run for ever.
            bare: Document = {name: patch[name] for name in ("state", "finished_at", "retry_at") if name in patch}
            self.say("state", patch={**bare, "reason": _words(patch.get("reason") or "") or None}, otherwise=otherwise)
        self.outbox.close()

    def log(self, message: str, level: str) -> None:
        """Queue a log line, cut with a visible mark past 4,000 characters, or 5,000 bytes of JSON."""
        self.say("log", data={"level": _words(level), "message": _cut(message, LOG_LIMIT, LOG_BYTES)})

    def artifact(self, artifact: Document) -> None:
        """Add something that the task has made, and that can be had now."""
        with self._lock:
            artifacts = [*(a for a in self._artifacts if a["name"] != artifact["name"]), artifact]
            if self.say("artifact", patch={"artifacts": artifacts}, data=artifact):
                self._artifacts = artifacts

    def progress(self) -> Document:
        """Return the progress as of now."""
        with self._lock:
            completed, total = min(max(self.steps.completed, 0), MAX_NUMBER), self._total
            estimate = self._estimator.sample(completed, total=total, now=self._clock())
            fraction = self._from or None
            if total:
                fraction = round(self._from + (self._until - self._from) * min(completed / total, 1.0), 4)
            if self._used_up:
                fraction = None
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

    def _number(self, name: str, value: object, otherwise: float | None) -> float | None:
        number = finite(value)
        if number is None or number < 0:
            self._say_set_aside(name, value)
            return otherwise
        return number

    def _say_set_aside(self, name: str, value: object) -> None:
        if name not in self._set_aside:
            self._set_aside.add(name)
            self.log(f"A value for {name} was set aside: {value!r:.100} isn't a finite number of 0 or more.", "warning")

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
        if self.quiet:
            return
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
        asked = False
        while True:
            try:
                held = self._journal.check(self.feed, self.number, delivery=self.delivery)
            except Unavailable:
                if self._clock() >= deadline:
                    return False
                time.sleep(CONFIRM_PAUSE)
                continue
            self.outbox.signals.cancel |= held.cancel
            self.outbox.signals.fenced |= asked and not held.valid
            self.stop_if_ended()
            if held.valid:
                return True
            # Fenced, or forgotten by a journal that has lost its data: then the outbox opens the feed again.
            self.outbox.touch()
            if not self.outbox.flush(max(deadline - self._clock(), 0.0)):
                return False
            asked = True


def finite(value: object) -> float | None:
    """Return a number of any kind (NumPy's, `Decimal`) as a plain one that JSON and JavaScript hold; else `None`."""
    try:
        match value:
            case bool() | Integral():
                number: float = int(value)
            case Real() | Decimal():
                number = float(value)
            case _:
                return None
    except (OverflowError, ValueError):
        return None
    return number if abs(number) <= MAX_NUMBER else None


def _words(text: object) -> str:
    return _cut(text, WORDS_LIMIT, WORDS_BYTES)


def _cut(text: object, characters: int, size: int) -> str:
    """Return text that fits into an event: what UTF-8 can't carry is replaced, and what is too long is cut with a mark."""
    whole = str(text).encode("utf-8", "replace").decode()
    kept = whole[:characters]
    while (used := len(to_json(kept).encode())) > size:
        kept = kept[: len(kept) * size // used]
    return kept if kept == whole else kept + CUT_MARK

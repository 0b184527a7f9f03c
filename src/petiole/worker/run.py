"""One execution of a tracked task, as its progress calls see it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from datetime import datetime
from typing import Final

from petiole.dispatch.message import Header
from petiole.errors import Cancelled, Fenced, InvalidEvent, Unavailable
from petiole.journal.contract import Journal
from petiole.protocol.encoding import JSON
from petiole.protocol.events import MAX_NUMBER, Document, Draft
from petiole.protocol.states import RUNNING, SUCCEEDED
from petiole.protocol.texts import MAX_TEXTS, is_text_name
from petiole.protocol.values import address, finite, milliseconds, plain, shown, text_of, words
from petiole.settings import Settings
from petiole.worker.counts import Begun, Counts
from petiole.worker.loops import Loop
from petiole.worker.member import Member
from petiole.worker.nobody import nobody
from petiole.worker.outbox import Outbox
from petiole.worker.run_state import ProgressCounter, RunStart
from petiole.worker.silent_outbox import SilentOutbox

LOG_LIMIT: Final = 4000
LOG_BYTES: Final = 5000
NAME_LIMIT: Final = 255
NAME_BYTES: Final = 1020
CONFIRM_PAUSE: Final = 0.1
TEXT_NAME_LIMIT: Final = 32

_UNFIT: Final = re.compile(r"[^A-Za-z0-9_-]+")

current_run: ContextVar[Run | None] = ContextVar("petiole_current_run", default=None)
# The current run's counter, for the call that a loop makes at each step. Without a run it is nobody's.
current_counter: ContextVar[ProgressCounter] = ContextVar("petiole_current_counter", default=nobody.counter)


class Run:
    """One run's counts and facts. Thread-safe: threads that the task starts may share it.

    `clock` gives seconds of a monotonic clock. `outbox`: of a task that has no feed.
    """

    def __init__(
        self,
        journal: Journal,
        start: RunStart,
        settings: Settings,
        *,
        outbox: SilentOutbox | None = None,
        on_end: Callable[[Outbox], None] = lambda _outbox: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.feed = start.feed
        self.number = start.run
        self.delivery = start.delivery
        self.owner = start.owner
        self.retries = start.retries
        self.retry_cause: BaseException | None = None
        # Whether the task runs again if its worker ends: its message is redelivered, or sent again.
        self.returns = False
        # The state that the task last gave to `update_state`, where that is adopted.
        self.celery_state: object = None
        # The header of the task's message, if a message started it.
        self.header: Header | None = None
        # Whether the task's call is running: a call of the task from within belongs to this run.
        self.inside = False
        # What the task's call raised; Celery doesn't tell where it re-raises that.
        self.raised: Exception | None = None
        # Whether the task is replacing itself; whether another message continues it; whether that couldn't be published.
        self.replacing = False
        self.handed_over = False
        self.stranded = False
        # Whether progress calls no longer raise: the task's call has returned, or its caller can't handle that.
        self.quiet = False
        # Whether this is a copy of the run in a process that was forked during it.
        self.disowned = False
        # Its place in a group, if it is part of one.
        self.member: Member | None = None
        self.outbox: Outbox | SilentOutbox = outbox or Outbox(
            journal, start, settings, newest=self.progress, on_end=on_end, clock=clock
        )
        self.counter = self.outbox.counter
        self.counts = Counts(self.counter, count_in=self.outbox.count_in, set_aside=self._say_set_aside, clock=clock)
        self._journal = journal
        self._clock = clock
        self._text_limit = settings.text_limit
        # What was reported already.
        self._set_aside: set[str] = set()
        self._artifacts: dict[str, Document] = {of["name"]: of for of in start.document.get("artifacts", [])}
        self._lock = threading.RLock()
        self._before: tuple[Run | None, ProgressCounter] = None, nobody.counter

    def enter(self) -> None:
        """Make this run the current one, until `leave` in the same context."""
        self._before = current_run.get(), current_counter.get()
        current_run.set(self)
        current_counter.set(self.counter)

    def leave(self) -> None:
        """Restore the run that was current before `enter`."""
        run, counter = self._before
        current_run.set(run)
        current_counter.set(counter)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make this run the current one within the block."""
        run, counter = current_run.set(self), current_counter.set(self.counter)
        try:
            yield
        finally:
            current_counter.reset(counter)
            current_run.reset(run)

    def advance(self, amount: float) -> None:
        """Count a number of any kind; an invalid value is set aside and reported."""
        if type(amount) not in (int, float) or not -MAX_NUMBER <= amount <= MAX_NUMBER:
            number = finite(amount)
            if number is None:
                self._say_set_aside("advance", amount)
                return
            amount = number
        self.counter.completed += amount
        if not self.counter.dirty:
            self.tell()

    def tell(self) -> None:
        """Notify the outbox, after a step that found the counter not dirty.

        Raises:
            Cancelled, Fenced: as `stop_if_ended`.
        """
        self.stop_if_ended()
        self.outbox.touch()

    def update(self, completed: float | None, total: float | None, description: str | None) -> None:
        """Set the given values; without any there is nothing to send."""
        if completed is None and total is None and description is None:
            return
        self.counts.update(completed, total, description)
        self.outbox.touch()

    def stage(self, name: str, total: float | None, unit: str | None, until: float) -> None:
        """Begin a stage, from zero; `until` is the share of the whole task that is done when it ends."""
        self.say("stage", data={"name": self.counts.begin_stage(name, total, unit, until)})

    def begin_loop(self, loop: Loop, *, again: bool = False) -> bool:
        """Let a loop speak for this run, and say whether it does; `again`: it has begun before, and has moved."""
        begun = self.counts.begin_loop(loop, again=again)
        if begun is Begun.STAGE:
            self.say("stage", data={"name": self.counts.stage})
        elif begun is Begun.COUNTED:
            self.outbox.touch()
        return begun is not Begun.SILENT

    def run_out(self, loop: Loop) -> None:
        """Take note that a loop has reached its end."""
        self.counts.correct_total(loop)
        self.outbox.touch()

    def say(
        self,
        kind: str,
        *,
        patch: Document | None = None,
        data: JSON = None,
        otherwise: Draft | None = None,
        successor: str = "",
    ) -> bool:
        """Queue a fact; one that can't be JSON is replaced by a log line that says so. Says whether it was queued as it is."""
        # A fact carries the current progress, so a pending counter is obsolete.
        self.outbox.clean()
        progress = self.progress()
        taken = True
        try:
            draft = replace(Draft(kind, patch or {}, progress, data), successor=successor).settled()
        except InvalidEvent as error:
            taken = False
            draft, otherwise = Draft("log", {}, progress, _set_aside(error)), None
        self.outbox.put(draft, otherwise=otherwise)
        if self.counts.completed != progress["completed"]:
            self.outbox.touch()  # another thread has counted meanwhile
        return taken

    def hand_over(self, patch: Document, *, successor: str, otherwise: Draft) -> None:
        """Record that another publication continues the task. Facts of this run are kept until that begins."""
        self.handed_over = self.quiet = True
        self.say("state", patch=patch, otherwise=replace(otherwise, successor=successor), successor=successor)

    def take_over(self, reason: str) -> None:
        """Record that this run goes on: the message that was to continue the task couldn't be published."""
        self.handed_over, self.stranded = False, True
        self.say("state", patch={"state": RUNNING, "reason": reason, "retry_at": None})

    def ask_to_stop(self) -> None:
        """Have the next progress call raise `Cancelled`."""
        self.outbox.signals.cancel = True
        # Loops look at it when they aren't dirty.
        self.outbox.clean()

    def disown(self) -> None:
        """Send nothing any more, in a forked process: numbers, locks and connections are the parent's."""
        self.disowned = self.quiet = True
        self._lock = threading.RLock()
        self.counts.disown()
        self.outbox.disown()

    def finish(self, patch: Document, *, otherwise: Draft | None = None) -> None:
        """Queue the run's last fact and accept no more. After a success the whole task is done."""
        if patch["state"] == SUCCEEDED:
            self.counts.finish()
        texts = self.outbox.close_texts()
        self._report_omitted()
        if texts:
            patch = {**patch, "texts": texts}
            otherwise = otherwise and replace(otherwise, patch={**otherwise.patch, "texts": texts})
        if not self.say("state", patch=patch, otherwise=otherwise):
            # The state itself is never set aside: without it the task would never end.
            bare: Document = {
                name: patch[name] for name in ("state", "finished_at", "retry_at", "texts") if name in patch
            }
            self.say("state", patch={**bare, "reason": words(patch.get("reason") or "") or None}, otherwise=otherwise)
        self.outbox.close()

    def log(self, message: str, level: str) -> None:
        """Queue a log line, cut with a visible mark past 4,000 characters, or 5,000 bytes of JSON."""
        self.say("log", data={"level": words(level), "message": words(message, characters=LOG_LIMIT, size=LOG_BYTES)})

    def emit(self, name: str, data: object) -> None:
        """Queue an event of the application's own; values that JSON can't carry become the closest JSON, or a mark."""
        try:
            carried = plain(data)
        except InvalidEvent as error:
            self.say("log", data=_set_aside(error))
            return
        self.say("custom", data={"name": words(name), "data": carried})

    def write(self, text: object, name: object) -> None:
        """Add to a text. What can't be added is set aside and reported."""
        if not isinstance(text, str):
            if text is not None:
                self._report("write", f"{shown(text)} was not written: it isn't text. Pass a str; decode bytes first.")
            return
        if not text:
            return
        known = name if isinstance(name, str) and is_text_name(name) else self._text_name(name)
        if not self.outbox.write(known, text):
            self._report(f"write {known}", f"The text {known} is not shown: a task has at most {MAX_TEXTS} texts.")
        elif self.outbox.omitted is not None:
            self._report_omitted()

    def _text_name(self, name: object) -> str:
        known = _UNFIT.sub("-", words(name))[:TEXT_NAME_LIMIT] or "output"
        fit = "1 to 32 letters, digits, _ and -"
        self._report(f"name {known}", f"A text is named {known}, not {shown(name)}: a name has {fit}.")
        return known

    def _report_omitted(self) -> None:
        if (name := self.outbox.omitted) is not None:
            self._report(
                "omitted",
                f"The text {name} is cut: a task keeps {self._text_limit:,} bytes of text. Raise PETIOLE_TEXT_LIMIT, or write "
                "it to a file and announce that by progress.artifact.",
            )

    def _report(self, what: str, sentence: str) -> None:
        """Add a warning to the log, once in a run."""
        if what not in self._set_aside:
            self._set_aside.add(what)
            self.log(sentence, "warning")

    def artifact(self, given: Document) -> None:
        """Add an artifact; an invalid number among its fields is set aside and reported."""
        name = text_of(given["name"])
        artifact: Document = {"name": words(name, characters=NAME_LIMIT, size=NAME_BYTES)}
        for field, text in (("url", address), ("sha256", words), ("media_type", words)):
            if given.get(field) is not None:
                artifact[field] = text(given[field])
        for field in ("size", "rows", "expires_at"):
            number = self._whole(field, given.get(field))
            if number is not None:
                artifact[field] = number
        with self._lock:
            artifacts = {**{other: of for other, of in self._artifacts.items() if other != name}, name: artifact}
            if self.say("artifact", patch={"artifacts": list(artifacts.values())}, data=artifact):
                self._artifacts = artifacts

    def _whole(self, name: str, value: object) -> float | None:
        if value is None:
            return None
        number = self.counts.number(name, milliseconds(value) if isinstance(value, datetime) else value, None)
        return int(number) if number is not None and number == int(number) else number

    def progress(self) -> Document:
        """Return the current progress."""
        return self.counts.progress()

    def _say_set_aside(self, name: str, value: object) -> None:
        self._report(
            name, f"A value for {name} was set aside: {shown(value)} isn't a finite number from 0 to {MAX_NUMBER:,}."
        )

    @property
    def cancelled(self) -> bool:
        """Whether the task was asked to stop."""
        return self.outbox.signals.cancel

    def stop_if_ended(self) -> None:
        """Raise if this run must not go on.

        Raises:
            Cancelled: the task was asked to stop.
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
            Cancelled: the task was asked to stop.
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
            # Fenced, or lost by the journal: then the outbox opens the feed again.
            self.outbox.touch()
            if not self.outbox.flush(max(deadline - self._clock(), 0.0)):
                return False
            asked = True


def _set_aside(error: InvalidEvent) -> Document:
    """Return the log line that replaces an event."""
    message = words(f"An event was set aside. {error}", characters=LOG_LIMIT, size=LOG_BYTES)
    return {"level": "warning", "message": message}

"""What a task says, numbered as a journal numbers it, and kept in memory."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Final

from celery import Task

from petiole.dispatch.message import Header, now_ms, queued_document
from petiole.dispatch.outcome import retrying
from petiole.dispatch.tracking import Tracking
from petiole.journal.rules import admits
from petiole.protocol import states
from petiole.protocol.events import (
    COUNTER,
    NO_FACTS,
    VERSION,
    ZERO_CHAIN,
    Cursor,
    Document,
    Draft,
    Event,
    advance_chain,
    fold,
)
from petiole.protocol.texts import NO_TEXTS, TEXT_VERSION
from petiole.worker.claims import running
from petiole.worker.run import Run
from petiole.worker.run_state import RunStart
from petiole.worker.silent_outbox import SilentOutbox
from petiole.worker.texts import WrittenTexts

# Past so many counters, one that follows another replaces it, as on the way to a page.
COUNTERS_KEPT: Final = 10_000
# What of a progress the task itself has changed; its rate and the time left change by themselves.
COUNTED: Final = ("completed", "total", "fraction", "stage", "description", "unit")

CancelWhen = Callable[[Event], object]


class Recorder:
    """Keeps the events of one task's runs. `cancel_when`: asks the task to stop after the first event for which it is true.

    Thread-safe, as a journal is.
    """

    def __init__(self, tracking: Tracking, header: Header, task: Task, *, cancel_when: CancelWhen | None) -> None:
        self._tracking = tracking
        self._header = header
        self._cancel_when = cancel_when
        self._lock = threading.RLock()
        self._counters = 0
        self._texts = NO_TEXTS
        self._run: _RecordedRun | None = None
        self.events: list[Event] = []
        self.document: Document = {}
        self.take(Draft("state", queued_document(header.title, str(task.name))), run=0)

    @property
    def cursor(self) -> Cursor:
        """Where the feed stands."""
        last = self.events[-1] if self.events else None
        return last.cursor if last is not None else Cursor(self._header.epoch, 0, 0, ZERO_CHAIN)

    def begin(self, task: Task, header: Header) -> Run | None:
        """Begin a run of the recorded task; a run before it has asked for a retry."""
        if header.feed != self._header.feed:
            return None
        with self._lock:
            before, retries = self._run, int(task.request.retries or 0)
            if before is not None:
                self.take(Draft("state", retrying(before.retry_cause, eta=None)), run=before.number)
                before.outbox.signals.fenced = True
                before.outbox.close()
            number = 1 if before is None else before.number + 1
            self._texts = self._texts.of_run(number) if self._texts else NO_TEXTS
            self.take(running(task, retries=retries), run=number)
            start = RunStart(
                feed=header.feed,
                owner=header.owner,
                worker="rehearsal",
                run=number,
                delivery=uuid.uuid4().hex,
                retries=retries,
                facts_written=1,
                cursor=self.cursor,
                document=self.document,
            )
            self._run = _RecordedRun(self._tracking, start, self)
            self._run.header = header
            return self._run

    def take(self, draft: Draft, *, run: int, otherwise: Draft | None = None) -> bool:
        """Number an event and keep it, unless the feed's state doesn't admit it: then `otherwise`. Says whether either is kept.

        Raises:
            InvalidEvent: it isn't JSON, or over the limit.
        """
        with self._lock:
            if not admits(self.document.get("state"), draft.state):
                return otherwise is not None and self.take(otherwise, run=run)
            event = self._numbered(draft, run)
            if event.kind == COUNTER:
                self._counters += 1
                if self._counters > COUNTERS_KEPT and self.events[-1].kind == COUNTER:
                    self.events.pop()
            self.events.append(event)
            self.document = fold(self.document, event)
            self._look_for_cancel(event)
            return True

    def _numbered(self, draft: Draft, run: int) -> Event:
        draft.encode()
        at, chunk = self.cursor, draft.chunk
        if chunk is not None:
            self._texts = self._texts.of_run(run).grown(chunk.name, chunk.end)
        is_fact = draft.kind not in NO_FACTS
        return Event(
            id=draft.id,
            feed=self._header.feed,
            epoch=at.epoch,
            seq=at.seq + 1,
            run=run,
            facts=at.facts + is_fact,
            chain=advance_chain(at.chain, draft.id) if is_fact else at.chain,
            at=now_ms(),
            kind=draft.kind,
            patch=draft.patch,
            progress=self.document.get("progress") if draft.progress is None else draft.progress,
            data=draft.data,
            texts=self._texts,
            v=VERSION if chunk is None else TEXT_VERSION,
        )

    def _look_for_cancel(self, event: Event) -> None:
        if self._cancel_when is None or states.is_terminal(self.document.get("state")) or not self._cancel_when(event):
            return
        self._cancel_when = None
        self.take(Draft("state", {"state": states.CANCELLING}), run=0)
        if self._run is not None:
            self._run.ask_to_stop()


class _RecordedOutbox(SilentOutbox):
    """Gives a recorder what a run says, at once and in the run's own thread; each step of a loop is a counter."""

    def __init__(self, start: RunStart, recorder: Recorder, *, text_limit: int) -> None:
        super().__init__(start.feed)
        self._run = start.run
        self._recorder = recorder
        self._texts = WrittenTexts(start.run, limit=text_limit)
        self._closed = False
        self.newest: Callable[[], Document] = dict

    def put(self, draft: Draft, *, otherwise: Draft | None = None) -> None:
        """Record a fact; `otherwise` instead if the feed's state doesn't admit it."""
        if not self._closed:
            self._recorder.take(draft, run=self._run, otherwise=otherwise)

    def write(self, name: str, text: str) -> bool:
        """Record a piece of a text; false if there are too many texts."""
        if self._closed:
            return True
        taken = self._texts.write(name, text)
        self._record_texts()
        return taken

    @property
    def omitted(self) -> str | None:
        """The name of a text of which something past the limit was left out."""
        return self._texts.omitted

    def close_texts(self) -> Document:
        """Accept no more text, and return what the receipt says of each."""
        receipt = self._texts.close()
        self._record_texts()
        return receipt

    def touch(self) -> None:
        """Record the progress, if it has changed."""
        progress, before = self.newest(), self._recorder.document.get("progress") or {}
        if not self._closed and any(progress[name] != before.get(name) for name in COUNTED):
            self._recorder.take(Draft(COUNTER, progress=progress), run=self._run)

    def close(self) -> None:
        """Accept no more."""
        self._closed = True

    def _record_texts(self) -> None:
        while (chunk := self._texts.next_chunk()) is not None:
            self._recorder.take(Draft.of_text(chunk), run=self._run)
            self._texts.acknowledge(chunk)


class _RecordedRun(Run):
    """A run whose events a recorder keeps."""

    def __init__(self, tracking: Tracking, start: RunStart, recorder: Recorder) -> None:
        outbox = _RecordedOutbox(start, recorder, text_limit=tracking.settings.text_limit)
        super().__init__(tracking.journal, start, tracking.settings, outbox=outbox)
        outbox.newest = self.progress

    def confirm(self, _timeout: float) -> bool:
        """Say that this run may publish.

        Raises:
            Cancelled: the task was asked to stop.
            Fenced: a later run has begun.
        """
        self.stop_if_ended()
        return True

"""The outbox between a task and the journal: no call of the task ever waits for the journal.

Facts go out in order, each under its run's number, until the journal has acknowledged them. While nothing is pending, the
task's thread sends a fact itself; it reads the reply with its next fact, unless the sending thread has read it before.
Counters are coalesced: the first goes out at once, then at most so many a second, and the last always. While the journal is
away the outbox keeps what fits; it drops the oldest log lines first, counts what it drops, and says so in a fact, before a
number is given. What the journal refuses is sent again, as if the journal were away: only an event that Petiole's own checks
refuse, or one that alone is refused for a minute, is set aside, and a fact under its number says so.

Texts are merged: the first chunk goes out at once, then at most so many a second, and the last always, before the fact that
ends the run. One chunk at a time is under way.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from petiole.errors import InvalidEvent, PetioleError
from petiole.journal.answers import Closed, Duplicate, Stored
from petiole.journal.contract import Journal, PendingAppend
from petiole.logs import logger
from petiole.protocol.events import COUNTER, Cursor, Document, Draft
from petiole.protocol.states import ENDS_RUN, is_terminal
from petiole.protocol.texts import TEXT
from petiole.settings import Settings
from petiole.worker.dropped import Dropped, stand_in
from petiole.worker.run_state import ProgressCounter, RunStart
from petiole.worker.writer import RunWriter

log = logger(__name__)

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 0.8
# How long a task that computes waits for the sending thread to take a fact, in seconds; and the share of CPU time from which on
# a task computes. On a busy machine it gets only a part of the time that passes.
HANDOVER: Final = 0.001
COMPUTES: Final = 0.2
# For facts that the task's thread sends within OFTEN seconds of each other, the sending thread isn't woken each time: it would
# compete with the processes that bring the fact to its browser. It polls for the replies every LOOK seconds.
OFTEN: Final = 0.25
LOOK: Final = 0.1
FORKED: Final = (
    "Petiole: progress was called in a process that the task has forked, so its counts are lost. Count where the results "
    "arrive, in the task's own process: for row in track(executor.map(work, rows))."
)
_DROPPED_FIRST: Final = ("log", "custom", "stage", "artifact")


@dataclass(slots=True)
class _Fact:
    """A fact, or a chunk of a text, which takes no number."""

    draft: Draft
    otherwise: Draft | None = None
    # If the task's thread has sent it, or may have: its number, and its pending reply.
    number: int = 0
    begun: PendingAppend | None = None
    # If the task's thread waits for the sending thread: locked until that is done.
    handed: threading.Lock | None = None


class Outbox:
    """Sends one run's events from a thread of its own. `put`, `touch` and `flush` are for the task's thread.

    `newest` returns the run's progress as of now; it is called for every counter that goes out. `on_end` is called once the
    journal has the fact that ends the task.
    """

    def __init__(
        self,
        journal: Journal,
        start: RunStart,
        settings: Settings,
        *,
        newest: Callable[[], Document],
        on_end: Callable[[Outbox], None] = lambda _outbox: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writer = RunWriter(
            journal, start, settings, on_cancel=lambda: self._mark(dirty=False), on_fenced=self._stop, clock=clock
        )
        self.signals = self._writer.signals
        self.counter = ProgressCounter()
        # The counter of the loop that speaks; without one the same. Both are dirty, or neither is.
        self._loop_counter = self.counter
        self._settings = settings
        self._newest = newest
        self._on_end = on_end
        self._clock = clock
        self._interval = 1 / settings.counters_per_second if settings.counters_per_second else 0.0
        self._texts = self._writer.texts
        self._text_interval = 1 / settings.texts_per_second if settings.texts_per_second else 0.0
        self._next_text = 0.0
        # Whether the sending thread looks for text by itself, so that it needn't be woken.
        self._looks_for_text = False
        self._queue: deque[_Fact] = deque()
        self._sending: _Fact | Draft | None = None
        self._dropped = Dropped()
        self._given_up = False
        self._closed = False
        self._stopped = False
        # Whether a forked process has yet to log that its progress is lost.
        self._disowned = False
        self._next_counter = 0.0
        self._next_ask = clock() + settings.heartbeat
        # When a fact was last begun, whether that is often, and whether the sending thread polls.
        self._begun_at = 0.0
        self._often = False
        self._looks = False
        # The last fact that was left to the sending thread: by which thread, when, and its CPU time until then.
        self._spoke = (0, 0.0, 0.0)
        # Locked directly, not through the condition: a time limit that is raised in the condition's Python code would leave
        # it locked.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the sending thread: after the fork, so in the process that runs the task."""
        self._thread = threading.Thread(target=self._send_all, name=f"petiole-outbox-{self.feed}", daemon=True)
        self._thread.start()

    def put(self, draft: Draft, *, otherwise: Draft | None = None) -> None:
        """Queue a fact. `otherwise` is sent instead if the feed's state doesn't admit it."""
        with self._lock:
            if self._stopped or self._closed:
                self._refuse()
                return
            self._poll_begun()
            if len(self._queue) >= self._settings.outbox_limit:
                self._drop_one()
            fact = _Fact(draft, otherwise)
            is_idle, is_next = self._is_idle(), self._only_begun()
            # Before it is sent: if a time limit interrupts this, the sending thread sends it again, under the same number.
            self._queue.append(fact)
            if is_idle and not (draft.state in ENDS_RUN and self._texts.waiting):
                self._begin(fact)
            if fact.begun is None or not (self._often and self._looks):
                self._changed.notify_all()
            if fact.begun is None and self._computes() and is_next and not self.signals.away:
                fact.handed = threading.Lock()
                fact.handed.acquire()
        if fact.handed is not None:
            # Otherwise the task would keep the GIL from the sending thread for many times this long.
            fact.handed.acquire(timeout=HANDOVER)

    def write(self, name: str, text: str) -> bool:
        """Add to a text; false if there are too many texts."""
        if not self._texts.write(name, text):
            return False
        if self._looks_for_text and not self._stopped:
            return True
        with self._lock:
            if self._stopped or self._closed:
                self._refuse()
                return True
            if self._looks_for_text:
                return True
            self._poll_begun()
            if self._is_idle() and self._clock() >= self._next_text:
                self._begin_text()
            else:
                self._changed.notify_all()
            self._looks_for_text = True
        return True

    def close_texts(self) -> Document:
        """Accept no more text, and return what the receipt says of each."""
        return self._texts.close()

    @property
    def omitted(self) -> str | None:
        """The name of a text of which something past the limit was left out."""
        return self._texts.omitted

    def touch(self) -> None:
        """Note that the progress has changed; its newest value goes out when it is due."""
        with self._lock:
            self._mark(dirty=True)
            self._changed.notify_all()

    def clean(self) -> None:
        """Have the next step notify: the next fact carries the current progress."""
        self._mark(dirty=False)

    def count_in(self, counter: ProgressCounter | None) -> None:
        """Use a loop's own counter, instead of that of the loop before it."""
        with self._lock:
            before, self._loop_counter = self._loop_counter, counter or self.counter
            if before is not self.counter:
                before.dirty = False
            self._loop_counter.dirty = False  # its first step notifies in any case

    def close(self) -> None:
        """Accept no more; the thread ends once the journal has everything."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()

    def disown(self) -> None:
        """Accept no more, in a forked process: the copied locks may be held for ever, and the numbers are the parent's."""
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._disowned = self._stopped = True
        self._queue.clear()
        self._sending, self._dropped = None, Dropped()
        self._texts.discard()
        # Loops notify nobody.
        self._mark(dirty=True)

    def flush(self, timeout: float) -> bool:
        """Wait until the journal has everything, at most `timeout` seconds; says whether it has."""
        with self._lock:
            self._changed.notify_all()
            return self._changed.wait_for(self._is_empty, timeout) and not self._given_up

    @property
    def feed(self) -> str:
        return self._writer.feed

    @property
    def cursor(self) -> Cursor:
        """Where the feed stood after this run's newest event."""
        return self._writer.cursor

    def send_end_again(self) -> None:
        """Give the journal what it has lost of a run that has ended; nothing, if it has lost nothing. The thread has ended.

        Raises:
            Unavailable: the journal is away; ask again.
        """
        self._writer.send_last_again()

    @property
    def has_ended(self) -> bool:
        """Whether the journal has this run's last fact, and that has ended the task."""
        return not self.signals.fenced and self._writer.has_ended

    def _refuse(self) -> None:
        if self._disowned:
            self._disowned = False
            log.error(FORKED)

    def _computes(self) -> bool:
        """Say whether the calling thread has mostly computed, not waited, since it last left a fact to the sending thread."""
        here = (threading.get_ident(), time.monotonic(), time.thread_time())
        before, self._spoke = self._spoke, here
        return here[0] == before[0] and here[2] - before[2] > COMPUTES * (here[1] - before[1])

    def _begin(self, fact: _Fact) -> None:
        """Send a fact from this thread if that doesn't block: the sending thread would have to be woken first."""
        if self.signals.away:
            return
        fact.number = self._writer.next_number
        # The sending thread meets the same error, and handles it.
        with suppress(PetioleError):
            fact.begun = self._writer.begin(fact.draft, fact.number)
        if fact.begun is None:
            fact.number = 0  # nothing was sent
            return
        now = self._clock()
        self._often, self._begun_at = now - self._begun_at < OFTEN, now

    def _begin_text(self) -> None:
        """Send the first chunk from this thread, as a fact is."""
        chunk = self._texts.next_chunk()
        if chunk is None:
            return
        fact = _Fact(Draft.of_text(chunk))
        self._queue.append(fact)
        self._next_text = self._clock() + self._text_interval
        self._begin(fact)
        self._changed.notify_all()

    def _poll_begun(self) -> None:
        """Read the reply to the fact that was begun last, if it has come, so that the sending thread isn't woken for it."""
        fact = self._queue[0] if self._queue and self._sending is None else None
        reply = fact.begun.poll() if fact is not None and fact.begun is not None else None
        # A stalled run has to say that it is alive, for which its task mustn't wait.
        if fact is not None and isinstance(reply, Stored) and not reply.stalled:
            self._writer.take(fact.draft, reply)
            self._writer.keep(fact.number, fact.draft)
            self._note_sent(self._clock())
            # Last: if a time limit interrupts this, the sending thread does the same again.
            self._queue.popleft()

    def _mark(self, *, dirty: bool) -> None:
        self.counter.dirty = self._loop_counter.dirty = dirty

    def _is_idle(self) -> bool:
        return not self._queue and self._sending is None and not self._dropped

    def _only_begun(self) -> bool:
        """Whether only begun facts are pending, of which the sending thread has but to read the replies."""
        sending = self._sending
        is_begun = sending is None or (isinstance(sending, _Fact) and sending.begun is not None)
        return is_begun and all(fact.begun for fact in self._queue)

    def _is_empty(self) -> bool:
        waiting = self._queue or self._sending or self.counter.dirty or self._dropped or self._texts.waiting
        return self._stopped or not waiting

    def _drop_one(self) -> None:
        for kind in _DROPPED_FIRST:
            for at, fact in enumerate(self._queue):
                if fact.draft.kind == kind and not fact.number:
                    del self._queue[at]
                    self._dropped.count(away=self.signals.away)
                    return

    def _send_all(self) -> None:
        while (draft := self._next()) is not None:
            try:
                if isinstance(draft, _Fact):
                    self._deliver(draft)
                else:
                    self._count(draft)
            except Exception:
                # The top of the thread: the other events go on.
                log.exception("event_lost", extra={"feed": self.feed})
                if isinstance(draft, _Fact):
                    with self._lock:
                        self._dropped.count(away=False)
            finally:
                with self._lock:
                    self._sending = None
                    self._changed.notify_all()
                if isinstance(draft, _Fact) and draft.handed is not None:
                    draft.handed.release()
        with self._lock:
            self._stopped = True
            self._changed.notify_all()
        if self.has_ended:
            self._on_end(self)

    def _next(self) -> _Fact | Draft | None:
        """Wait for the next event to send; `None`: the thread is to end."""
        while True:
            with self._lock:
                now = self._clock()
                if self._stopped or (self._closed and self._is_empty()):
                    return None
                if self._says_dropped(now):
                    self._sending = _Fact(self._dropped.say(now))
                    return self._sending
                chunk = self._texts.next_chunk() if self._is_text_due(now) else None
                if chunk is not None:
                    self._sending = _Fact(Draft.of_text(chunk))
                    self._next_text = now + self._text_interval
                    self._next_ask = now + self._settings.heartbeat
                    return self._sending
                if self._queue:
                    self._sending = self._queue.popleft()
                    self._note_sent(now)
                    return self._sending
                if self.counter.dirty and (now >= self._next_counter or self._closed):
                    self._mark(dirty=False)
                    self._note_sent(now)
                    self._sending = Draft(COUNTER)
                    return self._sending
                due = self._next_counter if self.counter.dirty else self._next_ask
                due = min(due, self._dropped.due) if self._dropped else due
                # Taken back first: what is written after that wakes this thread.
                self._looks_for_text = False
                self._looks_for_text = now < self._next_text or self._texts.waiting
                due = min(due, self._next_text) if self._looks_for_text else due
                self._looks = self._often and now - self._begun_at < OFTEN
                self._changed.wait(max(min(due - now, LOOK) if self._looks else due - now, 0.0))
            if not self.counter.dirty and not self._queue and (now := self._clock()) >= self._next_ask:
                self._next_ask = now + self._settings.heartbeat
                if not self._writer.is_valid():
                    # Fenced, or lost by the journal: the reply to a counter says which.
                    self.touch()

    def _says_dropped(self, now: float) -> bool:
        """Whether to report dropped events now: before the next number is given, and before the last fact in any case."""
        if not self._dropped or (self._queue and self._queue[0].number):
            return False
        return now >= self._dropped.due or (self._closed and len(self._queue) <= 1)

    def _is_text_due(self, now: float) -> bool:
        """Whether to send text now: when its turn has come, or before the fact that ends the run."""
        first = self._queue[0] if self._queue else None
        if not self._texts.waiting or (first is not None and (first.begun is not None or first.draft.kind == TEXT)):
            return False
        is_last = first is not None and first.draft.state in ENDS_RUN
        return now >= self._next_text or is_last or (self._closed and first is None)

    def _count(self, draft: Draft) -> None:
        """Send a counter once: if the journal is away, the next one says more."""
        # Without the lock: the task's thread may hold its own lock while it puts a fact.
        draft = replace(draft, progress=self._newest())
        with self._lock:
            if self._queue:
                # A fact was queued since, with older progress: it goes first, or the progress would go back.
                self._mark(dirty=True)
                return
        try:
            if not self._writer.take(draft, self._writer.append_counter(draft)):
                self.touch()
        except InvalidEvent:
            log.exception("counter_set_aside", extra={"feed": self.feed})
        except Exception as error:  # noqa: BLE001 (the top of the thread: an unknown error may be temporary)
            self._writer.note_away(error)
            with self._lock:
                self._mark(dirty=True)
                self._next_counter = self._clock() + LONGEST_PAUSE / 2
                if self._closed:
                    self._changed.wait(FIRST_PAUSE)
            if self._writer.patience.is_over(error) and not self._writer.heal(error):
                self._give_up(error)

    def _deliver(self, fact: _Fact) -> None:
        """Send a fact until the journal has it, or has refused it for good."""
        pause = FIRST_PAUSE
        draft, otherwise, begun = fact.draft, fact.otherwise, fact.begun
        number = fact.number or self._writer.next_number
        set_aside = False
        while not self._stopped:
            try:
                answer, begun = begun, None
                reply = answer() if answer else self._writer.append(draft, number)
                if isinstance(reply, Closed) and not is_terminal(reply.state) and otherwise is not None:
                    draft, otherwise = otherwise, None
                    continue
                settled = self._writer.take(draft, reply)
            except InvalidEvent as error:
                if set_aside:
                    raise
                log.exception("event_set_aside", extra={"feed": self.feed})
                draft, set_aside = stand_in(draft, str(error)), True
                continue
            except Exception as error:  # noqa: BLE001 (the top of the thread: an unknown error may be temporary)
                self._writer.note_away(error)
                if not self._writer.patience.is_over(error):
                    time.sleep(pause * random.uniform(0.5, 1.0))
                    pause = min(2 * pause, LONGEST_PAUSE)
                elif not set_aside and draft.is_fact:
                    # Either this event is refused, or its feed is.
                    reason = "The journal refused it for a minute; the worker's log says why."
                    draft, set_aside = stand_in(draft, reason), True
                elif self._writer.heal(error):
                    draft, otherwise, set_aside = fact.draft, fact.otherwise, False
                else:
                    self._give_up(error)
                continue
            if isinstance(reply, Stored | Duplicate):
                self._writer.keep(number, draft)
            if settled:
                return

    def _note_sent(self, now: float) -> None:
        self._next_counter, self._next_ask = now + self._interval, now + self._settings.heartbeat

    def _give_up(self, error: Exception) -> None:
        """Stop writing the feed, and let the task go on: the journal refuses this feed for good."""
        log.error("feed_given_up", extra={"feed": self.feed, "error": str(error), "events": len(self._queue)})
        self._given_up = True
        self._stop()

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            self._mark(dirty=False)  # loops check the signals when they aren't dirty
            self._queue.clear()
            self._texts.discard()
            self._changed.notify_all()

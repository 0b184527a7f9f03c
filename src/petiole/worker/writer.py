"""Writes one run's events into the journal: numbers them, resends what was lost, and reopens a lost feed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar

from petiole.errors import PetioleError, Unavailable
from petiole.journal.answers import Appended, Closed, Conflict, Duplicate, Fenced, Missing, Stored, TextGap
from petiole.journal.contract import Journal, PendingAppend, SupportsAsync
from petiole.logs import logger
from petiole.protocol.events import Cursor, Draft, fold_draft
from petiole.protocol.states import ENDS_RUN, RUNNING, is_terminal
from petiole.protocol.texts import NO_TEXTS, Texts
from petiole.settings import Settings
from petiole.worker.patience import Patience
from petiole.worker.run_state import RunStart, Signals
from petiole.worker.texts import WrittenTexts

T = TypeVar("T")

log = logger(__name__)

ACKNOWLEDGED_KEPT: Final = 256
MOST_ROUNDS: Final = 4


class RunWriter:
    """Writes one run's events. One thread at a time: its outbox sees to that.

    `on_cancel` is called when a reply first says that the task is cancelled, `on_fenced` when the run may write no more.
    """

    def __init__(
        self,
        journal: Journal,
        start: RunStart,
        settings: Settings,
        *,
        on_cancel: Callable[[], None],
        on_fenced: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.signals = Signals()
        self.patience = Patience(journal, clock=clock)
        self.texts = WrittenTexts(start.run, limit=settings.text_limit)
        # Where the feed stood after this run's newest event.
        self.cursor = start.cursor
        self._journal = journal
        self._append_async = journal.append_async if isinstance(journal, SupportsAsync) else None
        self._start = start
        self._lease = settings.lease
        self._on_cancel = on_cancel
        self._on_fenced = on_fenced
        self._fact_number = start.facts_written
        self._counter_number = 0
        self._document = start.document
        self._acknowledged: deque[tuple[int, Draft]] = deque(maxlen=ACKNOWLEDGED_KEPT)

    @property
    def feed(self) -> str:
        return self._start.feed

    @property
    def next_number(self) -> int:
        """The number of the next fact."""
        return self._fact_number + 1

    @property
    def has_ended(self) -> bool:
        """Whether the journal has this run's last fact, and that has ended the task."""
        return is_terminal(self._document.get("state")) and bool(self._acknowledged)

    def begin(self, draft: Draft, number: int) -> PendingAppend | None:
        """Send a fact, or a chunk, without waiting for the reply; `None`: nothing was sent, because that would block."""
        if self._append_async is None:
            return None
        return self._send(self._append_async, draft, fact=number, counter=0)

    def append(self, draft: Draft, number: int) -> Appended:
        """Send a fact under its number, or a chunk, which needs none. The fact that ends the run goes after all of its text."""
        if draft.state in ENDS_RUN:
            # Even if a feed that was opened again has none of it yet.
            self._send_texts()
        return self._send(self._journal.append, draft, fact=number, counter=0)

    def append_counter(self, draft: Draft) -> Appended:
        """Send a counter, under a number of its own each time.

        Had only the reply been lost, the journal would otherwise take a newer counter for a duplicate.
        """
        self._counter_number += 1
        return self._send(self._journal.append, draft, fact=self._fact_number, counter=self._counter_number)

    def keep(self, number: int, draft: Draft) -> None:
        """Remember an acknowledged fact: if the journal loses it, it is sent again. Chunks are remembered by `texts`."""
        if not draft.is_fact:
            return
        self._fact_number, self._counter_number = number, 0
        self._acknowledged.append((number, draft))

    def take(self, draft: Draft, reply: Appended) -> bool:
        """Act on a reply; true if the journal has the event, or has refused it for good."""
        self.patience.reset()
        if self.signals.away:
            log.info("journal_returned", extra={"feed": self.feed})
            self.signals.away = False
        match reply:
            case Stored(cursor, cancel) | Duplicate(cursor, cancel):
                self.cursor = cursor
                self._document = fold_draft(self._document, draft, run=self._start.run)
                self._hear(cancel)
                if (chunk := draft.chunk) is not None:
                    self.texts.acknowledge(chunk)
                if isinstance(reply, Stored) and reply.stalled:
                    self._say_alive()
                return True
            case Conflict(last):
                self._send_again(last)
                return False
            case TextGap(texts):
                self.texts.rewind(texts)
                # A chunk is made anew from there; a fact waits for the text before it.
                if draft.is_fact:
                    self._send_texts()
                return not draft.is_fact
            case Missing():
                self._rebase()
                return False
            case Fenced():
                self._fence()
                return True
            case Closed(state):
                log.info("event_not_admitted", extra={"feed": self.feed, "state": state})
                if is_terminal(state):
                    self._fence()
                return True

    def _say_alive(self) -> None:
        """Correct a reaper's mark on this run: it goes on, although its worker's main process doesn't renew."""
        try:
            self._journal.append(self.feed, Draft("state", {"state": RUNNING, "reason": None}))
        except PetioleError as error:
            log.warning("life_not_said", extra={"feed": self.feed, "error": str(error)})  # again with the next event

    def is_valid(self) -> bool:
        """Ask whether the run may go on, and whether it is cancelled; true too if the journal doesn't answer."""
        start = self._start
        try:
            held = self._journal.check(start.feed, start.run, delivery=start.delivery, lease=self._lease)
        except Unavailable:
            return True
        except Exception:
            # The calling thread mustn't end: the next question may be answered.
            log.exception("run_not_checked", extra={"feed": start.feed})
            return True
        self._hear(held.cancel)
        if held.valid and held.stalled:
            self._say_alive()
        return held.valid

    def send_last_again(self) -> None:
        """Give the journal what it has lost of a run that has ended; nothing, if it has lost nothing.

        Raises:
            Unavailable: the journal is away; ask again.
        """
        number, draft = self._acknowledged[-1]
        for _ in range(MOST_ROUNDS):
            if self.take(draft, self.append(draft, number)):
                return
        log.error("end_not_kept", extra={"feed": self.feed, "reason": "The journal loses it each time."})

    def note_away(self, error: Exception) -> None:
        """Note that the journal doesn't answer, or refuses."""
        if not self.signals.away:
            log.warning("journal_away", extra={"feed": self.feed, "error": str(error)})
        self.signals.away = True

    def heal(self, error: Exception) -> bool:
        """Overwrite a feed that alone is refused with this run's document, once in a run. Says whether that succeeded."""
        try:
            self.patience.begin_anew(self.feed, error)
            self._rebase()
        except PetioleError:
            log.exception("feed_not_begun_anew", extra={"feed": self.feed})
            return False
        return True

    def _send(self, how: Callable[..., T], draft: Draft, *, fact: int, counter: int) -> T:
        start = self._start
        # How much was written before it: so that the journal notices what it has lost.
        texts = self.texts.acknowledged if draft.is_fact and self.texts.has_begun else NO_TEXTS
        return how(start.feed, draft, run=start.run, fact=fact, counter=counter, delivery=start.delivery, texts=texts)

    def _hear(self, cancel: bool) -> None:
        if cancel and not self.signals.cancel:
            self.signals.cancel = True
            self._on_cancel()

    def _send_again(self, last: int) -> None:
        """Resend the facts after `last`, which the journal has lost (a restart loses what wasn't synced)."""
        missing = [(number, draft) for number, draft in self._acknowledged if number > last]
        if not missing or missing[0][0] != last + 1:
            self._rebase()
            return
        for number, draft in missing:
            reply = self.append(draft, number)
            if isinstance(reply, TextGap):
                self.texts.rewind(reply.texts)
                self._send_texts()
                reply = self.append(draft, number)
            if not isinstance(reply, Stored | Duplicate):
                return
        self._counter_number = 0

    def _send_texts(self) -> None:
        """Send what the journal lacks of the texts."""
        while (chunk := self.texts.next_chunk()) is not None:
            reply = self._send(self._journal.append, Draft.of_text(chunk), fact=self._fact_number, counter=0)
            match reply:
                case Stored() | Duplicate():
                    self.texts.acknowledge(chunk)
                case TextGap(texts):
                    self.texts.rewind(texts)
                case _:
                    return  # the fact gets the same answer

    def _rebase(self) -> None:
        """Open a feed again that the journal has lost, with this run's document."""
        reply = self._journal.rebase(
            self._start.feed,
            owner=self._start.owner,
            run=self._start.run,
            delivery=self._start.delivery,
            retries=self._start.retries,
            last=self.cursor,
            fact=self._fact_number,
            document=self._document,
            worker=self._start.worker,
            lease=self._lease,
            message=self._start.message(),
            publication=self._start.publication,
        )
        if isinstance(reply, Cursor):
            forgotten = "The journal had lost it."
            log.warning("feed_opened_again", extra={"feed": self.feed, "epoch": reply.epoch, "reason": forgotten})
            self.cursor, self._counter_number = reply, 0
            self.texts.rewind(Texts(self._start.run))
        else:
            self._fence()

    def _fence(self) -> None:
        self.signals.fenced = True
        self._on_fenced()

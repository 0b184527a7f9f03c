"""Checks, some seconds after a run's end, that the journal still has it.

Redis syncs its append-only file once a second, so events that it acknowledged right before a crash can be lost. A running task
notices by the numbers; for a task that has just ended this check does.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from petiole.errors import Unavailable
from petiole.journal import Journal
from petiole.logs import logger
from petiole.loop import Loop
from petiole.worker.outbox import Outbox

log = logger(__name__)

# `appendfsync everysec` promises a second and can take two when the disk is busy.
SYNCED_WITHIN: Final = 2.5
KEPT: Final = 1000
AT_ONCE: Final = 100


class DurabilityCheck:
    """Keeps ended outboxes until their last fact is on disk, in a thread that starts with the first one. `clock` in seconds."""

    def __init__(self, journal: Journal, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._journal = journal
        self._clock = clock
        self._waiting: deque[tuple[float, Outbox]] = deque(maxlen=KEPT)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, outbox: Outbox) -> None:
        """Check an outbox that has sent its last fact."""
        with self._changed:
            self._waiting.append((self._clock() + SYNCED_WITHIN, outbox))
            if self._thread is None:
                loop = Loop("durability check", self._turn)
                self._thread = threading.Thread(target=loop.run, name="petiole-durability", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _turn(self) -> float:
        with self._changed:
            while not self._waiting or self._waiting[0][0] > self._clock():
                left = self._waiting[0][0] - self._clock() if self._waiting else None
                self._changed.wait(left)
            now = self._clock()
            due: list[Outbox] = []
            while self._waiting and self._waiting[0][0] <= now and len(due) < AT_ONCE:
                due.append(self._waiting.popleft()[1])
        left_over = due
        try:
            left_over = self._unsettled(due)
        finally:
            with self._changed:
                self._waiting.extend((self._clock() + SYNCED_WITHIN, outbox) for outbox in left_over)
        return 0.0

    def _unsettled(self, due: list[Outbox]) -> list[Outbox]:
        """Resend what the journal has lost; returns the outboxes that have to be checked again."""
        try:
            heads = self._journal.heads([outbox.feed for outbox in due])
        except Unavailable:
            return due
        left = []
        for outbox in due:
            head = heads.get(outbox.feed)
            if head is None or head.cursor != outbox.cursor:
                try:
                    outbox.send_end_again()
                except Unavailable:
                    left.append(outbox)
                except Exception:
                    # One failure mustn't stop the others.
                    log.exception("end_not_sent_again", extra={"feed": outbox.feed})
        return left

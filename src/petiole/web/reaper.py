"""The reaper: speaks for runs whose worker gives no sign of life any more.

Any number of web processes may run one: the journal lets one of them act. What it says is a mark first (`stalled`, with a
reason in words) and a verdict only after that mark has stood for a while: after an outage of the journal every lease has ended,
and the workers are alive.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from typing import Final

from petiole import state as states
from petiole.dispatch import now_ms
from petiole.errors import Unavailable
from petiole.events import Document, Draft
from petiole.journal import Journal
from petiole.settings import Settings

log = logging.getLogger(__name__)

TICK: Final = 1.0
AT_ONCE: Final = 100


def verdict(document: Document, *, settings: Settings, now: int) -> tuple[Document, float | None]:
    """Decide what to say of a task whose lease has ended: the patch, and after how many seconds to look again, if at all.

    `now` in milliseconds since 1970. Acknowledged early, a task whose worker is gone won't come back: `lost`. Acknowledged
    late, the broker returns it, so it stays `stalled` until that happens.
    """
    worker = document.get("worker")
    match document.get("state"):
        case states.QUEUED:
            reason = "The task couldn't be handed over to a worker. Start it again."
            return {"state": states.FAILED, "finished_at": now, "reason": reason}, None
        case states.CANCELLING:
            reason = "The worker disappeared while it was stopping the task."
            return {"state": states.CANCELLED, "finished_at": now, "reason": reason}, None
        case states.STALLED:
            return {"state": states.LOST, "finished_at": now, "reason": "The worker disappeared."}, None
        case _:
            again = None if document.get("acknowledged") == "late" else settings.lost_after
            return {"state": states.STALLED, "reason": f"No news from the worker {worker}."}, again


class Reaper:
    """Looks every second for leases that have ended. `run` blocks until `close`."""

    def __init__(self, journal: Journal, settings: Settings, *, wait: Callable[[float], bool] | None = None) -> None:
        self._journal = journal
        self._settings = settings
        self._closed = threading.Event()
        self._wait = wait or self._closed.wait

    def run(self) -> None:
        """Look, and look again, until `close`."""
        while not self._closed.is_set():
            try:
                self.look()
                pause = TICK
            except Unavailable as error:
                log.warning("reaper_waits", extra={"error": str(error)})
                # The workers couldn't renew either: they are given time to before anybody is called stalled.
                pause = self._settings.lease
            self._wait(pause * random.uniform(0.8, 1.2))

    def look(self) -> None:
        """Speak for every run whose lease has ended.

        Raises:
            Unavailable: the journal is away; what was said stays said.
        """
        for expired in self._journal.expired(limit=AT_ONCE):
            snapshot = self._journal.snapshot(expired.feed)
            if snapshot is None:
                self._journal.forget(expired.feed)
                continue
            patch, again = verdict(snapshot.document, settings=self._settings, now=now_ms())
            reply = self._journal.conclude(expired.feed, expired.run, Draft("state", patch), lease=again)
            log.info("concluded", extra={"feed": expired.feed, "state": patch["state"], "reply": type(reply).__name__})

    def close(self) -> None:
        """End `run`."""
        self._closed.set()

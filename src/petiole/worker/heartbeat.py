"""The worker's sign of life: its main process renews the leases of the tasks that it runs."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence

from petiole.errors import PetioleError, Unavailable
from petiole.events import Draft
from petiole.journal import Journal
from petiole.settings import Settings
from petiole.state import RUNNING

log = logging.getLogger(__name__)


class Heartbeat:
    """A thread in the worker's main process.

    `running` lists the feeds of the tasks that its pool executes now; `end_process` ends the process that runs one of them.
    """

    def __init__(
        self,
        journal: Journal,
        settings: Settings,
        *,
        worker: str,
        running: Callable[[], Sequence[str]],
        end_process: Callable[[str], None],
    ) -> None:
        self._journal = journal
        self._settings = settings
        self._worker = worker
        self._running = running
        self._end_process = end_process
        self._verdicts: queue.SimpleQueue[tuple[str, Draft] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._beat, name="petiole-heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread after what it is doing."""
        self._verdicts.put(None)
        self._thread.join(self._settings.journal_timeout * 2)

    def conclude(self, feed: str, draft: Draft) -> None:
        """Have a verdict written over a task whose own process can't speak any more."""
        self._verdicts.put((feed, draft))

    def _beat(self) -> None:
        waiting: list[tuple[str, Draft]] = []
        due = time.monotonic() + self._settings.heartbeat
        while True:
            try:
                verdict = self._verdicts.get(timeout=max(due - time.monotonic(), 0.0))
                if verdict is None:
                    return
                waiting.append(verdict)
            except queue.Empty:
                pass
            if time.monotonic() >= due:
                due = time.monotonic() + self._settings.heartbeat
                self._renew()
            waiting = [verdict for verdict in waiting if not self._write(*verdict)]

    def _renew(self) -> None:
        feeds = list(self._running())
        if not feeds:
            return
        try:
            held = self._journal.renew(self._worker, feeds, lease=self._settings.lease)
            for feed in (feed for feed, standing in held.items() if standing.valid and standing.stalled):
                # The reaper was early: this worker was slow, or the journal was away.
                self._journal.append(feed, Draft("state", {"state": RUNNING, "reason": None}))
            for feed in (feed for feed, standing in held.items() if standing.valid and standing.force):
                self._end_process(feed)
        except Unavailable as error:
            log.warning("leases_not_renewed", extra={"error": str(error)})
        except PetioleError:
            log.exception("leases_refused")

    def _write(self, feed: str, draft: Draft) -> bool:
        try:
            self._journal.append(feed, draft)
        except Unavailable:
            return False
        except PetioleError:
            log.exception("verdict_refused", extra={"feed": feed})
        return True

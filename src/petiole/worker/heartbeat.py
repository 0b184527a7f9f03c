"""The worker's heartbeat: its main process renews the leases of the tasks that it runs."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from petiole.dispatch.part import Part, by_group
from petiole.errors import Unavailable
from petiole.journal import Journal
from petiole.logs import logger
from petiole.loop import Loop
from petiole.protocol import states
from petiole.protocol.events import Draft
from petiole.settings import Settings

log = logger(__name__)

# How many conclusions wait while the journal is away; the reaper writes the older ones.
WAITING: Final = 1000


class Heartbeat:
    """A thread in the worker's main process.

    `running` lists the feeds of the tasks that its pool executes now, and `parts` those that are parts of groups; `end_process`
    ends the process that runs one of them.
    """

    def __init__(
        self,
        journal: Journal,
        settings: Settings,
        *,
        worker: str,
        running: Callable[[], Sequence[str]],
        parts: Callable[[], Sequence[Part]] = tuple,
        end_process: Callable[[str], None],
    ) -> None:
        self._journal = journal
        self._settings = settings
        self._worker = worker
        self._running = running
        self._parts = parts
        self._end_process = end_process
        self._conclusions: queue.SimpleQueue[tuple[str, Draft] | None] = queue.SimpleQueue()
        self._waiting: deque[tuple[str, Draft]] = deque(maxlen=WAITING)
        self._due = 0.0
        # What was stalled at the last beat.
        self._stalled: set[str] = set()
        self.loop = Loop("heartbeat", self._beat, longest=settings.heartbeat)
        self._thread = threading.Thread(target=self.loop.run, name="petiole-heartbeat", daemon=True)

    def start(self) -> None:
        self._due = time.monotonic() + self._settings.heartbeat
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its current turn."""
        self._conclusions.put(None)
        self._thread.join(self._settings.journal_timeout * 2)

    def conclude(self, feed: str, draft: Draft) -> None:
        """Write the end of a task whose own process can't write it any more."""
        self._conclusions.put((feed, draft))

    def _beat(self) -> float:
        try:
            conclusion = self._conclusions.get(timeout=max(self._due - time.monotonic(), 0.0))
            if conclusion is None:
                self.loop.close()
                return 0.0
            self._waiting.append(conclusion)
        except queue.Empty:
            pass
        try:
            if time.monotonic() >= self._due:
                self._due = time.monotonic() + self._settings.heartbeat
                try:
                    self._renew()
                finally:
                    self._renew_parts()
        finally:
            for _ in range(len(self._waiting)):
                waiting = self._waiting.popleft()
                if not self._write(*waiting):
                    self._waiting.append(waiting)
        return 0.0

    def _renew(self) -> None:
        feeds = list(self._running())
        if not feeds:
            return
        held = self._journal.renew(self._worker, feeds, lease=self._settings.lease)
        before, self._stalled = self._stalled, {feed for feed, lease in held.items() if lease.stalled}
        for feed, lease in held.items():
            try:
                if lease.valid and lease.stalled and feed in before:
                    # The reaper was early: this worker was slow, or the journal was away. The run corrects that itself, unless
                    # its process computes and holds the GIL.
                    self._journal.append(feed, Draft("state", {"state": states.RUNNING, "reason": None}))
                if lease.valid and lease.force:
                    self._end_process(feed)
            except Exception:
                # One task's failure mustn't stop the others' leases from being renewed.
                log.exception("task_not_looked_after", extra={"feed": feed})

    def _renew_parts(self) -> None:
        parts = list(self._parts())
        for (feed, run), numbers in by_group(parts).items():
            held = self._journal.renew_children(feed, numbers, run=run, lease=self._settings.lease)
            if held.valid and held.force:
                for part in parts:
                    if part.feed == feed:
                        self._end_process(f"task:{part.task_id}")

    def _runs_elsewhere(self, feed: str) -> bool:
        """Say whether another worker runs the task: then a second delivery of it has ended here."""
        head = self._journal.heads([feed]).get(feed)
        # A queued task has a lease too, until a worker claims it.
        if head is None or head.state in states.WAITING or head.lease_left is None or head.lease_left <= 0:
            return False
        held = self._journal.renew(self._worker, [feed], lease=self._settings.lease).get(feed)
        return held is not None and not held.valid

    def _write(self, feed: str, draft: Draft) -> bool:
        """Write a conclusion; false: try again."""
        try:
            if self._runs_elsewhere(feed):
                log.warning("second_delivery_ended", extra={"feed": feed, "reason": "The task runs elsewhere."})
            else:
                self._journal.append(feed, draft)
        except Unavailable:
            return False
        except Exception:
            # The reaper concludes the task in the end.
            log.exception("conclusion_refused", extra={"feed": feed})
        return True

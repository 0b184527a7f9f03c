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
from dataclasses import dataclass
from typing import Final

from petiole import state as states
from petiole.dispatch.message import now_ms
from petiole.dispatch.tracking import Tracking
from petiole.errors import PetioleError, Unavailable
from petiole.events import Document, Draft
from petiole.journal.contract import Expired, Snapshot, Stored
from petiole.settings import Settings

log = logging.getLogger(__name__)

TICK: Final = 1.0
AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to say of a run whose lease has ended, after how many seconds to look again, and whether to send its task again."""

    draft: Draft
    again: float | None = None
    resend: bool = False


def verdict(document: Document, *, settings: Settings, now: int) -> Verdict:
    """Decide what to say of a task whose lease has ended. `now` in milliseconds since 1970.

    Acknowledged early, a task whose worker is gone won't come back: `lost`. Acknowledged late, the broker returns it, so it
    stays `stalled` until that happens. What opted in is sent again at once, and stays `stalled` until a worker begins it.
    """
    reason = f"No news from the worker {document.get('worker')}."
    rerun = bool(document.get("rerun"))
    match document.get("state"):
        case states.QUEUED:
            return _ended(states.FAILED, now, "The task couldn't be handed over to a worker. Start it again.")
        case states.CANCELLING:
            return _ended(states.CANCELLED, now, "The worker disappeared while it was stopping the task.")
        case states.STALLED if rerun:
            draft = Draft("log", data={"level": "warning", "message": "The task is sent again."})
            return Verdict(draft, settings.dispatch_lease, resend=True)
        case states.STALLED:
            return _ended(states.LOST, now, "The worker disappeared.")
        case _ if rerun:
            draft = Draft("state", {"state": states.STALLED, "reason": f"{reason} The task is sent again."})
            return Verdict(draft, settings.dispatch_lease, resend=True)
        case _:
            again = None if document.get("acknowledged") == "late" else settings.lost_after
            return Verdict(Draft("state", {"state": states.STALLED, "reason": reason}), again)


def _ended(state: str, now: int, reason: str) -> Verdict:
    return Verdict(Draft("state", {"state": state, "finished_at": now, "reason": reason}))


class Reaper:
    """Looks every second for leases that have ended. `run` blocks until `close`."""

    def __init__(self, tracking: Tracking, *, wait: Callable[[float], bool] | None = None) -> None:
        self._tracking = tracking
        self._journal = tracking.journal
        self._settings = tracking.settings
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
            try:
                snapshot = self._journal.snapshot(expired.feed)
                if snapshot is None:
                    self._journal.forget(expired.feed)
                else:
                    self._speak_for(expired, snapshot)
            except Unavailable:
                raise
            except PetioleError:
                log.exception("not_concluded", extra={"feed": expired.feed})

    def _speak_for(self, expired: Expired, snapshot: Snapshot) -> None:
        feed = expired.feed
        decided = verdict(snapshot.document, settings=self._settings, now=now_ms())
        draft = decided.draft
        if draft.state in (states.LOST, states.CANCELLED):
            # Its last fact may have been lost with the journal's newest second; Celery's result is another record of it.
            try:
                ended = self._tracking.result_of(feed)
            except Unavailable as error:
                log.warning("verdict_postponed", extra={"feed": feed, "error": str(error)})
                return
            draft = draft if ended is None else Draft("state", ended)
        reply = self._journal.conclude(feed, expired.run, draft, lease=decided.again)
        log.info("concluded", extra={"feed": feed, "state": draft.state, "reply": type(reply).__name__})
        if decided.resend and isinstance(reply, Stored):
            # Until it is confirmed the lease stands, so that another reaper does it if this one dies here.
            self._tracking.send_again(self._journal.message(feed))
            self._journal.confirm(feed, run=expired.run)

    def close(self) -> None:
        """End `run`."""
        self._closed.set()

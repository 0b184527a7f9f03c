"""The reaper: speaks for runs whose worker gives no sign of life any more.

Any number of web processes may run one: the journal lets one of them act. What it says is a mark first (`stalled`, with a
reason in words) and a conclusion only when that mark has stood a while: after an outage of the journal every lease has ended,
and the workers are alive.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from petiole.dispatch.message import now_ms
from petiole.dispatch.outcome import GOES_ON
from petiole.dispatch.tracking import Tracking
from petiole.errors import PetioleError, Refusal, Unavailable
from petiole.journal.answers import Expired, Snapshot, Stored
from petiole.journal.trial import try_write
from petiole.logs import logger
from petiole.loop import Delays, Loop, is_outage
from petiole.protocol import states
from petiole.protocol.events import COUNTER, Document, Draft, is_group
from petiole.settings import Settings
from petiole.web.background.group_reaper import GroupReaper

log = logger(__name__)

TICK: Final = 1.0
AT_ONCE: Final = 100
# How long a conclusion waits for a recovery: of Celery's result backend, of the broker, of a feed's keys.
BOUND: Final = 60.0
# A result backend that has let us wait for so long isn't asked again in the same look.
SLOW: Final = 0.5
UNHEARD: Final = (
    "No worker has reported this task yet. It is still queued, or a worker without Petiole has received it."
)


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What to say of a run whose lease has ended, after how many seconds to look again, and whether to send its task again."""

    draft: Draft
    again: float | None = None
    resend: bool = False


def conclude_silent(document: Document, *, settings: Settings, now: int) -> Conclusion:
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
            # The page was told when the task stalled.
            return Conclusion(Draft(COUNTER), settings.dispatch_lease, resend=True)
        case states.STALLED:
            return _ended(states.LOST, now, "The worker disappeared.")
        case _ if rerun:
            draft = Draft("state", {"state": states.STALLED, "reason": f"{reason} The task is sent again."})
            return Conclusion(draft, settings.dispatch_lease, resend=True)
        case _:
            again = None if document.get("acknowledged") == "late" else settings.lost_after
            return Conclusion(Draft("state", {"state": states.STALLED, "reason": reason}), again)


def conclude_waiting(document: Document, *, settings: Settings, now: int) -> Conclusion:
    """Decide what to say of a task whose message the broker has had for a while, and that no worker has begun."""
    due = int(document.get("retry_at") or 0) - now
    if due > 0:
        return Conclusion(Draft(COUNTER), min(due / 1000 + settings.unheard_after, settings.longest_lease))
    # What it goes on as may take its time before it comes to the task's own id.
    if document.get("unheard") or str(document.get("reason") or "").startswith(GOES_ON):
        return Conclusion(Draft(COUNTER), 2 * settings.unheard_after)
    return Conclusion(
        Draft("log", {"unheard": UNHEARD}, None, {"level": "warning", "message": UNHEARD}), settings.unheard_after
    )


def _ended(state: str, now: int, reason: str) -> Conclusion:
    return Conclusion(Draft("state", {"state": state, "finished_at": now, "reason": reason}))


class Reaper:
    """Looks every second for leases that have ended. `run` blocks until `close`."""

    def __init__(
        self,
        tracking: Tracking,
        *,
        wait: Callable[[float], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tracking = tracking
        self._journal = tracking.journal
        self._settings = tracking.settings
        self._clock = clock
        # Feeds of which something went wrong, those whose result couldn't be read, and those that couldn't be sent again.
        self._failed, self._unread, self._unsent = Delays(clock=clock), Delays(clock=clock), Delays(clock=clock)
        self._backend_is_slow = False
        self._groups = GroupReaper(tracking, clock=clock)
        # While the journal is away the workers can't renew either: they are given time to before anybody is called stalled.
        self.loop = Loop("reaper", self._turn, away=self._settings.lease, wait=wait)

    def run(self) -> None:
        """Look, and look again, until `close`."""
        self.loop.run()

    def _turn(self) -> float:
        self.look()
        return TICK

    def look(self) -> None:
        """Speak for every run whose lease has ended; what goes wrong with one of them is put off, and keeps no other waiting.

        Raises:
            Unavailable: the journal is away; what was concluded before stays.
        """
        self._backend_is_slow = False
        put_off = len(self._failed) + len(self._unread)
        for expired in self._journal.expired(limit=AT_ONCE + put_off):
            feed = expired.feed
            if self._failed.waits(feed) or self._unread.waits(feed):
                continue
            try:
                snapshot = self._journal.snapshot(feed)
                if snapshot is None:
                    self._journal.forget(feed)
                else:
                    self._speak_for(expired, snapshot)
                self._failed.clear(feed)
            except Exception as error:
                if is_outage(error):
                    raise
                log.exception("not_concluded", extra={"feed": feed})
                if self._failed.put_off(feed) >= BOUND and isinstance(error, Refusal):
                    self._end_unreadable(expired)

    def _speak_for(self, expired: Expired, snapshot: Snapshot) -> None:
        feed = expired.feed
        document = snapshot.document
        if is_group(feed) and (expired.waits or document.get("state") != states.QUEUED):
            self._groups.speak_for(snapshot)
            return
        if expired.waits and document.get("state") in states.WAITING:
            self._ask_after(expired, document)
            return
        message = self._journal.message(feed) if document.get("rerun") else ""
        if not message or self._unsent.lasts(feed) >= BOUND:
            # There is nothing to send again, or nobody takes it: then it is a task like others.
            document = {**document, "rerun": None}
        decided = conclude_silent(document, settings=self._settings, now=now_ms())
        draft = decided.draft
        if draft.state in (states.LOST, states.CANCELLED):
            ended = self._by_celerys_record(feed, draft, since=int(document.get("started_at") or 0))
            if ended is None:
                return
            draft = ended
        reply = self._journal.conclude(feed, expired.run, draft, lease=decided.again)
        log.info("concluded", extra={"feed": feed, "state": draft.state, "reply": type(reply).__name__})
        if decided.resend and isinstance(reply, Stored):
            # Until it is confirmed the lease stands, so that another reaper does it if this one dies here.
            self._send_again(feed, message)
            self._journal.confirm(feed, run=expired.run)

    def _send_again(self, feed: str, message: str) -> None:
        try:
            self._tracking.send_again(message)
        except Unavailable:
            raise  # the broker is away, and the lease that stands brings us back here
        except Exception:
            self._unsent.put_off(feed)
            raise
        self._unsent.clear(feed)

    def _ask_after(self, expired: Expired, document: Document) -> None:
        """Speak for a task that no worker has begun: perhaps one that knows nothing of Petiole has."""
        feed, ended = expired.feed, None
        began = self._clock()
        try:
            if not self._backend_is_slow:
                ended = self._tracking.result_of(feed, since=int(document.get("queued_at") or 0))
        except Exception as error:  # noqa: BLE001 (a backend raises what it likes, and is asked again)
            self._backend_is_slow = self._clock() - began > SLOW
            log.warning("result_not_read", extra={"feed": feed, "error": repr(error)})
        decided = conclude_waiting(document, settings=self._settings, now=now_ms())
        if ended is not None:
            decided = Conclusion(Draft("state", {**ended, "unheard": None}))
        reply = self._journal.conclude(feed, expired.run, decided.draft, lease=decided.again)
        if decided.draft.is_fact:
            log.info("asked_after", extra={"feed": feed, "state": decided.draft.state, "reply": type(reply).__name__})

    def _by_celerys_record(self, feed: str, draft: Draft, *, since: int) -> Draft | None:
        """Return the end that Celery's result tells of, else `draft`; `None`: its backend is to be asked again.

        A run's last fact may have been lost with the journal's newest second; the result is another record of it.
        """
        began = self._clock()
        try:
            if self._backend_is_slow:
                raise Unavailable("Celery's result backend has just kept another conclusion waiting.")
            ended = self._tracking.result_of(feed, since=since)
        except Exception as error:  # noqa: BLE001 (a backend raises what it likes; the task is concluded all the same)
            self._backend_is_slow = self._backend_is_slow or self._clock() - began > SLOW
            if self._unread.lasts(feed) == 0:
                log.warning("verdict_postponed", extra={"feed": feed, "error": repr(error)})
            if self._unread.put_off(feed) < BOUND:
                return None
            log.error("verdict_without_result", extra={"feed": feed, "error": repr(error)})
            self._unread.clear(feed)
            reason = f"{draft.patch['reason']} What Celery's result backend has of it can't be read."
            return replace(draft, patch={**draft.patch, "reason": reason})
        self._unread.clear(feed)
        return draft if ended is None else Draft("state", ended)

    def _end_unreadable(self, expired: Expired) -> None:
        """End a feed that alone can't be read: by `lost` if the journal takes that, else it is forgotten."""
        feed = expired.feed
        try:
            try_write(self._journal)
            log.error("feed_ended_unread", extra={"feed": feed, "reason": "What is kept of it can't be read."})
            reason = "The worker disappeared, and what is known of the task can't be read."
            try:
                self._journal.conclude(feed, expired.run, _ended(states.LOST, now_ms(), reason).draft)
            except Refusal:
                self._journal.forget(feed)
        except PetioleError:
            log.exception("feed_not_ended", extra={"feed": feed})

    def close(self) -> None:
        """End `run`."""
        self.loop.close()

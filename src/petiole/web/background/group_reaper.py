"""Speaks for the children of groups whose worker gives no sign of life any more, and asks after those that nobody has begun."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from petiole.dispatch.contributions import end_of
from petiole.dispatch.outcome import REFERENCE_DIGITS
from petiole.dispatch.tracking import Tracking
from petiole.errors import Unavailable
from petiole.journal.answers import ExpiredChild, ListedChild, Snapshot
from petiole.journal.groups import UNSUCCESSFUL, Contribution
from petiole.logs import logger
from petiole.loop import Delays
from petiole.protocol import states
from petiole.protocol.events import Cursor, Document, Draft

log = logger(__name__)

T = TypeVar("T")

# How many children are looked at in one step.
AT_ONCE: Final = 500
ASKED_AT_ONCE: Final = 100
# How many groups are remembered from one look to the next, the last ones; one that is forgotten waits for a look longer.
REMEMBERED: Final = 10_000
# How long a verdict waits for Celery's result backend.
BOUND: Final = 60.0
UNHEARD: Final = (
    "No worker runs a task of this group. Those that wait are queued, or a worker without Petiole has them."
)
HEARD: Final = "Tasks of this group run again."
DISAPPEARED: Final = "The worker disappeared."


class GroupReaper:
    """Concludes children of groups. `clock` in seconds."""

    def __init__(self, tracking: Tracking, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._tracking = tracking
        self._journal = tracking.journal
        self._settings = tracking.settings
        self._clock = clock
        # By group: where it stood when none of its children ran.
        self._quiet: dict[str, Cursor] = {}
        # By group: since when this process knows of its children that their leases have ended.
        self._silent: dict[str, dict[tuple[int, int, int], float]] = {}
        self._unread = Delays(clock=clock)

    def speak_for(self, snapshot: Snapshot) -> None:
        """Conclude the group's silent children; if none runs, ask after those that wait.

        Raises:
            Unavailable: the journal is away.
        """
        feed, document = snapshot.feed, snapshot.document
        run, children = self._journal.expired_children(feed, limit=AT_ONCE)
        before = self._silent.pop(feed, {})
        was_quiet = self._quiet.pop(feed, None)
        if not children:
            # The process of its last child may have been killed before it rang.
            self._journal.contribute(feed, [], run=run, lease=self._settings.lease)
            newest = self._journal.snapshot(feed)
            if newest is not None and not states.is_terminal(newest.document.get("state")):
                self._ask_after(newest, run, was_quiet)
            return
        now = self._clock()
        # After an outage of the journal every lease has ended, and the workers are alive: a mark, then the verdict.
        since = {
            (run, child.number, child.attempt): before.get((run, child.number, child.attempt), now)
            for child in children
        }
        _remember(self._silent, feed, since)
        due = [
            child
            for child in children
            if now - since[run, child.number, child.attempt]
            >= (self._settings.lease if child.late else self._settings.lost_after)
        ]
        said = self._verdicts(feed, due, cancelling=document.get("state") == states.CANCELLING)
        if said:
            self._journal.contribute(feed, said, run=run, lease=self._settings.lease, verdict=True)
            log.info("children_concluded", extra={"feed": feed, "children": len(said)})

    def _verdicts(self, feed: str, children: Sequence[ExpiredChild], *, cancelling: bool) -> list[Contribution]:
        """Return what to say of children: Celery's own record first; else a late one returns, and an early one is lost."""
        said = []
        for child in children:
            try:
                ended = self._tracking.result_of(f"task:{child.task_id}", since=child.since)
            except Unavailable as error:
                if self._unread.put_off(feed) < BOUND:
                    log.warning("verdict_postponed", extra={"feed": feed, "error": str(error)})
                    break
                ended = None
            if ended is not None and ended["state"] in states.TERMINAL:
                said.append(end_of(child.number, child.task_id, child.attempt, ended))
            elif child.late and not cancelling:
                said.append(Contribution(child.number, states.QUEUED, child.attempt))
            else:
                patch: Document = {
                    "state": states.CANCELLED if cancelling else states.LOST,
                    "reason": DISAPPEARED,
                }
                said.append(end_of(child.number, child.task_id, child.attempt, patch))
        else:
            self._unread.clear(feed)
        return said

    def _ask_after(self, snapshot: Snapshot, run: int, was_quiet: Cursor | None) -> None:
        """Look into Celery's record for children that wait though none runs: a worker without Petiole may have run them."""
        feed, document = snapshot.feed, snapshot.document
        if ((document.get("progress") or {}).get("children") or {}).get(states.RUNNING):
            if document.get("unheard"):
                self._journal.append(feed, Draft("log", {"unheard": None}, None, {"level": "info", "message": HEARD}))
            return
        _remember(self._quiet, feed, snapshot.cursor)
        queued_at = int(document.get("queued_at") or 0)
        retrying, queued = (
            page[0] if (page := self._journal.children(feed, state=state, limit=ASKED_AT_ONCE)) else []
            for state in (states.RETRYING, states.QUEUED)
        )
        said = self._recorded([*retrying, *queued], since=queued_at)
        # Those go first: what follows them is skipped then.
        said = [*_ended_before(retrying, said), *said]
        if said:
            self._journal.contribute(feed, said, run=run, lease=self._settings.lease)
            log.info("children_asked_after", extra={"feed": feed, "children": len(said)})
        elif not document.get("unheard") and (document.get("state") == states.QUEUED or was_quiet == snapshot.cursor):
            # Between two tasks of a chain none runs either: only a group in which nothing happens meanwhile is quiet.
            self._journal.append(
                feed, Draft("log", {"unheard": UNHEARD}, None, {"level": "warning", "message": UNHEARD})
            )

    def _recorded(self, children: Sequence[ListedChild], *, since: int) -> list[Contribution]:
        said = []
        for child in children:
            try:
                ended = self._tracking.result_of(f"task:{child.task_id}", since=child.since or since)
            except Unavailable as error:
                log.warning("result_not_read", extra={"feed": f"task:{child.task_id}", "error": str(error)})
                break
            if ended is not None and ended["state"] in states.TERMINAL:
                said.append(end_of(child.number, child.task_id, child.attempt, ended))
        return said


def _ended_before(retrying: Sequence[ListedChild], said: Sequence[Contribution]) -> list[Contribution]:
    """Return the ends of children that were replaced, and of which Celery has no record.

    If a chord that replaces a task of a chain fails, Celery records that for the end of the chain alone.
    """
    known = {one.child for one in said}
    ended = []
    for child in retrying:
        if child.number in known:
            continue
        followed = (one for one in said if one.state in UNSUCCESSFUL and one.child in range(*child.voids))
        if (end := next(followed, None)) is not None:
            error = None if end.error is None else {**end.error, "reference": child.task_id[:REFERENCE_DIGITS]}
            ended.append(replace(end, child=child.number, attempt=child.attempt, error=error))
    return ended


def _remember(known: dict[str, T], feed: str, value: T) -> None:
    known[feed] = value
    if len(known) > REMEMBERED:
        del known[next(iter(known))]

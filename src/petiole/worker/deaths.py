"""Writes the end of tasks whose own process can't: it died, was killed, or never began the task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

from celery import Celery, Task, signals
from celery.worker.request import Request

from petiole.dispatch.message import Header, now_ms
from petiole.dispatch.outcome import failed
from petiole.dispatch.part import Part
from petiole.dispatch.revoked import store_cancelled
from petiole.errors import PetioleError
from petiole.journal import Journal
from petiole.logs import logger
from petiole.protocol import states
from petiole.protocol.events import Draft, feed_id, feed_of
from petiole.worker.receivers import connect

log = logger(__name__)


@dataclass(frozen=True, slots=True)
class DeadChild:
    """A group's child that can't say itself how it has ended; `request`: as the worker's main process has it, if it does."""

    part: Part
    attempt: int
    request: Request | None


# Called with a task's id, the fact that ends it, and its place in a group.
Conclude: TypeAlias = Callable[[str, Draft, DeadChild | None], None]


class DeathWatch:
    """Receives Celery's signals of such tasks, and concludes them.

    `conclude` writes an end, in the worker's main process only. `runs_here`: whether a feed's task runs in this process, and
    reports its end itself.
    """

    def __init__(self, celery_app: Celery, *, conclude: Conclude, runs_here: Callable[[str], bool]) -> None:
        self._celery_app = celery_app
        # By id: the requests of this worker that are parts of groups, as long as Celery has them. Its signals don't pass them.
        self._parts: WeakValueDictionary[str, Request] = WeakValueDictionary()
        self._conclude_with = conclude
        self._runs_here = runs_here

    def connect(self) -> None:
        """Connect to the signals. They are global to the process, so each receiver checks whose task it is."""
        for signal, receiver in (
            (signals.task_received, self._on_received),
            (signals.task_failure, self._on_failure),
            (signals.task_revoked, self._on_revoked),
            (signals.task_retry, self._on_shut_down_task),
            (signals.task_unknown, self._on_unknown),
        ):
            connect(signal, receiver)

    def _on_received(self, request: Request, **_: Any) -> None:
        if request.app is self._celery_app and Part.from_message(request.request_dict, request.id) is not None:
            self._parts[request.id] = request

    def _conclude(self, task_id: str, draft: Draft, *, part: Part | None = None, retries: int = 0) -> None:
        request = self._parts.get(task_id)
        if request is not None:
            part = part or Part.from_message(request.request_dict, task_id)
            retries = int(request.request_dict.get("retries") or 0)
        child = None if part is None else DeadChild(part, part.base + retries, request)
        self._conclude_with(task_id, draft, child)

    def _on_failure(self, sender: Task, task_id: str, exception: BaseException, **_: Any) -> None:
        """Conclude the task of a pool child that died: Celery signals the failure in the worker's main process."""
        feed = feed_of(task_id)
        if feed is not None and sender.app is self._celery_app and not self._runs_here(feed):
            # An untracked task has no feed, so nothing is written.
            self._conclude(task_id, Draft("state", failed(exception, task_id=task_id, now=now_ms())))

    def _on_revoked(self, sender: Task, request: Any, expired: bool, **_: Any) -> None:
        feed = feed_of(request.id)
        if feed is None or sender.app is not self._celery_app:
            return
        draft, reason = cancelled(), "The task was cancelled."
        if expired:
            reason = "The task expired in the queue."
            draft = Draft("state", {"state": states.FAILED, "finished_at": now_ms(), "reason": reason})
        if Header.from_request(request) is not None or Part.from_request(request) is not None:
            # Replaces Celery's record, which no status route can return.
            store_cancelled(sender, request, reason)
        self._conclude(request.id, draft, part=Part.from_request(request), retries=int(request.retries or 0))

    def _on_shut_down_task(self, sender: Task, request: Any, reason: Any = None, **_: Any) -> None:
        """Conclude a task that a cold shutdown ends: Celery signals a retry, and publishes none.

        Only tasks that were acknowledged early: the broker redelivers the others. A task's own retry has a reason.
        """
        feed = feed_of(request.id)
        if feed is None or sender.app is not self._celery_app or reason is not None:
            return
        if getattr(sender, "rerun_on_loss", False):
            return  # its lease ends, and then it is sent again
        self._conclude(request.id, shut_down(), part=Part.from_request(request), retries=int(request.retries or 0))

    def _on_unknown(self, sender: Any, name: str, id: str, message: Any, **_: Any) -> None:
        headers = getattr(message, "headers", None)
        header, part = Header.from_message(headers, id), Part.from_message(headers, id)
        if (header is None and part is None) or sender.app is not self._celery_app:
            return
        reason = "The worker doesn't know this task. Deploy its code to the worker."
        log.error("task_unknown", extra={"feed": f"task:{id}", "task": name, "reason": reason})
        patch = failed(None, task_id=id, now=now_ms())
        patch |= {"reason": reason, "error": {**patch["error"], "message": reason, "type": "NotRegistered"}}
        self._conclude(id, Draft("state", patch), part=part)


def say_not_begun(journal: Journal, feed: str, error: PetioleError) -> None:
    """Record that a task failed before it began; if the journal refuses that too, it is logged."""
    try:
        journal.append(feed, Draft("state", failed(error, task_id=feed_id(feed), now=now_ms())))
    except PetioleError as refused:
        log.error("end_not_said", extra={"feed": feed, "error": str(refused)})


def cancelled() -> Draft:
    """Return the end of a task that was cancelled."""
    return Draft("state", {"state": states.CANCELLED, "finished_at": now_ms()})


def shut_down() -> Draft:
    """Return the end of a task that was ended with its worker."""
    reason = "The worker was shut down and ended the task."
    return Draft("state", {"state": states.LOST, "finished_at": now_ms(), "reason": reason})

"""A delivery's claim on its task: one execution at a time, and each publication once."""

from __future__ import annotations

import random
import time
from typing import Any, Final, NoReturn

from celery import Task
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded

from petiole.dispatch.message import Header, now_ms, queued_document
from petiole.dispatch.outcome import worn_out
from petiole.dispatch.part import Part
from petiole.dispatch.publisher import keeping_header
from petiole.dispatch.revoked import store_cancelled
from petiole.dispatch.tracking import Tracking
from petiole.errors import Unavailable
from petiole.journal.answers import Busy, Claimed, Closed, Missing
from petiole.logs import logger
from petiole.protocol import states
from petiole.protocol.events import Draft
from petiole.worker.patience import Patience

log = logger(__name__)

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 2.0
BUSY_COUNTDOWN: Final = 5.0
COPIED: Final = "Another delivery of it is alive. A copy of the message checks again in some seconds."
CANCELLED: Final = "The task was cancelled."
# Messages of these brokers say whether they are redelivered.
MARKS_REDELIVERIES: Final = ("amqp", "redis")


def running(task: Task, *, retries: int, forcible: bool = False, rerun: bool = False) -> Draft:
    """Return the first fact of a run of the task that is executing."""
    # `reason` is kept: on a later run it says why the task runs again.
    patch = {
        "state": states.RUNNING,
        "acknowledged": "late" if task.acks_late else "early",
        "started_at": now_ms(),
        "worker": str(task.request.hostname),
        "retries": retries,
        "retry_at": None,
        "forcible": True if forcible else None,
        "rerun": True if rerun else None,
        "unheard": None,
    }
    progress = {"completed": 0, "total": None, "rate": None, "time_left": None, "fraction": None}
    return Draft("state", patch, {**progress, "stage": None, "description": None, "unit": None})


class Claims:
    """Claims tasks for one worker, as `worker` names it."""

    def __init__(self, tracking: Tracking, *, worker: str) -> None:
        self._tracking = tracking
        self._settings = tracking.settings
        self.worker = worker

    def claim(self, task: Task, header: Header, *, delivery: str, retries: int, forcible: bool) -> Claimed:
        """Claim the task's only execution, or end this delivery.

        Waits while the journal is away, or while another execution is alive and the broker accepts no copy of the message.

        Raises:
            Ignore: the publication has ended, or another execution is alive and a copy of the message was published.
            Reject: a time limit has ended that wait; with late acknowledgement the broker still has the message.
        """
        request = task.request
        message = self._tracking.message_of(task, header) if getattr(task, "rerun_on_loss", False) else ""
        draft = running(task, retries=retries, forcible=forcible, rerun=bool(message))
        replayed = self._is_replayed(request, header)

        def ask() -> Claimed | Busy | Closed | Missing:
            return self._tracking.journal.claim(
                header.feed,
                draft,
                worker=self.worker,
                delivery=delivery,
                retries=retries,
                lease=self._settings.lease,
                failed=Draft("state", worn_out(task_id=request.id, now=now_ms())),
                message=message,
                publication=header.publication,
                replayed=replayed,
            )

        pause, patience = FIRST_PAUSE, Patience(self._tracking.journal)
        reply = None
        try:
            while True:
                try:
                    match reply := ask():
                        case Claimed():
                            return reply
                        case Missing():
                            self._open_again(task, header, replayed=replayed)
                        case Closed(state):
                            self._end_late(task, header, state)
                        case Busy(run):
                            self._end_second(task, header, run)
                except Unavailable as error:
                    # Only the journal knows whether the task runs elsewhere, so it waits.
                    log.warning("claim_waits", extra={"feed": header.feed, "error": str(error)})
                    if patience.is_over(error):
                        patience.begin_anew(header.feed, error)
                    time.sleep(pause * random.uniform(0.5, 1.0))
                    pause = min(2 * pause, LONGEST_PAUSE)
        except SoftTimeLimitExceeded:
            if not isinstance(reply, Busy):
                raise
            # A failure would overwrite Celery's record of the execution that is alive.
            raise Reject("The task runs already.", requeue=True) from None

    def _end_late(self, task: Task, header: Header, state: str) -> NoReturn:
        """End the delivery of a publication that has ended."""
        late = "delivery_of_finished_task" if states.is_terminal(state) else "delivery_of_finished_run"
        log.info(late, extra={"feed": header.feed, "state": state})
        if state == states.CANCELLED:
            store_cancelled(task, task.request, CANCELLED)
        raise Ignore()

    def _end_second(self, task: Task, header: Header, run: int) -> NoReturn:
        """End a delivery while another execution is alive; a copy of its message checks again."""
        self._publish_copy(task, header)
        log.warning("task_runs_already", extra={"feed": header.feed, "run": run, "reason": COPIED})
        raise Ignore()

    def _open_again(self, task: Task, header: Header, *, replayed: bool) -> None:
        part = Part.from_request(task.request)
        self._tracking.journal.open(
            header.feed,
            owner=header.owner,
            draft=Draft(
                "state", queued_document(header.title, str(task.name), group=None if part is None else part.feed)
            ),
            publication=header.publication,
            replayed=replayed,
        )

    def _is_replayed(self, request: Any, header: Header) -> bool:
        """Say whether a repeated message was put back into the queue by hand, byte for byte."""
        delivered = request.delivery_info or {}
        if request.is_eager or header.copied or delivered.get("redelivered"):
            return False
        return self._tracking.publisher.broker in MARKS_REDELIVERIES

    def _publish_copy(self, task: Task, header: Header) -> None:
        """Publish a copy of the message with a countdown.

        Raises:
            Unavailable: the broker doesn't accept it.
        """
        # A copy and an acknowledgement, never a requeue: quorum queues drop a message after 20 redeliveries.
        try:
            copy = self._tracking.copy_of(task, header, request=task.request, countdown=BUSY_COUNTDOWN)
            with self._tracking.publisher.confirming() as confirming, keeping_header():
                copy.apply_async(**confirming)
        except SoftTimeLimitExceeded:
            raise
        except Exception as error:
            # A broker and a task's class may raise anything, and the running task mustn't fail because of this delivery.
            raise Unavailable(f"The broker didn't accept a copy of a task that is running ({error!r}).") from error

"""A tracked task's life in the worker: claim before its call, the terminal fact after it.

The claim wraps the task's `run`, because an exception in a `task_prerun` receiver is logged and swallowed by Celery: a signal
can't stop a task. How it ended is taken from `task_postrun`, which knows what the wrapper can't: whether Celery could store
the result. Messages without Petiole's header are never touched.
"""

from __future__ import annotations

import atexit
import functools
import logging
import os
import random
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from celery import Celery, Task, signals
from celery import states as celery_states
from celery.exceptions import Ignore
from celery.worker import state as worker_state
from kombu.exceptions import OperationalError

from petiole import state as states
from petiole.dispatch.message import Header, now_ms, queued_document
from petiole.dispatch.tracking import Tracking, track_app
from petiole.errors import Fenced, PetioleError, RunEnded, Unavailable
from petiole.events import Draft, feed_id
from petiole.journal.contract import Busy, Claimed, Closed, Missing
from petiole.outcome import outcome, worn_out
from petiole.settings import Settings
from petiole.worker.adoption import adopt_update_state
from petiole.worker.afterwards import Afterwards
from petiole.worker.heartbeat import Heartbeat
from petiole.worker.patience import Patience
from petiole.worker.publishing import Publishing
from petiole.worker.run import Run, current_run
from petiole.worker.standing import Standing
from petiole.worker.verdicts import Verdicts, cancelled, say_not_begun, shut_down

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 2.0
BUSY_COUNTDOWN: Final = 5.0
SHUTDOWN_FLUSH: Final = 5.0
POOL_CHECK: Final = 1.0
BROKEN_OFF_KEPT: Final = 100


class Lifecycle:
    """Connects one Celery application's worker to the journal."""

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking
        self._settings = tracking.settings
        self._worker = f"eager/{uuid.uuid4().hex[:8]}"
        self._hostname = ""
        # The worker's main process; a task in another one can be ended by ending that.
        self._main: int | None = None
        self._heartbeat: Heartbeat | None = None
        self._afterwards = Afterwards(tracking.journal)
        self._runs: set[Run] = set()
        self._unsent: set[Run] = set()
        # Ended from without, in a process that goes on: whoever did it says so, unless the process ends first.
        self._broken_off: deque[Run] = deque(maxlen=BROKEN_OFF_KEPT)
        self._lock = threading.Lock()
        self._publishing = Publishing(tracking, is_ours=lambda run: run in self._runs)
        self._verdicts = Verdicts(tracking.celery_app, conclude=self._conclude, runs_here=self._runs_here)

    def connect(self) -> None:
        """Receive Celery's signals. They are the process's, so each receiver looks whose task it is."""
        for signal, receiver in (
            (signals.worker_init, self._on_worker_init),
            (signals.worker_ready, self._on_worker_ready),
            (signals.worker_shutdown, self._on_shutdown),
            (signals.worker_process_init, self._on_process_init),
            (signals.worker_process_shutdown, self._on_shutdown),
            (signals.task_postrun, self._on_postrun),
        ):
            signal.connect(receiver, weak=False)
        self._publishing.connect()
        self._verdicts.connect()
        self._tracking.publisher.before_eager = self._wrap_all

    def _on_worker_init(self, sender: Any, **_: Any) -> None:
        if sender.app is not self._tracking.celery_app:
            return
        # A worker that starts again under the same name is another worker: it doesn't hold the old one's leases.
        self._worker = f"{sender.hostname}/{uuid.uuid4().hex[:8]}"
        self._hostname, self._main = sender.hostname, os.getpid()
        self._wrap_all()

    def _on_worker_ready(self, sender: Any, **_: Any) -> None:
        if sender.app is not self._tracking.celery_app:
            return
        self._heartbeat = Heartbeat(
            self._tracking.journal,
            self._settings,
            worker=self._worker,
            running=_running_feeds,
            end_process=self._end_process,
        )
        self._heartbeat.start()
        if sender.hub is not None and hasattr(sender.pool, "maintain_pool"):
            # Celery looks after a dead pool child when its pipe closes, which may be before the kernel lets it be waited for;
            # the next look would be 5 s later.
            sender.hub.call_repeatedly(POOL_CHECK, sender.pool.maintain_pool)
        atexit.register(self._on_exit)
        for sentence in self._tracking.journal.inspect():
            log.warning("Petiole: %s", sentence)

    def _on_process_init(self, **_: Any) -> None:
        # A pool child that is forked later inherits what belongs to the main process, but not its threads.
        self._heartbeat = None
        self._afterwards = Afterwards(self._tracking.journal)
        self._runs.clear()
        self._unsent.clear()

    def _on_shutdown(self, **_: Any) -> None:
        deadline = time.monotonic() + SHUTDOWN_FLUSH
        with self._lock:
            unsent = self._unsent | self._runs
        for run in unsent:
            if not run.outbox.flush(max(deadline - time.monotonic(), 0.0)):
                log.error("events_unsent", extra={"feed": run.feed})
        # A threads pool that can't end its tasks runs them to their end before the process exits: they are alive.
        if self._heartbeat is not None and not self._runs:
            self._heartbeat.stop()
            self._heartbeat = None

    def _on_exit(self) -> None:
        """Speak for tasks that run in this very process and that end with it."""
        with self._lock:
            ended = [] if self._main != os.getpid() else [*self._broken_off, *self._runs]
        for run in ended:
            if not run.returns:
                try:
                    self._tracking.journal.append(run.feed, shut_down())
                except PetioleError as error:
                    log.warning("end_not_said", extra={"feed": run.feed, "error": str(error)})

    def _wrap_all(self) -> None:
        for task in self._tracking.celery_app.tasks.values():
            self._wrap(task)

    def _wrap(self, task: Task) -> None:
        original = task.run
        if hasattr(original, "__petiole__"):
            return

        @functools.wraps(original)
        def run(*args: Any, **kwargs: Any) -> Any:
            request = task.request
            header = None if request.called_directly else Header.from_message(request.headers)
            if header is None:
                return original(*args, **kwargs)
            return self._execute(task, header, functools.partial(original, *args, **kwargs))

        retry = task.retry

        @functools.wraps(retry)
        def remember_cause(*args: Any, **kwargs: Any) -> Any:
            current = current_run.get()
            if current is not None:
                current.retry_cause = kwargs.get("exc") or (args[2] if len(args) > 2 else None) or sys.exc_info()[1]
            return retry(*args, **kwargs)

        run.__petiole__ = True  # type: ignore[attr-defined]
        task.run = run
        task.retry = remember_cause
        if self._settings.adopt_update_state:
            adopt_update_state(task)

    def _execute(self, task: Task, header: Header, body: Callable[[], Any]) -> Any:
        request = task.request
        retries = int(request.retries or 0)
        delivery = uuid.uuid4().hex
        try:
            claim = self._claim(task, header, delivery=delivery, retries=retries)
        except PetioleError as error:
            # Celery will call it a failure, so its page has to as well.
            say_not_begun(self._tracking.journal, header.feed, error)
            raise
        standing = Standing(
            feed=header.feed,
            owner=header.owner,
            worker=self._worker,
            run=claim.run,
            delivery=delivery,
            retries=retries,
            facts_written=claim.facts_written,
            cursor=claim.cursor,
            document=claim.document,
            message=functools.partial(self._tracking.message_of, task, request),
        )
        run = Run(self._tracking.journal, standing, self._settings, on_end=self._afterwards.add)
        run.returns = bool(task.acks_late or getattr(task, "rerun_on_loss", False))
        run.outbox.signals.cancel = claim.cancel
        run.outbox.start()
        with self._lock:
            self._runs.add(run)
        # With the request, not under the task's id: in one process a retry's next run may begin before this one has returned.
        request.petiole_run = run
        with run.current():
            try:
                run.stop_if_ended()
                return body()
            except RunEnded as ended:
                self._end_early(task, run, ended)
                raise Ignore() from None

    def _claim(self, task: Task, header: Header, *, delivery: str, retries: int) -> Claimed:
        """Get the task's one execution, or end this delivery.

        Raises:
            Ignore: the task is finished already, or another execution is alive (then a copy of the message was published).
        """
        request = task.request
        message = self._tracking.message_of(task) if getattr(task, "rerun_on_loss", False) else ""
        # The reason stays: of a later run it says why the task runs again.
        patch = {
            "state": states.RUNNING,
            "acknowledged": "late" if task.acks_late else "early",
            "started_at": now_ms(),
            "worker": str(request.hostname),
            "retries": retries,
            "retry_at": None,
            "forcible": True if self._main not in (None, os.getpid()) else None,
            "rerun": True if message else None,
        }
        progress = {"completed": 0, "total": None, "rate": None, "time_left": None, "fraction": None}
        draft = Draft("state", patch, {**progress, "stage": None, "description": None, "unit": None})
        pause, patience = FIRST_PAUSE, Patience(self._tracking.journal)
        while True:
            try:
                reply = self._tracking.journal.claim(
                    header.feed,
                    draft,
                    worker=self._worker,
                    delivery=delivery,
                    retries=retries,
                    lease=self._settings.lease,
                    failed=Draft("state", worn_out(task_id=request.id, now=now_ms())),
                    message=message,
                )
                match reply:
                    case Claimed():
                        return reply
                    case Missing():
                        self._open_again(task, header)
                        continue
                    case Closed(state):
                        log.info("delivery_of_finished_task", extra={"feed": header.feed, "state": state})
                        raise Ignore()
                    case Busy(run):
                        log.warning("task_runs_already", extra={"feed": header.feed, "run": run})
                        self._publish_copy(task)
                        raise Ignore()
            except Unavailable as error:
                # Without the journal nobody can say whether the task runs elsewhere, so it waits.
                log.warning("claim_waits", extra={"feed": header.feed, "error": str(error)})
                if patience.is_over(error):
                    patience.begin_anew(header.feed, error)
                time.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(2 * pause, LONGEST_PAUSE)

    def _open_again(self, task: Task, header: Header) -> None:
        document = queued_document(header.title, str(task.name))
        self._tracking.journal.open(header.feed, owner=header.owner, draft=Draft("state", document))

    def _publish_copy(self, task: Task) -> None:
        # A copy and an acknowledgement, never a requeue: quorum queues drop a message after 20 redeliveries.
        request = task.request
        copy = task.signature_from_request(request, countdown=BUSY_COUNTDOWN, retries=request.retries)
        with self._tracking.publisher.confirming() as confirming:
            copy.apply_async(**confirming)

    def _end_early(self, task: Task, run: Run, ended: RunEnded) -> None:
        if isinstance(ended, Fenced):
            log.warning("run_fenced", extra={"feed": run.feed, "run": run.number})
            return
        request = task.request
        patch = {"state": states.CANCELLED, "finished_at": now_ms(), "reason": None}
        run.finish(patch)
        if not task.ignore_result:
            task.backend.mark_as_revoked(request.id, str(ended), request=request, store_result=True)

    def _end_process(self, feed: str) -> None:
        log.warning("process_ended_by_force", extra={"feed": feed})
        try:
            # Celery's own way, so that it tells the pool, the broker and the result backend; the next beat asks again.
            self._tracking.celery_app.control.revoke(
                feed_id(feed), terminate=True, signal="SIGKILL", destination=[self._hostname]
            )
        except (OperationalError, OSError) as error:
            log.warning("process_not_ended", extra={"feed": feed, "error": str(error)})

    def _on_postrun(self, task: Task, task_id: str, retval: Any, state: str | None, **_: Any) -> None:
        run = getattr(task.request, "petiole_run", None)
        if run is None or run not in self._runs:
            return
        # `update_state(state="FAILURE")` and then `raise Ignore` is how a task keeps its own words in Celery's record.
        said_failed = state == celery_states.IGNORED and run.celery_state == celery_states.FAILURE
        ended = celery_states.FAILURE if said_failed else state
        patch = outcome(ended, None if said_failed else retval, task_id=task_id, now=now_ms())
        with self._lock:
            self._runs.discard(run)
            self._unsent.add(run)
        if patch is not None:
            # A run that has ended already (cancelled, retrying) takes no more, so that whatever Celery calls it adds nothing.
            run.finish(patch, otherwise=cancelled())
        else:
            run.outbox.close()
            if state is None:
                self._broken_off.append(run)
        run.outbox.flush(self._settings.flush_timeout)
        with self._lock:
            self._unsent = {unsent for unsent in self._unsent if not unsent.outbox.flush(0)}

    def _conclude(self, feed: str, draft: Draft) -> None:
        # Only the worker's main process has a heartbeat, and speaks for the tasks of others.
        if self._heartbeat is not None:
            self._heartbeat.conclude(feed, draft)

    def _runs_here(self, feed: str) -> bool:
        with self._lock:
            return any(run.feed == feed for run in self._runs)


def _running_feeds() -> Sequence[str]:
    feeds = []
    for request in list(worker_state.active_requests):
        header = Header.from_message(request.request_dict)
        if header is not None:
            feeds.append(header.feed)
    return feeds


def init_celery(celery_app: Celery, settings: Settings | None = None) -> Tracking:
    """Make a Celery application's tasks live: call it once, where the application is made, in web and worker alike.

    Settings come from `settings`, else from the environment and the application's configuration (`PETIOLE_…`).

    Raises:
        SetupError: a setting is wrong or missing.
    """
    tracking = track_app(celery_app, settings)
    if not tracking.connected:
        tracking.connected = True
        Lifecycle(tracking).connect()
    return tracking

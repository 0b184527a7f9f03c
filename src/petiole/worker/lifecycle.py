"""A tracked task's life in the worker: claim before its call, the terminal fact after it.

The claim wraps the task's `run`: Celery logs and swallows an exception in a `task_prerun` receiver, so a signal can't stop a
task. The outcome comes from `task_postrun`, which knows what the wrapper can't: whether Celery could store the result.
Messages without Petiole's header are never touched.
"""

from __future__ import annotations

import atexit
import functools
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from celery import Celery, Task, bootsteps, signals
from celery import states as celery_states
from celery.exceptions import Ignore
from celery.worker import state as worker_state
from kombu.exceptions import OperationalError

from petiole.dispatch.error_groups import ended_in
from petiole.dispatch.message import Header, now_ms
from petiole.dispatch.outcome import outcome
from petiole.dispatch.part import Part
from petiole.dispatch.revoked import store_cancelled
from petiole.dispatch.tracking import Tracking, track_app
from petiole.errors import Fenced, PetioleError, RunEnded
from petiole.logs import logger
from petiole.protocol import states
from petiole.protocol.events import Document, Draft, feed_id
from petiole.settings import Settings
from petiole.worker.canvases import Canvases
from petiole.worker.claims import Claims
from petiole.worker.deaths import DeadChild, DeathWatch, cancelled, say_not_begun, shut_down
from petiole.worker.durability import DurabilityCheck
from petiole.worker.heartbeat import Heartbeat
from petiole.worker.member import Member
from petiole.worker.nobody import nobody
from petiole.worker.parts import Parts
from petiole.worker.publishing import NOT_HANDED_OVER, Publishing
from petiole.worker.receivers import connect
from petiole.worker.rehearsal import rehearsal
from petiole.worker.run import Run
from petiole.worker.run_state import RunStart
from petiole.worker.wrapping import Wrapping

log = logger(__name__)

SHUTDOWN_FLUSH: Final = 5.0
POOL_CHECK: Final = 1.0
BROKEN_OFF_KEPT: Final = 100


class Lifecycle:
    """Connects one Celery application's worker to the journal."""

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking
        self._settings = tracking.settings
        self._claims = Claims(tracking, worker=f"eager/{uuid.uuid4().hex[:8]}")
        self._hostname = ""
        # The id of the worker's main process. A task in another process can be ended by killing that.
        self._main: int | None = None
        self._heartbeat: Heartbeat | None = None
        self._durability_check = DurabilityCheck(tracking.journal)
        self._runs: set[Run] = set()
        self._unsent: set[Run] = set()
        # Ended from outside, in a process that goes on: whoever ended them reports it, unless the process ends first.
        self._broken_off: deque[Run] = deque(maxlen=BROKEN_OFF_KEPT)
        self._lock = threading.Lock()
        self._publishing = Publishing(tracking, is_ours=lambda run: run in self._runs)
        self._canvases = Canvases(tracking, is_ours=lambda run: run in self._runs, follower=self._publishing.follower)
        self._wrapping = Wrapping(
            tracking.celery_app,
            self._enter,
            hand_over=self._publishing.hand_over_to,
            adopts=self._run_of if tracking.settings.adopt_update_state else None,
        )
        self._parts = Parts(tracking)
        self._death_watch = DeathWatch(tracking.celery_app, conclude=self._conclude, runs_here=self._runs_here)

    def connect(self) -> None:
        """Connect to Celery's signals. They are global to the process, so each receiver checks whose task it is."""
        for signal, receiver in (
            (signals.worker_init, self._on_worker_init),
            (signals.worker_shutdown, self._on_shutdown),
            (signals.worker_process_init, self._on_process_init),
            (signals.worker_process_shutdown, self._on_shutdown),
            (signals.task_prerun, self._on_prerun),
            (signals.task_postrun, self._on_postrun),
        ):
            connect(signal, receiver)
        self._publishing.connect(self._tracking.celery_app)
        self._canvases.connect()
        self._death_watch.connect()
        self._tracking.celery_app.steps["consumer"].add(_beginning(self._on_worker_start))
        self._tracking.publisher.before_eager = self._wrapping.wrap_all
        os.register_at_fork(after_in_child=self._on_fork)

    def _on_worker_init(self, sender: Any, **_: Any) -> None:
        if sender.app is not self._tracking.celery_app:
            return
        # A restarted worker of the same name is another worker: it doesn't hold the old one's leases.
        self._claims = Claims(self._tracking, worker=f"{sender.hostname}/{uuid.uuid4().hex[:8]}")
        self._hostname, self._main = sender.hostname, os.getpid()
        self._stop_heartbeat()
        self._wrapping.wrap_all()

    def _on_worker_start(self, sender: Any) -> None:
        if self._heartbeat is not None:
            return  # the connection to the broker was lost and is back
        self._heartbeat = self._make_heartbeat(_running_feeds, self._end_process, _running_parts)
        self._heartbeat.start()
        if sender.hub is not None and hasattr(sender.pool, "maintain_pool"):
            # Celery reaps a dead pool child when its pipe closes, which may be before the kernel reports the exit; the next
            # check would be 5 s later.
            sender.hub.call_repeatedly(POOL_CHECK, sender.pool.maintain_pool)
        atexit.register(self._on_exit)
        for sentence in self._tracking.journal.inspect():
            log.warning("Petiole: %s", sentence)

    def _make_heartbeat(
        self,
        running: Callable[[], Sequence[str]],
        end_process: Callable[[str], None],
        parts: Callable[[], Sequence[Part]] = tuple,
    ) -> Heartbeat:
        return Heartbeat(
            self._tracking.journal,
            self._settings,
            worker=self._claims.worker,
            running=running,
            parts=parts,
            end_process=end_process,
        )

    def _on_process_init(self, **_: Any) -> None:
        # A reload registers tasks after the worker has started.
        self._wrapping.wrap_all()

    def _on_fork(self) -> None:
        """Start afresh in a forked process: a pool's child, or a child of a task."""
        # It inherits the parent's state without its threads, and its locks as they were.
        self._lock = threading.Lock()
        nobody.fork()
        self._heartbeat = None
        self._durability_check = DurabilityCheck(self._tracking.journal)
        for run in self._runs | self._unsent:
            run.disown()
        self._runs, self._unsent = set(), set()
        self._broken_off.clear()
        self._parts.fork()

    def _on_shutdown(self, **_: Any) -> None:
        deadline = time.monotonic() + SHUTDOWN_FLUSH
        with self._lock:
            unsent = self._unsent | self._runs
        for run in unsent:
            if not run.outbox.flush(max(deadline - time.monotonic(), 0.0)):
                reason = "The journal hasn't accepted them, and the process ends."
                log.error("events_unsent", extra={"feed": run.feed, "reason": reason})
        if not self._parts.close(max(deadline - time.monotonic(), 0.0)):
            log.error(
                "contributions_unsent", extra={"reason": "The journal hasn't accepted them, and the process ends."}
            )
        # A threads pool that can't end its tasks completes them before the process exits: they are alive.
        if not self._runs:
            self._stop_heartbeat()

    def _stop_heartbeat(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None

    def _on_exit(self) -> None:
        """Report the end of tasks that run in this process and end with it."""
        with self._lock:
            ended = [] if self._main != os.getpid() else [*self._broken_off, *self._runs]
        if ended:
            self._parts.end_here()
            self._parts.close(self._settings.flush_timeout)
        for run in ended:
            if not run.returns and run.header is not None:
                try:
                    self._tracking.journal.append(run.feed, shut_down())
                except PetioleError as error:
                    log.warning("end_not_said", extra={"feed": run.feed, "error": str(error)})

    def _enter(
        self, task: Task, header: Header | None, part: Part | None, call: Callable[[], Any], *, begins: bool
    ) -> Any:
        """Run a task's own code within the run of its current message; `begins`: the task's call follows."""
        run = getattr(task.request, "petiole_run", None) or self._begin(task, header, part)
        if run.inside or run.disowned:
            return call()  # the task calls itself
        run.inside = True
        try:
            run.stop_if_ended()
            return call()
        except (RunEnded, BaseExceptionGroup) as error:
            # A group: coroutines that ended together.
            ended = ended_in(error)
            if ended is None:
                run.raised = error if isinstance(error, Exception) else None
                raise
            _log_others(run.feed, error)
            self._end_early(task, run, ended)
            raise Ignore() from None
        except Exception as error:
            run.raised = error
            raise
        finally:
            run.inside = False
            # A later hook mustn't raise `RunEnded`: Celery would take it for the end of the process.
            run.quiet = run.quiet or not begins

    def _begin(self, task: Task, header: Header | None, part: Part | None) -> Run:
        """Have a task's run begin, and make it current until Celery has finished the task.

        Raises:
            Ignore: this delivery is not to run.
        """
        member = None if part is None else self._begin_part(task, part, header)
        if header is not None:
            try:
                run = self._claim(task, header)
            except Ignore:
                if member is not None:
                    member.silent = True
                raise
        elif member is not None:
            run = self._parts.run_of(member, delivery=uuid.uuid4().hex)
        else:
            raise AssertionError("neither tracked nor part of a group")
        if member is not None:
            self._parts.enter(member, run)
        with self._lock:
            self._runs.add(run)
            nobody.begin()
        # On the request, not by the task's id: in one process a retry's next run may begin before this one has returned.
        task.request.petiole_run = run
        run.enter()
        return run

    def _begin_part(self, task: Task, part: Part, header: Header | None) -> Member:
        """Announce a group's child.

        Raises:
            Ignore: it has ended, or the group was cancelled.
        """
        member = self._parts.begin(task, part)
        if not member.silent:
            return member
        if header is not None:
            try:
                self._tracking.journal.append(header.feed, cancelled())
            except PetioleError as error:
                log.warning("end_not_said", extra={"feed": header.feed, "error": str(error)})
        raise Ignore()

    def _claim(self, task: Task, header: Header) -> Run:
        """Claim a task that has a feed.

        Raises:
            Ignore: this delivery is not to run.
        """
        begin = rehearsal.get()
        if begin is not None and (rehearsed := begin(task, header)) is not None:
            return rehearsed
        if self._main is None and self._heartbeat is None:
            # No worker runs this task: it is eager.
            self._heartbeat = self._make_heartbeat(self._feeds_here, lambda _feed: None)
            self._heartbeat.start()
        request = task.request
        retries = int(request.retries or 0)
        delivery = uuid.uuid4().hex
        try:
            claim = self._claims.claim(task, header, delivery=delivery, retries=retries, forcible=self._is_forcible())
        except PetioleError as error:
            # Celery records a failure, so the page has to show one.
            say_not_begun(self._tracking.journal, header.feed, error)
            raise
        start = RunStart(
            feed=header.feed,
            owner=header.owner,
            worker=self._claims.worker,
            run=claim.run,
            delivery=delivery,
            retries=retries,
            facts_written=claim.facts_written,
            cursor=claim.cursor,
            document=claim.document,
            message=functools.partial(self._tracking.message_of, task, header, request),
            publication=header.publication,
        )
        run = Run(self._tracking.journal, start, self._settings, on_end=self._durability_check.add)
        run.header = header
        run.returns = bool(task.acks_late or getattr(task, "rerun_on_loss", False))
        run.outbox.signals.cancel = claim.cancel
        run.outbox.start()
        return run

    def _is_forcible(self) -> bool:
        return self._main not in (None, os.getpid())

    def _on_prerun(self, task: Task, **_: Any) -> None:
        if task.app is not self._tracking.celery_app or not self._wrapping.wrap(task):
            return
        # Registered after the worker started: this call bypasses the wrapper, so the run can't be stopped.
        request = task.request
        if request.called_directly:
            return
        header, part = Header.from_request(request), Part.from_request(request)
        if header is None and part is None:
            return
        feed = f"task:{request.id}"
        late = "It was registered after the worker started."
        log.warning("task_wrapped_late", extra={"feed": feed, "task": task.name, "reason": late})
        try:
            self._begin(task, header, part).quiet = True
        except Ignore:
            log.error("task_not_stopped", extra={"feed": feed, "task": task.name, "reason": late})

    def _end_early(self, task: Task, run: Run, ended: RunEnded) -> None:
        if run.member is not None:
            run.member.cancelled, run.member.silent = not isinstance(ended, Fenced), isinstance(ended, Fenced)
        if isinstance(ended, Fenced):
            log.warning("run_fenced", extra={"feed": run.feed, "run": run.number, "reason": str(ended)})
            return
        request = task.request
        patch = {"state": states.CANCELLED, "finished_at": now_ms(), "reason": None}
        run.finish(patch)
        error = store_cancelled(task, request, str(ended))
        if request.chord and not task.ignore_result:
            task.backend.on_chord_part_return(request, celery_states.REVOKED, error)

    def _end_process(self, feed: str) -> None:
        log.warning("process_ended_by_force", extra={"feed": feed, "reason": "A user has stopped the task by force."})
        try:
            # By Celery, which tells the pool, the broker and the result backend; the next heartbeat repeats it.
            self._tracking.celery_app.control.revoke(
                feed_id(feed), terminate=True, signal="SIGKILL", destination=[self._hostname]
            )
        except (OperationalError, OSError) as error:
            log.warning("process_not_ended", extra={"feed": feed, "error": str(error)})

    def _on_postrun(self, task: Task, task_id: str, retval: Any, state: str | None, **_: Any) -> None:
        run = getattr(task.request, "petiole_run", None)
        if run is None or run not in self._runs:
            return
        run.leave()
        # With `update_state(state="FAILURE")` and `raise Ignore` a task keeps its own text in Celery's record.
        said_failed = state == celery_states.IGNORED and run.celery_state == celery_states.FAILURE
        ended = celery_states.FAILURE if said_failed else state
        if state is None and run.raised is not None:
            ended, retval = celery_states.FAILURE, run.raised  # Celery re-raises an eager task's exception
        patch = outcome(ended, None if said_failed else retval, task_id=task_id, now=now_ms())
        if run.stranded and patch is not None and patch["state"] == states.FAILED:
            patch["reason"] = patch.get("error", {})["message"] = NOT_HANDED_OVER
        with self._lock:
            self._runs.discard(run)
            nobody.end()
            if run.header is not None:
                self._unsent.add(run)
        if run.header is not None:
            self._finish(run, ended, patch)
        if run.member is not None:
            self._parts.end(run.member, task, ended, None if said_failed else retval)

    def _finish(self, run: Run, ended: str | None, patch: Document | None) -> None:
        """Send a run's last fact."""
        if patch is not None and not run.handed_over:
            # A run that has ended already (cancelled, retrying) accepts no more, so Celery's outcome adds nothing.
            run.finish(patch, otherwise=cancelled())
        else:
            run.outbox.close()
            if ended is None:
                self._broken_off.append(run)
        run.outbox.flush(self._settings.flush_timeout)
        with self._lock:
            self._unsent = {unsent for unsent in self._unsent if not unsent.outbox.flush(0)}

    def _conclude(self, task_id: str, draft: Draft, child: DeadChild | None) -> None:
        # Only the worker's main process has a heartbeat, and concludes other processes' tasks.
        if self._heartbeat is None:
            return
        if child is None or not child.part.light:
            self._heartbeat.conclude(f"task:{task_id}", draft)
        if child is not None:
            self._parts.conclude(child, draft.patch)

    def _feeds_here(self) -> Sequence[str]:
        with self._lock:
            return [run.feed for run in self._runs if run.header is not None]

    def _run_of(self, feed: str) -> Run | None:
        with self._lock:
            return next((run for run in self._runs if run.feed == feed), None)

    def _runs_here(self, feed: str) -> bool:
        return self._run_of(feed) is not None


def _log_others(feed: str, error: BaseException) -> None:
    """Log what else coroutines have raised while their task ended: its page and Celery's record don't have it."""
    others = error.split(RunEnded)[1] if isinstance(error, BaseExceptionGroup) else None
    if others is not None:
        log.warning("errors_beside_the_end", extra={"feed": feed, "error": repr(others)}, exc_info=others)


def _beginning(begin: Callable[[Any], None]) -> type[bootsteps.StartStopStep]:
    """Return a step of a worker's consumer that calls `begin` with the worker once its pool has started."""

    class Beginning(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def start(self, parent: Any) -> None:
            begin(parent.controller)

    return Beginning


def _running_feeds() -> Sequence[str]:
    feeds = []
    for request in list(worker_state.active_requests):
        header = Header.from_message(request.request_dict, request.request_dict.get("id"))
        if header is not None:
            feeds.append(header.feed)
    return feeds


def _running_parts() -> Sequence[Part]:
    requests = [request.request_dict for request in list(worker_state.active_requests)]
    parts = [Part.from_message(request, request.get("id")) for request in requests]
    return [part for part in parts if part is not None]


def init_celery(celery_app: Celery, settings: Settings | None = None) -> Tracking:
    """Make a Celery application's tasks live: call it once, where the application is made, in web and worker.

    Settings come from `settings`, else from the environment and the application's configuration (`PETIOLE_…`).

    Raises:
        SetupError: a setting is wrong or missing.
    """
    tracking = track_app(celery_app, settings)
    if not tracking.connected:
        tracking.connected = True
        Lifecycle(tracking).connect()
    return tracking

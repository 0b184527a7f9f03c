"""The tasks of groups in one worker process: whether each may begin, what it says while it runs, and how it ended.

An execution is announced before it begins, from the task's own thread: a child that has ended doesn't run again. Its end is
said before Celery acknowledges its message or returns it to the main process. With the journal away a task begins all the
same, and what is to be said waits.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Final

from celery import Task
from celery import states as celery_states

from petiole.dispatch.contributions import end_of
from petiole.dispatch.message import now_ms
from petiole.dispatch.part import Part, by_group
from petiole.dispatch.results import recorded_outcome
from petiole.dispatch.revoked import store_cancelled
from petiole.dispatch.tracking import Tracking
from petiole.errors import PetioleError, Unavailable
from petiole.journal.answers import Closed, Counted, Fenced
from petiole.journal.groups import Contribution
from petiole.logs import logger
from petiole.protocol import states
from petiole.protocol.events import ZERO_CHAIN, Cursor, Document
from petiole.worker.contributor import Contributor, Reply
from petiole.worker.deaths import DeadChild
from petiole.worker.member import Member
from petiole.worker.run import Run
from petiole.worker.run_state import RunStart
from petiole.worker.silent_outbox import SilentOutbox

log = logger(__name__)

# How often a running child says how much of it is done.
SHARE_EVERY: Final = 1.0
CANCELLED: Final = "The group was cancelled."
NOWHERE: Final = Cursor("0" * 8, 0, 0, ZERO_CHAIN)


class LightRun(Run):
    """The run of a task without a feed: it counts, and can be asked to stop."""

    def __init__(self, tracking: Tracking, member: Member, *, delivery: str, retries: int) -> None:
        part = member.part
        feed = f"task:{part.task_id}"
        start = RunStart(feed, part.owner, "", 0, delivery, retries, 0, NOWHERE, {})
        super().__init__(tracking.journal, start, tracking.settings, outbox=SilentOutbox(feed))
        self.member = member
        self._part, self._lease = part, tracking.settings.lease

    def confirm(self, timeout: float) -> bool:
        """Ask the journal whether the group goes on; false if it didn't answer within `timeout` seconds.

        Raises:
            Cancelled: it was asked to stop.
        """
        deadline = self._clock() + timeout
        while True:
            self.stop_if_ended()
            try:
                held = self._journal.renew_children(
                    self._part.feed, [self._part.child], run=self._part.run, lease=self._lease
                )
            except Unavailable:
                if self._clock() >= deadline:
                    return False
                time.sleep(0.1)
                continue
            if held.cancel:
                self.ask_to_stop()
                self.stop_if_ended()
            return held.valid


class Parts:
    """The executions of groups' children in this process."""

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking
        self._settings = tracking.settings
        # By the execution: its run, from when on it has one.
        self._running: dict[Member, Run] = {}
        self._asked = 0.0
        self._contributor = self._make_contributor()

    def _make_contributor(self) -> Contributor:
        return Contributor(self._tracking.journal, self._settings, on_cancel=self._stop, turn=self._look_after)

    def fork(self) -> None:
        """Start afresh in a forked process."""
        self._running = {}
        self._contributor = self._make_contributor()

    def begin(self, task: Task, part: Part) -> Member:
        """Announce an execution; it is `silent` if it isn't to run, because the child has ended or was cancelled."""
        request = task.request
        member = Member(part, part.base + int(request.retries or 0), bool(task.acks_late), time.monotonic())
        reply = self._contributor.say(part, member.begins())
        why = _refusal(reply)
        if why is None and isinstance(reply, Counted) and reply.cancel:
            # It was running when the group was cancelled, and its message has come again.
            self._contributor.say(part, Contribution(part.child, states.CANCELLED, member.attempt))
            why = states.CANCELLED
        if why is not None:
            member.silent = True
            log.info("child_not_run", extra={"feed": part.feed, "child": part.child, "reason": why})
            if why == states.CANCELLED and not request.is_eager:
                self._record_cancelled(task, request)
        return member

    def _record_cancelled(self, task: Task, request: Any) -> None:
        """Tell Celery, as its own revoking does, unless it knows of an end."""
        try:
            if recorded_outcome(task.backend, request.id, since=0) is not None:
                return
        except Unavailable as error:
            log.warning("cancel_not_recorded", extra={"feed": f"task:{request.id}", "error": str(error)})
            return
        stored = store_cancelled(task, request, CANCELLED)
        if request.chord and not task.ignore_result:
            task.backend.on_chord_part_return(request, celery_states.REVOKED, stored)

    def run_of(self, member: Member, *, delivery: str) -> LightRun:
        """Return the run of a child without a feed."""
        return LightRun(self._tracking, member, delivery=delivery, retries=member.attempt)

    def enter(self, member: Member, run: Run) -> None:
        """Look after an execution, until `end`."""
        run.member = member
        self._running[member] = run

    def end(self, member: Member, task: Task, celery_state: str | None, value: Any) -> None:
        """Say how an execution has ended; waits for the journal no longer than the end of a task does."""
        self._running.pop(member, None)
        said = member.ends(celery_state, value, now=now_ms())
        if said is None:
            return
        if said.state not in (states.SUCCEEDED, states.RETRYING) and not task.request.is_eager:
            said = self._with_message(said, task, task.request, member.part)
        # Acknowledged late, a task that has ended isn't to run again: so that is kept before Celery acknowledges it.
        waits = member.late or said.state != states.SUCCEEDED or task.request.is_eager
        say = self._say if waits else self._contributor.hold
        if not say(member.part, said):
            self._contributor.flush(self._settings.flush_timeout, member.part)

    def _say(self, part: Part, said: Contribution) -> bool:
        return self._contributor.say(part, said) is not None

    def conclude(self, child: DeadChild, patch: Document) -> None:
        """Say how a child has ended whose own process can't."""
        said = end_of(child.part.child, child.part.task_id, child.attempt, patch)
        if child.request is not None:
            said = self._with_message(said, child.request.task, child.request._context, child.part)
        self._contributor.say_later(child.part, said)

    def _with_message(self, said: Contribution, task: Task, request: Any, part: Part) -> Contribution:
        return replace(said, message=self._tracking.part_message(task, request, part))

    def end_here(self) -> None:
        """Say that what runs in this process ends with it."""
        for member, _run in list(self._running.items()):
            if not member.late:
                reason = "The worker was shut down and ended the task."
                patch: Document = {"state": states.LOST, "reason": reason}
                said = end_of(member.part.child, member.part.task_id, member.attempt, patch)
                self._contributor.say_later(member.part, said)

    def close(self, timeout: float) -> bool:
        """Wait until the journal has everything and has rung it, before the process ends; says whether it has everything."""
        return self._contributor.close(timeout)

    def _stop(self, feed: str, run: int) -> None:
        for member, running in list(self._running.items()):
            if (member.part.feed, member.part.run) == (feed, run):
                running.ask_to_stop()

    def _look_after(self) -> float | None:
        """Say how much of what runs here is done, and ask whether it is to stop; returns when to do so again."""
        now = time.monotonic()
        running = list(self._running.items())
        if not running:
            return None
        for member, run in running:
            share = member.share(run.counts.fraction) if now - member.began >= SHARE_EVERY else None
            if share is not None:
                self._contributor.say_later(member.part, share)
        if now - self._asked >= self._settings.heartbeat:
            self._asked = now
            self._ask([member.part for member, _ in running if now - member.began >= self._settings.heartbeat])
        return now + SHARE_EVERY

    def _ask(self, parts: list[Part]) -> None:
        for (feed, run), numbers in by_group(parts).items():
            try:
                held = self._tracking.journal.renew_children(feed, numbers, run=run, lease=self._settings.lease)
            except PetioleError as error:
                log.warning("group_not_asked", extra={"feed": feed, "error": str(error)})
                continue
            if held.cancel:
                self._stop(feed, run)


def _refusal(reply: Reply | None) -> str | None:
    """Return why a child isn't to run, in a word; `None`: it may."""
    match reply:
        case Fenced():
            return "superseded"
        case Closed(state):
            return state
        case Counted(ended=(True,), cancel=cancelled):
            return states.CANCELLED if cancelled else "ended"
        case _:
            return None

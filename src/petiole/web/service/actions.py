"""What happens to a task that is cancelled, started again or removed. The caller has authorized it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

from petiole.dispatch.message import NOBODY, now_ms, read_message
from petiole.dispatch.tracking import Handle, Tracking
from petiole.errors import PetioleError, Unavailable
from petiole.journal import Journal
from petiole.journal.answers import Closed, Duplicate, Missing, Snapshot
from petiole.protocol import states
from petiole.protocol.events import Document, Draft, feed_id, is_group
from petiole.web.problems import Problem, invalid, not_found
from petiole.web.service.beginning import Beginning
from petiole.web.service.children import followed_children, parent_of

REPEATABLE: Final = (states.FAILED, states.CANCELLED, states.LOST)


def wants_force(message: object) -> bool:
    """Say whether a call to cancel, over HTTP or the socket, asks for force; without a message it doesn't.

    Raises:
        Problem: 422, it says neither.
    """
    force = message.get("force") if isinstance(message, dict) else message
    if force is not None and not isinstance(force, bool):
        detail = 'Send {"force": true} to end the process that runs the task, or no body to ask it to stop.'
        raise invalid(detail)
    return force is True


def cancel(journal: Journal, snapshot: Snapshot, *, force: bool, grace: float) -> tuple[int, Snapshot]:
    """Ask a task to stop; returns the status (202, or 200 if that was asked before) and the newest snapshot.

    Raises:
        Problem: 409, the task has finished, or can't be stopped by force (yet); 404, it is gone.
    """
    now = now_ms()
    patch: dict[str, Any] = {"state": states.CANCELLING}
    if force:
        _refuse_force(snapshot.document, now=now)
        patch["forced"] = True
    elif snapshot.document.get("forcible"):
        patch["force_after"] = now + round(grace * 1000)
    reply = journal.cancel(
        snapshot.feed,
        cancelling=Draft("state", patch),
        cancelled=Draft("state", {"state": states.CANCELLED, "finished_at": now}),
        force=force,
    )
    match reply:
        case Closed(state) if state != states.CANCELLED:
            what = "group" if is_group(snapshot.feed) else "task"
            raise Problem(HTTPStatus.CONFLICT, "Finished", f"The {what} has {state} already and can't be cancelled.")
        case Missing():
            raise not_found()
    _cancel_children(journal, snapshot, force=force, grace=grace)
    newest = journal.snapshot(snapshot.feed) or snapshot
    status = HTTPStatus.OK if isinstance(reply, Closed | Duplicate) else HTTPStatus.ACCEPTED
    return int(status), newest


def _cancel_children(journal: Journal, group: Snapshot, *, force: bool, grace: float) -> None:
    """Have the feeds of a group's tasks say the same: what the group has cancelled, and what runs and is to stop."""
    for child in followed_children(journal, group, (states.RUNNING, states.CANCELLED)):
        # One that has ended, or can't be forced, doesn't keep the others from being stopped.
        with suppress(Problem):
            cancel(journal, child, force=force, grace=grace)


def repeat(
    tracking: Tracking, snapshot: Snapshot, *, admitted: Callable[[Beginning], Beginning]
) -> Callable[[str], Handle]:
    """Return what starts a task again under a new id, for its owner, with the arguments that it had.

    `admitted` may refuse that, or change the arguments.

    Raises:
        Problem: 409, it hasn't ended, it has succeeded, its arguments weren't kept, or its group is what can be started again.
    """
    _refuse_repeat(snapshot)
    if parent_of(snapshot) is not None:
        detail = "The task is one of a group. Retry the group: its failed tasks run again, and are counted there."
        raise _cant_be_retried(detail)
    message = tracking.journal.message(snapshot.feed)
    if not message:
        detail = "The task's arguments weren't kept: they aren't JSON, or too large. Start it anew."
        raise _cant_be_retried(detail)
    name, args, kwargs, queue = read_message(message)

    def start(task_id: str) -> Handle:
        before = feed_id(snapshot.feed)
        begun = admitted(Beginning(name, args, kwargs, owner=snapshot.owner, task_id=task_id, retry_of=before))
        return tracking.start(
            name,
            begun.args,
            begun.kwargs,
            owner=snapshot.owner,
            title=snapshot.document.get("title"),
            queue=queue,
            task_id=task_id,
            retry_of=before,
        )

    return start


def repeat_group(tracking: Tracking, snapshot: Snapshot) -> Callable[[str], Handle]:
    """Return what has the failed tasks of a group run again, in the same group and in an epoch that its argument names.

    It raises a `Problem`, 409, if the group hasn't ended, has succeeded, or none of its tasks can run again: a repeated request
    finds its first answer before that, whatever has become of the group.
    """

    def start(epoch: str) -> Handle:
        _refuse_repeat(snapshot)
        if snapshot.owner != NOBODY:
            # Each of its ends has a notice. Before it begins, so that the notice of its next end isn't meant.
            tracking.journal.acknowledge(snapshot.owner, [snapshot.feed], again=True)
        try:
            return tracking.repeat_group(snapshot, epoch)
        except Unavailable:
            raise
        except PetioleError as error:
            raise _cant_be_retried(str(error)) from error

    return start


def remove(journal: Journal, snapshot: Snapshot) -> None:
    """Take a task, its feed and its notice away. What still runs of it is stopped, and a late message of it never begins.

    Raises:
        Unavailable: the journal didn't answer; ask again.
    """
    journal.remove(snapshot.feed)
    if snapshot.owner != NOBODY:
        journal.acknowledge(snapshot.owner, [snapshot.feed])


def can_be_repeated(snapshot: Snapshot) -> bool:
    """Say whether a task is of those that can be started again, by what its document says."""
    return snapshot.document.get("state") in REPEATABLE and parent_of(snapshot) is None


def _refuse_repeat(snapshot: Snapshot) -> None:
    state = snapshot.document.get("state")
    if state not in REPEATABLE:
        what = "group" if is_group(snapshot.feed) else "task"
        raise _cant_be_retried(
            f"The {what} is {state}. One that has failed, was cancelled or was lost can be started again."
        )


def _cant_be_retried(detail: str) -> Problem:
    return Problem(HTTPStatus.CONFLICT, "Can't be retried", detail)


def _refuse_force(document: Document, *, now: int) -> None:
    state = document.get("state")
    if states.is_terminal(state):
        return  # the journal refuses it
    if state != states.CANCELLING:
        raise Problem(HTTPStatus.CONFLICT, "Not cancelled", "Cancel the task first; it may stop by itself.")
    after = document.get("force_after")
    if after is None:
        detail = (
            "Its worker runs tasks in threads or one at a time, and can't terminate a single task. "
            "It stops at its next progress call."
        )
        raise Problem(HTTPStatus.CONFLICT, "Can't be forced", detail)
    if now < after:
        left = -(-(after - now) // 1000)
        detail = f"The task may still stop by itself. Force it in {left} s."
        raise Problem(HTTPStatus.CONFLICT, "Too early", detail, members={"retry_after": left})

"""How a Celery task ended, as patches of its document. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from celery.exceptions import Reject, SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError

from petiole.dispatch.error_groups import cause_of
from petiole.errors import InvalidEvent, TaskFailure
from petiole.protocol import states
from petiole.protocol.encoding import to_json
from petiole.protocol.events import Document
from petiole.protocol.values import mark, milliseconds, plain, words

REFERENCE_DIGITS: Final = 8
GOES_ON: Final = "The task goes on as"
RESULT_LIMIT: Final = 2048
REASON_LIMIT: Final = 1000
REASON_BYTES: Final = 2000
# A class made by code can have any name.
TYPE_LIMIT: Final = 100


def outcome(celery_state: str | None, value: Any, *, task_id: str, now: int) -> Document | None:
    """Return the patch for a task that Celery left in `celery_state` with `value` (result or exception).

    `None`: nothing is to be written. A retry was written when it was published; where Celery doesn't know how a task ended, the
    end of its lease tells. `now` in milliseconds since 1970.
    """
    match celery_state:
        case "SUCCESS":
            return succeeded(value, now=now)
        case "FAILURE":
            return failed(value, task_id=task_id, now=now)
        case "IGNORED":
            return {"state": states.SUCCEEDED, "finished_at": now, "reason": "The task ended without a result."}
        case "REJECTED" if isinstance(value, Reject) and value.requeue:
            return {"state": states.RETRYING, "reason": "The worker gave the task back to the queue."}
        case "REJECTED":
            return {"state": states.FAILED, "finished_at": now, "reason": "The worker refused the task."}
        case "REVOKED":
            return {"state": states.CANCELLED, "finished_at": now, "reason": None}
        case _:
            return None


def succeeded(result: Any, *, now: int) -> Document:
    """Return the patch of a success, with the result as `petiole.protocol.values.plain` makes it, if that is at most 2 KiB."""
    patch: Document = {"state": states.SUCCEEDED, "finished_at": now, "reason": None}
    try:
        carried = plain(result)
    except InvalidEvent:
        return patch  # a large one is left to Celery's own backend
    if carried not in (None, mark(result)) and len(to_json(carried).encode()) <= RESULT_LIMIT:
        patch["result"] = carried
    return patch


def failed(error: Any, *, task_id: str, now: int) -> Document:
    """Return the patch of a failure: a sentence that may be shown, and a reference that is also in the worker's log."""
    error, reference = cause_of(error), task_id[:REFERENCE_DIGITS]
    reason = sentence(error)
    return {
        "state": states.FAILED,
        "finished_at": now,
        "reason": reason,
        "error": {"message": reason, "reference": reference, "type": type_of(error)},
    }


def worn_out(*, task_id: str, now: int) -> Document:
    """Return the patch of a task of which too many runs have ended silently."""
    patch = failed(None, task_id=task_id, now=now)
    reason = "The task's worker died each time that it ran it."
    return {**patch, "reason": reason, "error": {**patch["error"], "message": reason, "type": "WorkerLost"}}


def sentence(error: Any) -> str:
    """Return the reason; an exception's own text only if its author meant it to be shown."""
    match error := cause_of(error):
        case TaskFailure():
            said = words(error, characters=REASON_LIMIT, size=REASON_BYTES)
            unsaid = f"The task stopped on an error that can't be shown ({type_of(error)})."
            return said if said != mark(error) else unsaid
        case TimeLimitExceeded() | SoftTimeLimitExceeded():
            return "The task exceeded its time limit and was stopped."
        case WorkerLostError():
            return "The process that ran the task died."
        case BaseException():
            return f"The task stopped on an unexpected error ({type_of(error)})."
        case _:
            return "The task stopped on an unexpected error."


def type_of(error: object) -> str:
    """Return the name of an error's class, at most 100 characters of it."""
    return words(type(error).__name__, characters=TYPE_LIMIT)


def is_since(done: object, since: int) -> bool:
    """Say whether a result's `date_done` (ISO 8601 or a datetime) isn't before an instant in ms; true if it is neither."""
    if isinstance(done, str):
        try:
            done = datetime.fromisoformat(done)
        except ValueError:
            return True
    return not isinstance(done, datetime) or milliseconds(done) >= since


def going_on(name: str) -> Document:
    """Return the patch of a run whose task replaces itself by another."""
    return {"state": states.RETRYING, "reason": f"{GOES_ON} {name}.", "retry_at": None}


def retrying(cause: BaseException | None, *, eta: str | None) -> Document:
    """Return the patch of a run that asked for a retry, at `eta` (ISO 8601; `None`: at once)."""
    reason = "The task asked to be run again." if cause is None else sentence(cause)
    retry_at = None
    if eta is not None:
        retry_at = milliseconds(datetime.fromisoformat(eta))
    return {"state": states.RETRYING, "reason": reason, "retry_at": retry_at}

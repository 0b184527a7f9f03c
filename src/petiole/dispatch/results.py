"""What Celery's result backend records of a task, for one whose worker was never heard."""

from __future__ import annotations

from typing import Any

from celery.backends.base import DisabledBackend

from petiole.dispatch.message import now_ms
from petiole.dispatch.outcome import is_since, outcome
from petiole.errors import Unavailable
from petiole.protocol.events import Document


def recorded_outcome(backend: Any, task_id: str, *, since: int) -> Document | None:
    """Return how a task ended, as a patch; `None`: the backend doesn't know, or keeps no results.

    A record from before `since` (in milliseconds since 1970) belongs to an earlier use of the id.

    Raises:
        Unavailable: the result backend doesn't answer.
    """
    # A backend that isn't persistent (rpc://) has an answer for its caller only.
    if isinstance(backend, DisabledBackend) or not getattr(backend, "persistent", True):
        return None
    try:
        meta = backend.get_task_meta(task_id)
    except Exception as error:
        # `update_state("FAILURE", meta=…)` leaves a record that Celery's own reader can't decode; its status is readable.
        undecoded = _undecoded_record(backend, task_id)
        if undecoded is None:
            raise Unavailable(f"Celery's result backend doesn't answer ({error!r}). Start it, or unset it.") from error
        meta = {**undecoded, "result": None}
    if not is_since(meta.get("date_done"), since):
        return None
    return outcome(meta.get("status"), meta.get("result"), task_id=task_id, now=now_ms())


def is_of_backend(error: BaseException, backend: Any) -> bool:
    """Say whether a publish failed at the result backend; where Celery gives up reaching it, only the text says so."""
    gave_up = isinstance(error, RuntimeError) and "result store" in str(error)
    return gave_up or isinstance(error, getattr(backend, "connection_errors", ()))


def _undecoded_record(backend: Any, task_id: str) -> dict[str, Any] | None:
    """Return a record without decoding its result, if the backend keeps results under keys."""
    try:
        return dict(backend.decode(backend.get(backend.get_key_for_task(task_id))))
    except Exception:  # noqa: BLE001 (asked after another error, which is the one that is raised)
        return None

"""Celery's record of a task that was cancelled, so that status routes that know nothing of that can be polled on."""

from __future__ import annotations

import html
from typing import Any

from celery import Task
from celery import states as celery_states
from celery.exceptions import TaskRevokedError


class TaskCancelled(TaskRevokedError):  # type: ignore[misc]
    """What `AsyncResult.result` (`info`) is of such a task, in every process that has Petiole; `get()` raises it.

    Status routes read progress from it as from a dictionary, or return it as JSON: to them it is an empty one, and Flask
    writes it as its text.
    """

    def get(self, _name: object, default: Any = None) -> Any:
        return default

    def __contains__(self, _name: object) -> bool:
        return False

    def __html__(self) -> str:
        return html.escape(str(self))


def store_cancelled(task: Task, request: Any, reason: str) -> TaskCancelled:
    """Have Celery's result backend say that a task was revoked, and return the error that it keeps."""
    error = TaskCancelled(reason)
    ignored = getattr(request, "ignore_result", None)
    if not (task.ignore_result if ignored is None else ignored):
        task.backend.store_result(request.id, error, celery_states.REVOKED, traceback=None, request=request)
    return error

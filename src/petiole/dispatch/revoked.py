"""Celery's record of a cancelled task, in a form that existing status routes can return."""

from __future__ import annotations

import html
from typing import Any

from celery import Task
from celery import states as celery_states
from celery.exceptions import TaskRevokedError


class TaskCancelled(TaskRevokedError):  # type: ignore[misc]
    """The `AsyncResult.result` (`info`) of a cancelled task, in every process with Petiole; `get()` raises it.

    Status routes read progress from it as from a dictionary, or return it as JSON: it acts as an empty dictionary, and Flask
    renders it as its text.
    """

    def get(self, _name: object, default: Any = None) -> Any:
        return default

    def __contains__(self, _name: object) -> bool:
        return False

    def __html__(self) -> str:
        return html.escape(str(self))


def store_cancelled(task: Task, request: Any, reason: str) -> TaskCancelled:
    """Store in Celery's result backend that a task was revoked, and return the error.

    Of an eager task nothing is stored, unless `task_store_eager_result` says so, as Celery has it.
    """
    error = TaskCancelled(reason)
    ignored = getattr(request, "ignore_result", None)
    stores = task.store_eager_result or not getattr(request, "is_eager", False)
    if stores and not (task.ignore_result if ignored is None else ignored):
        task.backend.store_result(request.id, error, celery_states.REVOKED, traceback=None, request=request)
    return error

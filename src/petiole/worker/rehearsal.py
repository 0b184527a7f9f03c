"""Rehearsals: in their context a task's runs begin without a journal. `petiole.testing` runs tasks like that."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Final, TypeAlias

from celery import Task

from petiole.dispatch.message import Header
from petiole.worker.run import Run

# Called with the task whose run begins, and the header of its message; `None`: this task isn't the rehearsed one.
Begin: TypeAlias = Callable[[Task, Header], Run | None]

rehearsal: Final[ContextVar[Begin | None]] = ContextVar("petiole_rehearsal", default=None)

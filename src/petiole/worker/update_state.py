"""Reads progress out of Celery's own `update_state`.

Celery defines no form for a state's `meta`. These fields are read: `current`, `done` or `completed` with or without `total`;
`percent`; `progress`, of `total` where that is given, else a share if it is a fraction of at most 1, else a percentage; and a
text in `description`, `status` or `message`. Anything else is ignored.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from celery import Task

from petiole.protocol.events import feed_id
from petiole.protocol.values import finite
from petiole.worker.run import Run, current_run

# Returns the feed's run in this process, if there is one.
FindRun: TypeAlias = Callable[[str], Run | None]

COUNTS: Final = ("current", "done", "completed")
TEXTS: Final = ("description", "status", "message")
WHOLE: Final = 100

_PARAMETERS: Final = ("task_id", "state", "meta")


@dataclass(frozen=True, slots=True)
class Said:
    """The progress in a `meta`; `None`: the field is absent."""

    completed: float | None = None
    total: float | None = None
    description: str | None = None


def understand(meta: object) -> Said:
    """Read the progress out of a state's `meta`, of whatever kind that is."""
    if not isinstance(meta, Mapping):
        return Said()
    texts = (meta.get(name) for name in TEXTS)
    description = next((text for text in texts if isinstance(text, str) and text), None)
    completed = next((number for name in COUNTS if (number := _number(meta, name)) is not None), None)
    # A total of zero is how recorders say that they don't know it.
    total = _number(meta, "total") or None
    percent, progress = _number(meta, "percent"), _number(meta, "progress")
    if progress is not None:
        if completed is None and total is not None:
            completed = progress
        elif percent is None:
            percent = progress * WHOLE if isinstance(meta["progress"], float) and progress <= 1 else progress
    # A percentage says more than a count of something that nobody knows the whole of; a recorder without a total says 0.
    if percent is not None and (completed is None or (percent and total is None)):
        completed, total = percent, WHOLE
    return Said(completed, total if completed is not None else None, description)


def adopt_update_state(task: Task, find: FindRun) -> None:
    """Have a task's `update_state` move the progress of the run of the task that it names, and then do what it always did.

    In the run that it is about it may raise `Cancelled` or `Fenced`, as a progress call does. From elsewhere (a thread that the
    task has started names it by `task_id`) it raises nothing of its own.
    """
    update_state = task.update_state

    @functools.wraps(update_state)
    def say_too(*args: Any, **kwargs: Any) -> Any:
        given = {**dict(zip(_PARAMETERS, args, strict=False)), **kwargs}
        current = current_run.get()
        task_id = given.get("task_id") or task.request.id
        if task_id is None and current is not None:
            # A thread has no Celery request, but may have the task by `progress.wrap`.
            given["task_id"] = task_id = feed_id(current.feed)
            args, kwargs = (), given
        # An id may have any characters; if this isn't a feed's name, no run is found.
        feed = f"task:{task_id}"
        run = current if current is not None and current.feed == feed else find(feed)
        if run is not None:
            if run is current:
                run.stop_if_ended()
            run.celery_state = given.get("state")
            said = understand(given.get("meta"))
            if said != Said():
                run.update(said.completed, said.total, said.description)
        return update_state(*args, **kwargs)

    task.update_state = say_too


def _number(meta: Mapping[Any, Any], name: str) -> float | None:
    value = meta.get(name)
    number = None if isinstance(value, bool) else finite(value)
    return None if number is None or number < 0 else number

"""Runs a task in this process as a worker does, without broker, result backend or journal."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from celery import Signature, Task
from celery import states as celery_states

from petiole.dispatch.canvas import is_canvas
from petiole.dispatch.message import Header, title_of
from petiole.dispatch.tracking import Tracking
from petiole.errors import PetioleError
from petiole.protocol.events import mint_epoch, mint_publication, task_feed
from petiole.testing.backends import Backends
from petiole.testing.recorder import CancelWhen, Recorder
from petiole.testing.recording import Recording
from petiole.worker.rehearsal import rehearsal

_backends: Final = Backends()


def run_task(
    task: Task | Signature,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    cancel_when: CancelWhen | None = None,
    title: object = None,
    owner: str = "somebody",
    task_id: str | None = None,
) -> Recording:
    """Run a task to its end, its retries and its class's hooks included, and return what it has said.

    It doesn't raise what the task raises: that is the recording's `exception`. `cancel_when` is called with each event; after
    the first one for which it is true somebody has asked the task to stop.

    Raises:
        PetioleError: `task` is no task (a canvas is several), `args` is no list, or its application isn't Petiole's.
    """
    if not isinstance(args, Sequence) or isinstance(args, str | bytes):
        raise PetioleError(f"The arguments are {args!r:.100}. Pass a list of them: run_task(task, [1, 2]).")
    if isinstance(task, Signature) and not is_canvas(task):
        # As Celery applies it: what is given comes first.
        task, args, kwargs = task.type, (*args, *task.args), {**task.kwargs, **(kwargs or {})}
    if not isinstance(task, Task):
        raise PetioleError(f"{task!r:.100} isn't a task. Pass a Celery task, and its arguments beside it.")
    tracking = getattr(task.app, "petiole", None)
    if not isinstance(tracking, Tracking):
        raise PetioleError(
            f"init_celery wasn't called for the Celery application of {task.name}. Import the module that calls it, or "
            "create the Flask application, before the task is run."
        )
    task_id = task_id or str(uuid.uuid4())
    name = str(task.name)
    header = Header(task_feed(task_id), mint_epoch(), owner, title_of(title, name), mint_publication())
    recorder = Recorder(tracking, header, task, cancel_when=cancel_when)
    tracking.publisher.before_eager()
    token = rehearsal.set(recorder.begin)
    try:
        with _backends.aside(task):
            result = task.apply(
                args=list(args), kwargs=dict(kwargs or {}), task_id=task_id, headers=header.to_message(), throw=False
            )
    finally:
        rehearsal.reset(token)
    has_failed = isinstance(result.result, BaseException)
    # A cancelled task has raised nothing of its own.
    raised = has_failed and result.state != celery_states.IGNORED
    return Recording(
        id=task_id,
        events=tuple(recorder.events),
        document=recorder.document,
        value=None if has_failed else result.result,
        exception=result.result if raised else None,
        traceback=str(result.traceback or "") if raised else "",
    )

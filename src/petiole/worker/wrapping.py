"""Wraps a Celery task's own code, so that its calls are tracked.

`run`, and a task's own `__call__` and `before_start`, are called through `Entering`: Celery logs and swallows an exception in
a `task_prerun` receiver, so a signal can't stop a task.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol, TypeAlias

from celery import Celery, Signature, Task
from celery.app.trace import build_tracer, task_has_custom
from celery.exceptions import Ignore

from petiole.dispatch.message import Header
from petiole.dispatch.part import Part, with_headers
from petiole.worker.publishing import NOT_HANDED_OVER
from petiole.worker.run import Run, current_run
from petiole.worker.update_state import FindRun, adopt_update_state

MARK: Final = "__petiole__"


# Called with a run, and with what its task continues as.
HandOver: TypeAlias = Callable[[Run, str], None]


class Entering(Protocol):
    """Runs `call`, a task's own code, within the run of the task's current message."""

    def __call__(
        self, task: Task, header: Header | None, part: Part | None, call: Callable[[], Any], *, begins: bool
    ) -> Any: ...


class Wrapping:
    """Wraps the tasks of one Celery application, also those registered later. `adopts`: finds the run for `update_state`."""

    def __init__(self, celery_app: Celery, enter: Entering, *, hand_over: HandOver, adopts: FindRun | None) -> None:
        self._celery_app = celery_app
        self._enter = enter
        self._hand_over = hand_over
        self._adopts = adopts

    def wrap_all(self) -> None:
        """Wrap every task that is registered now."""
        for task in list(self._celery_app.tasks.values()):
            self.wrap(task)

    def wrap(self, task: Task) -> bool:
        """Wrap a task, once; says whether a call that Celery has prepared already bypasses the wrapper."""
        if MARK in getattr(task.run, "__dict__", {}):
            return False
        task.run = self._entered(task, task.run)
        if task_has_custom(task, "before_start"):
            task.before_start = self._entered(task, task.before_start, begins=True)
        if _has_own_call(type(task)):
            self._wrap_class(type(task))
        task.retry = _remembering_cause(task.retry)
        task.on_replace = _replacing(task, task.on_replace, self._hand_over)
        if self._adopts is not None:
            adopt_update_state(task, self._adopts)
        if task.__trace__ is None:
            return False
        # Celery's tracer, already built, holds the unwrapped call.
        task.__trace__ = build_tracer(task.name, task, self._celery_app.loader, app=self._celery_app)
        return True

    def _entered(self, task: Task, original: Callable[..., Any], *, begins: bool = False) -> Callable[..., Any]:
        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            request = task.request
            if request.called_directly:
                return original(*args, **kwargs)
            header, part = Header.from_request(request), Part.from_request(request)
            if header is None and part is None:
                return original(*args, **kwargs)
            return self._enter(task, header, part, functools.partial(original, *args, **kwargs), begins=begins)

        setattr(call, MARK, True)
        return call

    def _wrap_class(self, kind: Any) -> None:
        # Python looks `__call__` up on the class only.
        original = kind.__call__
        if MARK in getattr(original, "__dict__", {}):
            return

        @functools.wraps(original)
        def call(task: Task, *args: Any, **kwargs: Any) -> Any:
            return self._entered(task, functools.partial(original, task))(*args, **kwargs)

        setattr(call, MARK, True)
        kind.__call__ = call


def _has_own_call(kind: type) -> bool:
    # `task_has_custom` would also find Celery's own protective wrapper.
    return any("__call__" in vars(base) for base in kind.__mro__[: kind.__mro__.index(Task)])


def _remembering_cause(retry: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(retry)
    def remember_cause(*args: Any, **kwargs: Any) -> Any:
        run = current_run.get()
        if run is not None:
            run.retry_cause = kwargs.get("exc") or (args[2] if len(args) > 2 else None) or sys.exc_info()[1]
        return retry(*args, **kwargs)

    return remember_cause


def _replacing(task: Task, on_replace: Callable[..., Any], hand_over: HandOver) -> Callable[..., Any]:
    @functools.wraps(on_replace)
    def replace(signature: Signature) -> Any:
        run = current_run.get()
        if run is None or run.disowned or task.request.is_eager:
            return on_replace(signature)
        headers = {} if run.header is None else run.header.to_message()
        if run.member is not None:
            headers |= run.member.part.replaced(run.member.attempt).to_message()
        # The last task of a chain, or a chord's body, has the task's id, and another task publishes it.
        parts = list(_with_id(signature, run.feed.removeprefix("task:")))
        for last in parts:
            with_headers(last, headers)
        if run.header is not None and parts and parts[0] is not signature:
            hand_over(run, f"a {str(signature.task).rpartition('.')[2]}")
        run.replacing = True
        try:
            return on_replace(signature)
        except Ignore:
            if run.member is not None:
                run.member.replaced = True
            raise
        except BaseException:
            if run.handed_over:
                run.take_over(NOT_HANDED_OVER)
            raise
        finally:
            run.replacing = False

    return replace


def _with_id(signature: Any, task_id: str) -> Iterable[Signature]:
    """Yield the parts of a frozen canvas that have a task's id."""
    for part in getattr(signature, "tasks", None) or ():
        yield from _with_id(part, task_id)
    body = getattr(signature, "body", None)
    if body is not None:
        yield from _with_id(body, task_id)
    is_single = isinstance(signature, Signature) and not hasattr(signature, "tasks")
    if is_single and signature.options.get("task_id") == task_id:
        yield signature

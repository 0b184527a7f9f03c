"""The current task, held for code that a library calls in a thread or a callback of its own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, ParamSpec, TypeVar, cast

from petiole.worker.run import Run, current_counter, current_run
from petiole.worker.run_state import ProgressCounter

P = ParamSpec("P")
R = TypeVar("R")

# What was current before each block that this context is in, the innermost last.
_before: Final[ContextVar[tuple[tuple[Run | None, ProgressCounter], ...]]] = ContextVar("petiole_before", default=())


class Bound:
    """Makes one task current: within `with bound:`, and in the function that `bound(function)` returns.

    It may be used any number of times, in many threads at once. Outside a task it does nothing. It doesn't work in another
    process.
    """

    def __init__(self, run: Run | None) -> None:
        self._run = run

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Return `function`, or a coroutine function, that reports for the task wherever it is called."""
        run = self._run
        if run is None:
            return function
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def speak_later(*args: P.args, **kwargs: P.kwargs) -> Any:
                with run.current():
                    return await function(*args, **kwargs)

            return cast(Callable[P, R], speak_later)

        @functools.wraps(function)
        def speak(*args: P.args, **kwargs: P.kwargs) -> R:
            with run.current():
                return function(*args, **kwargs)

        return speak

    def __enter__(self) -> None:
        if self._run is not None:
            _before.set((*_before.get(), (current_run.get(), current_counter.get())))
            current_run.set(self._run)
            current_counter.set(self._run.counter)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._run is not None:
            *outer, (run, counter) = _before.get()
            _before.set(tuple(outer))
            current_run.set(run)
            current_counter.set(counter)

"""What a task raised, if its coroutines raised several things at once (`asyncio.TaskGroup`, trio, anyio). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from petiole.errors import Fenced, RunEnded, TaskFailure
from petiole.protocol.values import words


def ended_in(error: BaseException) -> RunEnded | None:
    """Return what ended the run, if that is among what was raised; that a later run has begun goes first."""
    found = [leaf for leaf in leaves(error) if isinstance(leaf, RunEnded)]
    return next((leaf for leaf in found if isinstance(leaf, Fenced)), found[0] if found else None)


def cause_of(error: Any) -> Any:
    """Return what a group comes to: its only error, or one failure of all that were meant to be read; else itself."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    found = list(leaves(error))
    if len(found) == 1:
        return found[0]
    if all(isinstance(leaf, TaskFailure) for leaf in found):
        return TaskFailure(" ".join(dict.fromkeys(words(leaf) for leaf in found)))
    return error


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors of a group and of the groups in it; of anything else that alone."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from leaves(each)
    else:
        yield error

"""A task that is about to be started, as those see it who may refuse it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Beginning:
    """A task, its arguments, its owner and its id; `retry_of` is the id of the one that it repeats."""

    name: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    owner: str
    task_id: str
    retry_of: str | None = None

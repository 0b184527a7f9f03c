"""Calls a function with each object of a class once it is constructed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def after(made: type, then: Callable[[Any], object]) -> None:
    """Call `then` with each object of the class `made` once its constructor has returned."""
    original = made.__init__  # type: ignore[misc]

    @functools.wraps(original)
    def construct(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        then(self)

    made.__init__ = construct  # type: ignore[misc]

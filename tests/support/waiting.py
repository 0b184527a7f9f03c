"""Waiting for a condition by name."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL = 0.005


def wait_until(condition: Callable[[], T], *, what: str = "", timeout: float = 15.0) -> T:
    """Return the result of `condition` as soon as it is true.

    Raises:
        TimeoutError: it wasn't true within `timeout` seconds; the message names it.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            name = what or getattr(condition, "__name__", "the condition")
            raise TimeoutError(f"Not within {timeout:g} s: {name}. It last was {value!r}.")
        time.sleep(POLL)

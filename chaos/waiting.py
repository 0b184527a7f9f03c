"""Waiting for a condition by name."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], *, what: str, timeout: float) -> None:
    """Poll until `condition` holds.

    Raises:
        TimeoutError: it doesn't within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:.0f} s: {what}")
        time.sleep(0.02)

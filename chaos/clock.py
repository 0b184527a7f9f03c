"""A process whose clock is wrong: `CHAOS_CLOCK` is by how many seconds."""

from __future__ import annotations

import os
import time


def shift_clock() -> None:
    """Shift this process's wall clock as its environment says. What measures durations isn't touched."""
    shift = float(os.environ.get("CHAOS_CLOCK", "0"))
    if shift:
        right = time.time
        time.time = lambda: right() + shift

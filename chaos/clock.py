"""A process with a wrong clock: `CHAOS_CLOCK` is the offset in seconds."""

from __future__ import annotations

import os
import time


def shift_clock() -> None:
    """Shift this process's wall clock by the offset in its environment. Monotonic clocks aren't changed."""
    shift = float(os.environ.get("CHAOS_CLOCK", "0"))
    if shift:
        right = time.time
        time.time = lambda: right() + shift

"""Limits the rate of reading, so that an export leaves capacity for others."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_SLICES_PER_SECOND: Final = 5


class Pace:
    """Lets at most `per_second` rows through; `None` or 0: no limit.

    Time that was lost (a slow disk, a stopped process) is not made up for by a burst.
    """

    def __init__(
        self,
        per_second: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._per_second = per_second or 0.0
        self._clock = clock
        self._sleep = sleep
        self._free_at = clock()

    def batch_rows(self, most: int) -> int:
        """Return how many rows to take at a time, at most `most`: about a fifth of a second of them.

        A limited export then moves evenly, and hears of its cancellation soon.
        """
        if not self._per_second:
            return most
        return max(1, min(most, int(self._per_second / _SLICES_PER_SECOND)))

    def wait(self, rows: int) -> None:
        """Sleep until these rows are due; the time that they took themselves counts."""
        if not self._per_second:
            return
        now = self._clock()
        self._free_at = max(self._free_at + rows / self._per_second, now)
        if self._free_at > now:
            self._sleep(self._free_at - now)

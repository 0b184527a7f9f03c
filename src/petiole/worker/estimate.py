"""Rate and time left, computed once, with the counters, so that every tab agrees. Pure: the clock is a parameter.

The rule: an exponential mean of the rate, its time constant 10 % of the elapsed time, between 5 and 30 s; nothing before
3 s, 5 samples and 1 %; the estimate may fall freely but rises only when it has been more than 20 % higher for 3 s.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

MIN_ELAPSED: Final = 3.0
MIN_SAMPLES: Final = 5
MIN_FRACTION: Final = 0.01
RISE: Final = 1.2
RISE_FOR: Final = 3.0


class Estimate(NamedTuple):
    """`rate` in units per second and `time_left` in seconds; `None` until there is enough data."""

    rate: float | None
    time_left: float | None


class Estimator:
    """Follows one stage of one run. Instants are seconds of any monotonic clock."""

    def __init__(self, *, now: float, completed: float = 0.0) -> None:
        self._began = now
        self._at = now
        self._completed = completed
        self._first = completed
        self._rate: float | None = None
        self._samples = 0
        self._shown_until: float | None = None
        self._higher_since: float | None = None

    def sample(self, completed: float, *, total: float | None, now: float) -> Estimate:
        """Take the newest counter and return the estimate as of `now`."""
        interval = now - self._at
        if interval > 0:
            current = max(completed - self._completed, 0.0) / interval
            constant = min(max(0.1 * (now - self._began), 5.0), 30.0)
            weight = 1 - math.exp(-interval / constant)
            mean = (completed - self._first) / (now - self._began)
            # The first samples use the plain mean: an exponential mean would stick to its first value.
            self._rate = (
                mean
                if self._rate is None or now - self._began < constant
                else (self._rate + weight * (current - self._rate))
            )
            self._at, self._completed = now, completed
            self._samples += 1
        if self._rate is None or now - self._began < MIN_ELAPSED or self._samples < MIN_SAMPLES:
            return Estimate(None, None)
        return Estimate(self._rate, self._time_left(completed, total, now))

    def _time_left(self, completed: float, total: float | None, now: float) -> float | None:
        if not total or completed < MIN_FRACTION * total or not self._rate:
            return None
        until = now + max(total - completed, 0.0) / self._rate
        if self._shown_until is None or until <= self._shown_until:
            self._shown_until, self._higher_since = until, None
        elif until - now > RISE * max(self._shown_until - now, 0.0):
            if self._higher_since is None:
                self._higher_since = now
            elif now - self._higher_since >= RISE_FOR:
                self._shown_until, self._higher_since = until, None
        else:
            self._higher_since = None
        return max(self._shown_until - now, 0.0)

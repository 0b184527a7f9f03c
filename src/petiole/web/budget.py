"""How much one connection and one person may ask for: a bucket of tokens, and a tally of connections."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable


class Bucket:
    """Up to `burst` at once, `rate` a second after that. Thread-safe."""

    def __init__(self, *, burst: float, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._rate = rate
        self._clock = clock
        self._tokens = burst
        self._at = clock()
        self._lock = threading.Lock()

    def take(self) -> float:
        """Take a token and return 0, or return in how many seconds there will be one."""
        with self._lock:
            now = self._clock()
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
            self._at = now
            if self._tokens >= 1:
                self._tokens -= 1
                return 0.0
            return (1 - self._tokens) / self._rate


class Tally:
    """Counts what each owner has, and admits no more than `limit`. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, owner: str) -> bool:
        """Count one more; false, and not counted, where the owner has `limit` already."""
        with self._lock:
            if self._counts[owner] >= self._limit:
                return False
            self._counts[owner] += 1
            return True

    def give_back(self, owner: str) -> None:
        """Count one less."""
        with self._lock:
            self._counts[owner] -= 1
            if self._counts[owner] <= 0:
                del self._counts[owner]

    def __len__(self) -> int:
        return len(self._counts)

"""When something is due, of many things: the earliest first."""

from __future__ import annotations

import heapq
import math
import threading


class Times:
    """An instant for each name, in seconds of whatever clock its owner reads. Thread-safe."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        # What was set anew or dropped meanwhile is left out when its turn comes.
        self._heap: list[tuple[float, str]] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._at)

    def first(self) -> float:
        """Return an instant before which nothing is due; infinity: there is nothing."""
        with self._lock:
            return self._heap[0][0] if self._heap else math.inf

    def set(self, name: str, at: float) -> None:
        """Have `name` due at an instant, and no more at the one before."""
        with self._lock:
            self._at[name] = at
            heapq.heappush(self._heap, (at, name))

    def drop(self, name: str) -> None:
        """Forget a name; one that isn't there is no error."""
        with self._lock:
            self._at.pop(name, None)

    def take(self, now: float, *, limit: int | None = None) -> list[str]:
        """Take out the names that are due by `now`, at most so many of them."""
        taken: list[str] = []
        with self._lock:
            while self._heap and self._heap[0][0] <= now and (limit is None or len(taken) < limit):
                at, name = heapq.heappop(self._heap)
                if self._at.get(name) == at:
                    del self._at[name]
                    taken.append(name)
        return taken

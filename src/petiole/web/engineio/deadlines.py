"""Which of many names is due: a heap of instants."""

from __future__ import annotations

import threading
from heapq import heappop, heappush


class Deadlines:
    """One instant for each name, in seconds of whatever clock its owner reads. Thread-safe."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        # An entry whose instant isn't its name's any more is passed over.
        self._heap: list[tuple[float, str]] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._due)

    def set(self, name: str, at: float) -> None:
        """Have `name` due at an instant, in place of the one before."""
        with self._lock:
            self._due[name] = at
            heappush(self._heap, (at, name))

    def drop(self, name: str) -> None:
        """Forget a name; an unknown one is no error."""
        with self._lock:
            self._due.pop(name, None)

    def take(self, now: float, *, limit: int) -> list[str]:
        """Take out the names that are due by `now`, the earliest first, and at most `limit` of them."""
        taken: list[str] = []
        with self._lock:
            while self._heap and self._heap[0][0] <= now and len(taken) < limit:
                at, name = heappop(self._heap)
                if self._due.get(name) == at:
                    del self._due[name]
                    taken.append(name)
        return taken

"""When something is due, of very many things: to set an instant and to take what is due cost the same however many they are."""

from __future__ import annotations

import threading


class TimerWheel:
    """An instant for each name, in seconds of whatever clock its owner reads, to the next multiple of `grain`. Thread-safe."""

    def __init__(self, *, grain: float, now: float) -> None:
        self._grain = grain
        # Of each name, the number of the slot that it is in; and in each slot its names, and some that have left it.
        self._slot: dict[str, int] = {}
        self._slots: dict[int, list[str]] = {}
        self._first = int(now / grain)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._slot)

    def set(self, name: str, at: float) -> None:
        """Have `name` due at an instant, and no more at the one before."""
        with self._lock:
            slot = max(-int(-at // self._grain), self._first)
            self._slot[name] = slot
            self._slots.setdefault(slot, []).append(name)

    def drop(self, name: str) -> None:
        """Forget a name; one that isn't there is no error."""
        with self._lock:
            self._slot.pop(name, None)

    def take(self, now: float, *, limit: int) -> list[str]:
        """Take out names that are due by `now`, the earliest first, and at most so many of them."""
        taken: list[str] = []
        with self._lock:
            while self._first <= int(now / self._grain):
                names = self._slots.get(self._first, [])
                while names:
                    if len(taken) >= limit:
                        return taken
                    name = names.pop()
                    if self._slot.get(name) == self._first:
                        del self._slot[name]
                        taken.append(name)
                self._slots.pop(self._first, None)
                self._first += 1
        return taken

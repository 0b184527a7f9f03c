"""Who of many has not been heard of for a while: to hear of somebody is one `set.add`, however many there are."""

from __future__ import annotations

from collections import deque


class IdleTracker:
    """Counts time in turns. Who was heard of last before the newest `turns` whole ones is silent. Thread-safe."""

    def __init__(self, turns: int) -> None:
        # The names of each turn; the last is the one that goes on, and there is always one before it.
        self._heard: deque[set[str]] = deque([set(), set()])
        self._turns = turns

    def hear(self, name: str) -> None:
        self._heard[-1].add(name)

    def ask(self, name: str) -> None:
        """Have a name that is silent be said again `turns` turns after the one that has just begun."""
        self._heard[-2].add(name)

    def turn(self) -> set[str]:
        """Begin a turn, and return who is silent from now on, and wasn't before."""
        self._heard.append(set())
        if len(self._heard) <= self._turns + 1:
            return set()
        return self._heard.popleft().difference(*self._heard)

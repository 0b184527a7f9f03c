"""Which of many names have been idle for a while. To record activity is one `set.add`, however many names there are."""

from __future__ import annotations

from collections import deque


class IdleTracker:
    """Counts time in turns. A name without activity in the newest `turns` whole ones is idle. Thread-safe."""

    def __init__(self, turns: int) -> None:
        # The names of each turn; the last is the one that goes on, and there is always one before it.
        self._heard: deque[set[str]] = deque([set(), set()])
        self._turns = turns

    def hear(self, name: str) -> None:
        self._heard[-1].add(name)

    def ask(self, name: str) -> None:
        """Report a name that stays idle again, `turns` turns after the one that has just begun."""
        self._heard[-2].add(name)

    def turn(self) -> set[str]:
        """Begin a turn, and return the names that have become idle."""
        self._heard.append(set())
        if len(self._heard) <= self._turns + 1:
            return set()
        return self._heard.popleft().difference(*self._heard)

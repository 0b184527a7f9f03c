"""The bus within one process: the memory journal rings it directly."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from petiole.bus.contract import Ring


class MemoryBus:
    """A `Bus` in memory. `ring` is the callback of a `MemoryJournal`."""

    trouble: Final = None

    def __init__(self) -> None:
        self._followed: set[str] = set()
        self._listener: Ring | None = None
        self._closed = threading.Event()

    def ring(self, feed: str, text: str | bytes) -> None:
        """Pass an event to the listener if its feed is followed."""
        if self._listener is not None and feed in self._followed:
            self._listener(feed, text)

    def listen(self, ring: Ring, *, on_return: Callable[[], None]) -> None:
        self._listener = ring
        on_return()
        self._closed.wait()
        self._listener = None

    def follow(self, feed: str, *, timeout: float) -> bool:
        self._followed.add(feed)
        return True

    def unfollow(self, feed: str) -> None:
        self._followed.discard(feed)

    def probe(self, *, timeout: float) -> bool:
        return self._listener is not None

    def restart(self) -> None:
        """There is no connection to close."""

    def close(self) -> None:
        self._closed.set()

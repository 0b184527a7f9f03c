"""Attachments that have arrived for events that aren't complete: how much, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

# Of one connection, and of all of them, in units of `max_http_buffer_size`.
HELD_BY_ONE: Final = 4
HELD_BY_ALL: Final = 16


class Attachments:
    """Counts bytes by connection. `limit` is Engine.IO's `max_http_buffer_size`."""

    def __init__(self, *, limit: int, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        # By connection: how many bytes, and when its event began.
        self._held: dict[str, tuple[int, float]] = {}

    def begin(self, eio_sid: str) -> None:
        """An event that declares attachments has come."""
        self._held[eio_sid] = (0, self._clock())

    def add(self, eio_sid: str, size: int) -> bool:
        """Count an attachment; false, and not counted, where it is beyond a limit."""
        held, since = self._held.get(eio_sid, (0, self._clock()))
        everything = sum(each for each, _ in list(self._held.values())) + size
        if held + size > HELD_BY_ONE * self._limit or everything > HELD_BY_ALL * self._limit:
            return False
        self._held[eio_sid] = (held + size, since)
        return True

    def end(self, eio_sid: str) -> None:
        """The event is complete, was refused, or its connection has ended."""
        self._held.pop(eio_sid, None)

    def older_than(self, seconds: float) -> list[str]:
        """Return the connections whose event began so long ago."""
        now = self._clock()
        return [eio_sid for eio_sid, (_, since) in list(self._held.items()) if now - since >= seconds]

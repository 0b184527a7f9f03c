"""The contract of a bus. A lost ring costs latency, never data: readers find gaps and read the journal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

# Called with the feed and the event's JSON text, in the bus's own thread: it must not block. In a cluster each master has its
# own thread, so feeds of different masters ring concurrently.
Ring: TypeAlias = Callable[[str, str | bytes], None]


class Bus(Protocol):
    """Rings for followed feeds only, never for all of them. All verbs are thread-safe."""

    @property
    def trouble(self) -> str | None:
        """Why the bus can't be heard, in a sentence without addresses, where the reason is permanent."""
        ...

    def listen(self, ring: Ring, *, on_return: Callable[[], None]) -> None:
        """Call `ring` for every event of a followed feed until `close`; blocks.

        It reconnects with growing pauses of at most a second. Then every feed is followed again and `on_return` is called,
        because rings were lost in between.
        """
        ...

    def follow(self, feed: str, *, timeout: float) -> bool:
        """Follow `feed`; true when the server confirmed it within `timeout` seconds.

        False: it is followed as soon as the connection is back.
        """
        ...

    def unfollow(self, feed: str) -> None:
        """Stop following `feed`."""
        ...

    def probe(self, *, timeout: float) -> bool:
        """Send a ring to itself and say whether it arrived: a connection can be alive and deaf."""
        ...

    def restart(self) -> None:
        """Drop the connection and make a new one."""
        ...

    def close(self) -> None:
        """Stop listening and close the connection."""
        ...

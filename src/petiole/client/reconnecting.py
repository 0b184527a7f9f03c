"""When a connection is made again, and why one was refused: the same for threads and for an event loop."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Final

from petiole.client.refused import Refused
from petiole.errors import PetioleError

NAMESPACE: Final = "/petiole"
ANSWER_TIMEOUT: Final = 5.0
FIRST_DELAY: Final = 0.2
LONGEST_DELAY: Final = 2.0
# How often the connection is checked: one that ends while it is being made raises no event.
LOOK_EVERY: Final = 1.0
LONGEST_ASKED: Final = 60.0


class Reconnecting:
    """What a connection knows of its server's wishes."""

    def __init__(self) -> None:
        # The pause before the next reconnect, and the longest one.
        self._delays = FIRST_DELAY, LONGEST_DELAY
        self._turned_away: dict[str, Any] | None = None

    def pauses(self) -> Iterator[float]:
        """Yield the seconds to wait before each attempt, with jitter, so that many clients don't reconnect at once."""
        delay, longest = self._delays
        while True:
            yield delay * random.uniform(0.5, 1.5)
            delay = min(2 * delay, longest)

    def begin(self) -> None:
        """Take note that a connection is attempted."""
        self._turned_away = None

    def on_connect(self) -> None:
        """Take note that there is a connection."""
        self._delays = FIRST_DELAY, LONGEST_DELAY

    def on_connect_error(self, error: Any = None) -> None:
        """Take the server's answer to a connection that it doesn't want."""
        problem = error.get("data") if isinstance(error, dict) else None
        self._turned_away = problem if isinstance(problem, dict) else None

    def on_reconnect(self, wire: dict[str, Any]) -> None:
        """Take the server's wish: it closes the connection next, and `after` is the pause before the reconnect."""
        after = wire.get("after")
        if isinstance(after, int | float) and 0 <= after <= LONGEST_ASKED:
            self._delays = after, max(after, LONGEST_DELAY)

    def error_of(self, url: str, error: Exception) -> PetioleError:
        """Return what a failed attempt is to its caller."""
        if self._turned_away is not None:
            return Refused(self._turned_away)
        return PetioleError(f"No Socket.IO server answers at {url} ({error}). Start it, or correct the URL.")

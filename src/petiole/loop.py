"""Background work that can't die: one supervised loop for all of it, which says what is wrong with it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Final

from petiole.errors import Refusal, Unavailable
from petiole.logs import logger

log = logger(__name__)

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
# A turn that takes longer counts as hanging.
HANGS_AFTER: Final = 60.0
# The first pause before a retry; it doubles each time.
FIRST_DELAY: Final = 1.0
LONGEST_DELAY: Final = 30.0
DELAYS_KEPT: Final = 10_000


class Loop:
    """Runs one turn after another until `close`. An exception of a turn is logged, and the loop goes on after a pause.

    `turn` returns the pause before the next one, in seconds as all of these. `away`: the pause while the journal is away.
    `longest`: the longest pause after failures. `hangs_after`: how long a turn may take. `jitter`: the share by which a pause
    varies, so that processes don't all ask at once.
    """

    def __init__(
        self,
        name: str,
        turn: Callable[[], float],
        *,
        away: float = FIRST_PAUSE,
        longest: float = LONGEST_PAUSE,
        hangs_after: float = HANGS_AFTER,
        jitter: float = 0.2,
        wait: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._turn = turn
        self._away = away
        self._longest = longest
        self._hangs_after = hangs_after
        self._jitter = jitter
        self.closed = threading.Event()
        self._wait = wait or self.closed.wait
        self._clock = clock
        self._began: float | None = None
        self._runs = self._has_run = False
        self._failures = 0
        self._waits = False

    def run(self) -> None:
        """Run turns until `close`; blocks."""
        self._runs = self._has_run = True
        try:
            while not self.closed.is_set():
                pause = self._take_turn()
                if pause > 0:
                    self._wait(pause * random.uniform(1 - self._jitter, 1 + self._jitter))
        finally:
            self._runs = False

    def close(self) -> None:
        """End `run` after the current turn."""
        self.closed.set()

    def trouble(self) -> str | None:
        """Return what is wrong with it, in a sentence; `None`: nothing, or it wasn't started, or it was closed."""
        began = self._began
        if not self._has_run or self.closed.is_set():
            return None
        if not self._runs:
            return f"The {self.name} has ended; start this process again."
        if self._failures:
            return f"The {self.name} fails; the log says why."
        if began is not None and self._clock() - began > self._hangs_after:
            return f"The {self.name} hangs."
        return None

    def _take_turn(self) -> float:
        self._began = self._clock()
        try:
            pause = self._turn()
            if self._waits or self._failures:
                log.info("loop_goes_on", extra={"loop": self.name})
            self._failures, self._waits = 0, False
        except Unavailable as error:
            if not self._waits:
                log.warning("loop_waits", extra={"loop": self.name, "error": str(error)})
            self._failures, self._waits = 0, True
            pause = self._away
        except Exception:
            log.exception("loop_failed", extra={"loop": self.name})
            pause = min(FIRST_PAUSE * 2**self._failures, self._longest)
            self._failures = min(self._failures + 1, 10)
        finally:
            self._began = None
        return pause


def is_outage(error: Exception) -> bool:
    """Say whether an error concerns every call of the journal, and not only this one."""
    return isinstance(error, Unavailable) and not isinstance(error, Refusal)


class Delays:
    """Back-off by name: since when each has failed, and when it is due again. One thread at a time."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # By name: when it first failed, when it is due again, and the present pause.
        self._failed: dict[str, tuple[float, float, float]] = {}

    def __len__(self) -> int:
        return len(self._failed)

    def put_off(self, name: str) -> float:
        """Put off a name that has failed; returns how many seconds ago it first failed."""
        now = self._clock()
        since, _, delay = self._failed.pop(name, (now, now, FIRST_DELAY / 2))
        delay = min(2 * delay, LONGEST_DELAY)
        self._failed[name] = (since, now + delay, delay)
        if len(self._failed) > DELAYS_KEPT:
            del self._failed[next(iter(self._failed))]
        return now - since

    def waits(self, name: str) -> bool:
        """Say whether a name isn't due yet."""
        return name in self._failed and self._clock() < self._failed[name][1]

    def lasts(self, name: str) -> float:
        """Return how many seconds ago a name first failed; 0 if it hasn't."""
        return self._clock() - self._failed[name][0] if name in self._failed else 0.0

    def clear(self, name: str) -> None:
        """Forget a name that has succeeded."""
        self._failed.pop(name, None)

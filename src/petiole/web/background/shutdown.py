"""The end of a web process: it isn't ready any more, and its browsers are sent away, each to come back at its own time."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Final

from petiole.logs import logger

log = logger(__name__)

# How long a process without a graceful stop stays, so that its browsers get the message.
LAST_WORDS: Final = 0.5


class Shutdown:
    """Calls `before` at once and `leave` in a background task, when this process is told to end (SIGTERM), once.

    Calls the previous handler afterwards.
    Only a process's main thread may handle a signal. `at_start` is called where the application is made: it follows a handler
    that is there already, as in a gunicorn worker, or Flask's own server. `at_request` follows it where requests are served
    in the main thread, as by gevent.
    """

    def __init__(self, leave: Callable[[], None], *, before: Callable[[], None], spawn: Callable[..., object]) -> None:
        self._leave = leave
        self._before = before
        self._spawn = spawn
        self._gone = False

    def at_start(self) -> None:
        before = signal.getsignal(signal.SIGTERM)
        if callable(before) or os.environ.get("FLASK_RUN_FROM_CLI"):
            self.at_request()

    def at_request(self) -> None:
        before = signal.getsignal(signal.SIGTERM)
        if getattr(before, "departure", None) is self:
            return

        def take(number: int, frame: FrameType | None) -> None:
            self.now()
            if callable(before):
                before(number, frame)
            elif before is not signal.SIG_IGN:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                timer = threading.Timer(LAST_WORDS, os.kill, (os.getpid(), signal.SIGTERM))
                timer.daemon = True
                timer.start()

        take.departure = self  # type: ignore[attr-defined]
        # Refused outside of the main thread. `threading` can't be asked: under gevent each greenlet is a thread to it.
        with suppress(ValueError):
            signal.signal(signal.SIGTERM, take)

    def now(self) -> None:
        """Leave. A signal's handler must not wait for anything, so it happens in a task of its own."""
        if not self._gone:
            self._gone = True
            self._before()
            self._spawn(self._leave)


def spread(most: float) -> dict[str, Any]:
    """Return the message `reconnect` for one browser: in how many seconds it is to come back."""
    return {"after": round(random.uniform(0, most), 3)}

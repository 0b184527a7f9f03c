"""When the call that is under way in this thread (or greenlet) has to be over, on `time.monotonic`."""

from __future__ import annotations

from contextvars import ContextVar

deadline: ContextVar[float] = ContextVar("petiole_deadline", default=float("inf"))

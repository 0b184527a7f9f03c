"""Lines of the log about calls and connections that are refused, bounded: a client must not fill the log."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from petiole.logs import Log
from petiole.web.budget import Bucket
from petiole.web.problems import Problem

LINES: Final = 10.0
LINES_PER_SECOND: Final = 0.1


class RefusalLog:
    """Writes 10 lines at once, then one in 10 s; `unsaid_before` counts those that were left out."""

    def __init__(self, log: Log, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._lines = Bucket(burst=LINES, rate=LINES_PER_SECOND, clock=clock)
        self._unsaid = 0

    def write(self, name: str, **fields: object) -> None:
        """Write a line, or count it."""
        if self._lines.take():
            self._unsaid += 1
            return
        self._log.warning(name, extra={**fields, "unsaid_before": self._unsaid})
        self._unsaid = 0

    def explain(self, problem: Problem, *, call: str) -> None:
        """Write why this server couldn't answer a call. The client is told what to do, and not which server failed how."""
        if problem.status >= 500 and problem.__cause__ is not None:
            self.write("call_refused", call=call, status=problem.status, error=str(problem.__cause__))

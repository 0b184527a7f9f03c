"""P12: starting a followed task, compared with Celery's own `apply_async`."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from celery import Celery

from benchmarks.report import compared, write
from benchmarks.site import quantile, redis_server
from petiole.dispatch.tracking import Tracking
from petiole.settings import Settings

STARTS: Final = 100
ROUNDS: Final = 21


def milliseconds(start: Callable[[], object]) -> float:
    """Return the median of one start's wall time."""
    taken = []
    for _ in range(STARTS):
        begun = time.perf_counter()
        start()
        taken.append((time.perf_counter() - begun) * 1000)
    return quantile(taken, 0.5)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, redis_server(Path(directory)) as url:
        celery_app = Celery("benchmarks-start", broker=url)

        @celery_app.task(name="benchmarks.nothing")  # type: ignore[untyped-decorator]
        def nothing(*_: Any) -> None: ...

        tracking = Tracking(celery_app, Settings(journal_url=url))
        tracking.warm_up()
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(ROUNDS):
            theirs.append(milliseconds(lambda: nothing.apply_async([1, "two"])))
            ours.append(milliseconds(lambda: tracking.start(nothing, [1, "two"], owner="user:reader", title="Export")))
    write("start", [compared("P12", "petiole.start (rival: apply_async)", "ms", ours, theirs, limit=1.5)])

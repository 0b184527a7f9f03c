"""The tasks that the benchmarks run. `time.monotonic_ns` is one clock for all processes of a machine."""

from __future__ import annotations

import os
import time

from celery import Celery

from petiole import init_celery, progress

celery_app = Celery("benchmarks", broker=os.environ["CELERY_BROKER_URL"])
init_celery(celery_app)


@celery_app.task  # type: ignore[untyped-decorator]
def emit_stamps(count: int, interval: float) -> None:
    """Emit `count` facts, one every `interval` seconds, each with the instant of its emit call."""
    due = time.monotonic()
    for _ in range(count):
        progress.emit("stamp", time.monotonic_ns())
        due += interval
        time.sleep(max(due - time.monotonic(), 0.0))

"""The task of a hundred workers: facts at a steady interval. Its worker imports neither Flask nor Socket.IO."""

from __future__ import annotations

import os
import random
import time

from celery import Celery

from petiole import init_celery, progress

celery_app = Celery("benchmarks", broker=os.environ["CELERY_BROKER_URL"])
celery_app.conf.worker_prefetch_multiplier = 1
init_celery(celery_app)


@celery_app.task(name="benchmarks.tasks.tell")  # type: ignore[untyped-decorator]
def tell(begin_at: float, count: int, interval: float) -> None:
    """Emit `count` facts, one every `interval` seconds, from the instant `begin_at` on, or at once if that is past."""
    # Each task in its own phase: a hundred that emit in the same millisecond aren't a steady load.
    begin = max(time.monotonic(), begin_at) + random.uniform(0.0, interval)
    for number in range(count):
        time.sleep(max(begin + number * interval - time.monotonic(), 0.0))
        progress.emit("progress", {"progress": number, "stamp": time.monotonic_ns()})

"""The worker of a fault run: its task writes down what it said, when the call had returned."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from celery import Celery

from chaos.without import switch_off
from petiole import init_celery, progress

celery_app = Celery("chaos", broker=os.environ["CELERY_BROKER_URL"])
celery_app.conf.update(broker_connection_retry_on_startup=True, worker_prefetch_multiplier=1)
init_celery(celery_app)
switch_off()


@celery_app.task  # type: ignore[untyped-decorator]
def say(number: int, count: int, interval: float) -> dict[str, float]:
    """Emit `count` numbered facts, one every `interval` seconds, and count along."""
    slowest = hiccup = 0.0
    began = time.monotonic()
    with Path(os.environ["CHAOS_HISTORY"], f"task-{number}.jsonl").open("a", buffering=1) as history:
        progress.stage("Saying", total=count, unit="facts")
        for fact in range(count):
            before = time.monotonic()
            progress.emit("said", fact)
            progress.advance()
            slowest = max(slowest, time.monotonic() - before)
            history.write(json.dumps({"said": fact}) + "\n")
            due = max(began + (fact + 1) * interval, time.monotonic())
            time.sleep(due - time.monotonic())
            # How late the machine wakes a process that only sleeps: so much of an emit call is the machine's.
            hiccup = max(hiccup, time.monotonic() - due)
    return {"slowest": slowest, "hiccup": hiccup, "took": time.monotonic() - began}

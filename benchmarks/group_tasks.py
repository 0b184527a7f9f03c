"""The tasks of the group benchmark: with Petiole, or with `BENCHMARKS_PLAIN` set, by Celery alone."""

from __future__ import annotations

import os

from celery import Celery

from petiole import init_celery

URL = os.environ["CELERY_BROKER_URL"]
celery_app = Celery("benchmarks-groups", broker=URL, backend=URL.replace("/0", "/1"))
if not os.environ.get("BENCHMARKS_PLAIN"):
    init_celery(celery_app)


@celery_app.task  # type: ignore[untyped-decorator]
def nothing(_: int) -> None:
    """Do nothing."""

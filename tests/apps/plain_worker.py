"""A worker of the integration tests' queue without Petiole."""

from __future__ import annotations

import os

from celery import Celery, Task

BROKER = os.environ["CELERY_BROKER_URL"]
NAMES = "tests.apps.worker_app"

celery_app = Celery("plain", broker=BROKER, backend=BROKER)
celery_app.conf.broker_connection_retry_on_startup = True


@celery_app.task(name=f"{NAMES}.silent")
def silent() -> str:
    return "done by a plain worker"


@celery_app.task(name=f"{NAMES}.raise_unexpected")
def raise_unexpected() -> None:
    raise ValueError("the password is swordfish")


@celery_app.task(name=f"{NAMES}.fail_twice", bind=True)
def fail_twice(self: Task) -> str:
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return "retried by a plain worker"

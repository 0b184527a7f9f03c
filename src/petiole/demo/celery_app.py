"""The demo's Celery application, for worker and web. The broker is `CELERY_BROKER_URL`."""

from __future__ import annotations

import os

from celery import Celery

from petiole import init_celery
from petiole.settings import is_amqp

celery_app = Celery("petiole-demo", include=["petiole.exports.task"])
celery_app.conf.update(
    broker_connection_retry_on_startup=True,
    result_backend=os.environ.get("CELERY_RESULT_BACKEND", os.environ.get("CELERY_BROKER_URL")),
    # A quorum queue persists messages and counts deliveries; Redis has no queue types.
    task_default_queue_type="quorum" if is_amqp(os.environ.get("CELERY_BROKER_URL", "")) else "classic",
    task_track_started=False,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=True,
)
init_celery(celery_app)

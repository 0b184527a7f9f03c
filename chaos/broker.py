"""Celery's broker in a fault run, for both worker and web processes."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from petiole.settings import is_amqp


def make_celery(name: str) -> Celery:
    """Return an application on the broker that `CELERY_BROKER_URL` names."""
    url = os.environ["CELERY_BROKER_URL"]
    # The result backend, for the ends of tasks on workers without Petiole; other workers report them themselves.
    app = Celery(
        name, broker=url, backend=os.environ["CELERY_RESULT_BACKEND"] if os.environ.get("CHAOS_PLAIN") else None
    )
    options: dict[str, Any] = (
        {}
        if is_amqp(url)
        else {
            "visibility_timeout": float(os.environ.get("CHAOS_VISIBILITY", "3600")),
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
        }
    )
    app.conf.update(
        broker_connection_retry_on_startup=True,
        worker_prefetch_multiplier=1,
        task_default_queue_type="quorum" if is_amqp(url) else "classic",
        broker_transport_options=options,
    )
    return app

"""The worker: one line reports its progress."""

import os
import time

from celery import Celery

from petiole import init_celery, track

BROKER_URL = os.environ.get("BROKER_URL", "redis://127.0.0.1:6379/0")

celery_app = Celery("article", broker=BROKER_URL)
init_celery(celery_app)


@celery_app.task
def export(steps=20, pause=0.1):
    for _ in track(range(steps), unit="steps"):
        time.sleep(pause)
    return "Your export is ready."

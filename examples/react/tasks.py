import time

from celery import Celery
from petiole import init_celery, progress, track

celery_app = Celery("tasks", broker="redis://127.0.0.1:6379/0")
init_celery(celery_app)


@celery_app.task
def count(total):
    for number in track(range(total), unit="steps"):
        time.sleep(0.005)
        if number % 100 == 0:
            progress.write(f"{number}\n")

"""Tasks that are hard cases for a page."""

from __future__ import annotations

import time
from pathlib import Path

from celery import Celery, Task

from petiole import TaskFailure, init_celery, progress
from tests.browser.hostile import HOSTILE, MANUSCRIPT

celery_app = Celery("browser-tests")  # the broker is in CELERY_BROKER_URL
celery_app.conf.update(broker_connection_retry_on_startup=True, worker_prefetch_multiplier=1)
init_celery(celery_app)


@celery_app.task
def speak_markup(how: str) -> None:
    """Report markup in every text, and end with it."""
    progress.stage(HOSTILE, total=10, unit=HOSTILE)
    progress.log(HOSTILE, level="warning")
    progress.log(f"{HOSTILE}\nsecond line")
    progress.emit(HOSTILE, {HOSTILE: [HOSTILE]})
    progress.advance(5)
    if how == "fail":
        raise TaskFailure(HOSTILE)
    progress.artifact(HOSTILE, url="/files/a.csv" if how == "file" else "javascript:alert(1)", size=1500)


@celery_app.task
def hear_nothing() -> None:
    """Make no progress call for longer than any test waits."""
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        time.sleep(0.1)


@celery_app.task(bind=True, max_retries=1)
def fail_once(self: Task) -> None:
    """Fail, retry after some seconds, and succeed."""
    progress.stage("Copying", total=100, unit="files")
    progress.advance(40)
    if self.request.retries == 0:
        raise self.retry(exc=ConnectionError("swordfish"), countdown=4)
    progress.advance(60)


@celery_app.task
def count_without_a_total(seconds: float) -> None:
    """Count with an unknown total, until cancelled or for so long."""
    progress.stage("Looking", unit="files")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        progress.advance(1)
        time.sleep(0.02)


@celery_app.task
def talk(lines: int) -> None:
    """Log so many lines."""
    for number in range(1, lines + 1):
        progress.log(f"line {number}")


@celery_app.task
def draw_thumbnail(number: int, key: str) -> None:
    """Draw a picture. Every tenth can't be drawn before there is a file of this name."""
    if number % 10 == 0 and not Path(key).exists():
        raise TaskFailure("The picture is locked. Unlock it, then start it again.")


@celery_app.task
def write_manuscript(times: int, pause: float) -> None:
    """Write a hostile text character by character, so many times."""
    for _ in range(times):
        for character in MANUSCRIPT:
            progress.write(character)
        progress.write("a line of the log\n", "build_log")
        time.sleep(pause)


@celery_app.task
def write_lines(lines: int, per_second: float) -> None:
    """Write numbered lines."""
    for number in range(1, lines + 1):
        progress.write(f"line {number}\n")
        time.sleep(1 / per_second)


@celery_app.task(bind=True, max_retries=1)
def write_again(self: Task) -> None:
    """Write half an answer, fail, and write a whole one in the next run."""
    if self.request.retries == 0:
        progress.write("half an ans")
        raise self.retry(exc=ConnectionError("swordfish"), countdown=2)
    progress.write("An answer.")

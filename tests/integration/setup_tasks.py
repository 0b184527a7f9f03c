"""More tasks of the integration tests' Celery application: what the pools and the ways to set Celery up are tried with."""

from __future__ import annotations

from celery import Task, shared_task

from petiole import progress
from tests.integration.worker_app import wait_at

NAMES = "tests.integration.worker_app"


@shared_task(name=f"{NAMES}.say_name")
def say_name(name: str, total: int, gate: str) -> str:
    """Log its own name over and over; wait at the gate in the middle."""
    for number in range(total):
        if number == total // 2:
            progress.log(f"{name} waits")
            wait_at(gate)
        progress.log(f"{name} {number}")
        progress.advance()
    return name


@shared_task(name=f"{NAMES}.overrun_softly", bind=True, soft_time_limit=1)
def overrun_softly(self: Task, gate: str) -> None:
    wait_at(gate)

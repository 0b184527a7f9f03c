"""More tasks of the integration tests' Celery application, for the pools and the ways to set up Celery."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
from celery import Task, chain, chord, group, shared_task
from celery.exceptions import Ignore, SoftTimeLimitExceeded
from celery_progress.backend import ProgressRecorder

from petiole import progress, track
from petiole.tqdm import tqdm, trange
from tests.apps.worker_app import wait_at

NAMES = "tests.apps.worker_app"


@shared_task(name=f"{NAMES}.say_name")
def say_name(name: str, total: int, gate: str) -> str:
    """Log its own name repeatedly; wait at the gate in the middle."""
    for number in range(total):
        if number == total // 2:
            progress.log(f"{name} waits")
            wait_at(gate)
        progress.log(f"{name} {number}")
        progress.advance()
    return name


@shared_task(name=f"{NAMES}.overrun_softly", soft_time_limit=1)
def overrun_softly(gate: str, clean_up: bool) -> str:
    try:
        wait_at(gate)
    except SoftTimeLimitExceeded:
        if not clean_up:
            raise
        progress.log("put away")
    return "in time"


@shared_task(name=f"{NAMES}.count_acknowledged_late", acks_late=True, ignore_result=True)
def count_acknowledged_late(total: int) -> int:
    for number in range(total):
        progress.log(f"item {number}")
    return total


@shared_task(name=f"{NAMES}.count_late_at_gate", acks_late=True)
def count_late_at_gate(total: int, gate: str) -> int:
    for number in range(total):
        if number == total // 2 and not Path(gate).exists():
            wait_at(gate)
        progress.log(f"item {number}")
        progress.advance()
    return total


@shared_task(
    name=f"{NAMES}.fail_by_itself",
    bind=True,
    autoretry_for=(ConnectionError,),
    retry_backoff=1,
    retry_jitter=False,
)
def fail_by_itself(self: Task) -> str:
    if self.request.retries < 1:
        raise ConnectionError("swordfish")
    return f"attempt {self.request.retries}"


@shared_task(name=f"{NAMES}.fail_too_often", autoretry_for=(ConnectionError,), max_retries=1, default_retry_delay=0)
def fail_too_often() -> None:
    raise ConnectionError("swordfish")


@shared_task(name=f"{NAMES}.who_runs")
def who_runs(total: int) -> int:
    for number in range(total):
        progress.log(f"item {number}")
    return os.getpid()


@shared_task(name=f"{NAMES}.double", progress=True)
def double(number: int) -> int:
    progress.log(f"doubling {number}")
    return 2 * number


@shared_task(name=f"{NAMES}.add_up", progress=True)
def add_up(numbers: list[int]) -> int:
    return sum(numbers)


@shared_task(name=f"{NAMES}.unfollowed", progress=False)
def unfollowed(number: int) -> int:
    return number


@shared_task(name=f"{NAMES}.start_a_chain")
def start_a_chain() -> list[str]:
    """Return the ids of three links, the first link first."""
    last = chain(double.s(1), double.s(), double.s()).delay()
    return [last.parent.parent.id, last.parent.id, last.id]


@shared_task(name=f"{NAMES}.start_a_group")
def start_a_group() -> list[str]:
    return [result.id for result in group(double.s(number) for number in range(3)).delay().results]


@shared_task(name=f"{NAMES}.start_a_chord")
def start_a_chord() -> list[str]:
    """Return the ids of two members and of the callback."""
    callback = chord([double.s(1), double.s(2)])(add_up.s())
    return [*(result.id for result in callback.parent.results), callback.id]


@shared_task(name=f"{NAMES}.be_replaced", bind=True)
def be_replaced(self: Task, number: int) -> None:
    progress.log("handing over")
    raise self.replace(unfollowed.s(number))


@shared_task(name=f"{NAMES}.start_three")
def start_three() -> list[str]:
    """Start a task without options, one with `progress=False`, and one of Celery's own."""
    cleanup = double.app.tasks["celery.backend_cleanup"]
    return [say_nothing.delay().id, unfollowed.delay(1).id, cleanup.delay().id]


@shared_task(name=f"{NAMES}.say_nothing")
def say_nothing() -> str:
    return "done"


@shared_task(name=f"{NAMES}.record", bind=True)
def record(self: Task, total: int, gate: str) -> int:
    """The example of celery-progress, unchanged."""
    recorder = ProgressRecorder(self)
    for number in range(total):
        recorder.set_progress(number + 1, total, description=f"row {number + 1}")
        if number + 1 == total // 2:
            wait_without_petiole(gate)
    return total


@shared_task(name=f"{NAMES}.record_until_cancelled", bind=True)
def record_until_cancelled(self: Task, deadline: float) -> None:
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        self.update_state(state="PROGRESS", meta={"current": 5, "total": 10})
        time.sleep(0.05)


@shared_task(name=f"{NAMES}.say_anything_by_state", bind=True)
def say_anything_by_state(self: Task) -> str:
    metas: tuple[Any, ...] = (None, "half", [1], {"rows": 5}, {"current": "x"}, {"percent": float("inf")})
    for meta in metas:
        self.update_state(state="PROGRESS", meta=meta)
    self.update_state(state="PARSING", meta={"progress": 0.75, "message": "Parsing"})
    return "done"


@shared_task(name=f"{NAMES}.say_by_state_in_a_thread", bind=True)
def say_by_state_in_a_thread(self: Task) -> str:
    task_id = self.request.id

    def work() -> None:
        self.update_state(task_id=task_id, state="PROGRESS", meta={"current": 3, "total": 10})

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    # Another task's id, with characters that can't be part of a page's URL.
    self.update_state(task_id="import:7/2", state="PROGRESS", meta={"current": 4, "total": 10})
    return "done"


@shared_task(name=f"{NAMES}.fail_by_state", bind=True)
def fail_by_state(self: Task) -> None:
    self.update_state(state="FAILURE", meta={"exc_type": "ValueError", "exc_message": "swordfish", "exc_module": "x"})
    raise Ignore


class Unmeasured:
    """Three items without a length, as from a lazy query or a data loader."""

    def __len__(self) -> int:
        raise NotImplementedError

    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


@shared_task(name=f"{NAMES}.loop_in_every_way")
def loop_in_every_way() -> Any:
    for number in track(range(10**20)):
        if number == 3:
            break
    list(track(Unmeasured()))
    list(tqdm(Unmeasured()))
    left = tqdm(total=4, desc="Left open")
    left.update(4)
    for _ in track(range(10), description="Outer"):
        list(track(range(5)))
        list(tqdm(range(5)))
    list(track(range(4)))
    progress.artifact("a.csv", url="/a", rows=numpy.int64(5))
    return {"id": 2**60}


@shared_task(name=f"{NAMES}.loop_with_tqdm")
def loop_with_tqdm(total: int) -> int:
    tqdm.write("begun")
    for _ in tqdm(range(total), desc="Rows", unit="rows"):
        for _ in trange(2):
            pass
    return total


def wait_without_petiole(gate: str) -> None:
    deadline = time.monotonic() + 60
    while not Path(gate).exists() and time.monotonic() < deadline:
        time.sleep(0.01)

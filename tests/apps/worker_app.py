"""The Celery application of the integration tests. A task that a test watches while it runs waits at a gate."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from celery import Celery, Task
from celery.exceptions import Ignore, Reject

from petiole import TaskFailure, init_celery, progress, track
from tests.apps.tokens import tokens_of

BROKER = os.environ["CELERY_BROKER_URL"]
# With Sentinels as broker, kombu gets the master's name apart from the URL.
sentinel = {"master_name": os.environ["BROKER_MASTER"]} if "BROKER_MASTER" in os.environ else {}

celery_app = Celery("integration", broker=BROKER, backend=os.environ.get("CELERY_RESULT_BACKEND", BROKER))
celery_app.conf.update(
    broker_connection_retry_on_startup=True,
    # Otherwise a task that ends while its result backend has no master is a failure to Celery.
    result_backend_always_retry=bool(sentinel),
    broker_transport_options={
        "visibility_timeout": float(os.environ.get("VISIBILITY_TIMEOUT", "3600")),
        # Look for abandoned messages every second, not every hundred.
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        **sentinel,
    },
    result_backend_transport_options=sentinel,
    task_default_queue_type=os.environ.get("QUEUE_TYPE", "classic"),
    worker_prefetch_multiplier=1,
    worker_soft_shutdown_timeout=float(os.environ.get("SOFT_SHUTDOWN", "0")),
)
init_celery(celery_app)

GATE_DEADLINE = 60.0


def wait_at(gate: str) -> None:
    """Wait until the test has created the file `gate`; notice a cancel meanwhile."""
    deadline = time.monotonic() + GATE_DEADLINE
    while not Path(gate).exists():
        progress.update()
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody opened {gate}")
        time.sleep(0.01)


@celery_app.task
def count(total: int, gates: dict[str, str] | None = None) -> int:
    """Log one line per item; before item n wait at gate n."""
    progress.stage("Counting", total=total, unit="items")
    for number in range(total):
        if gates and str(number) in gates:
            wait_at(gates[str(number)])
        progress.log(f"item {number}")
        progress.advance()
    return total


@celery_app.task
def answer(total: int, gates: dict[str, str] | None = None, pause: float = 0.0) -> int:
    """Write so many tokens, `pause` seconds after each; before token n wait at gate n."""
    for number, _ in enumerate(progress.stream(tokens_of(total))):
        if gates and str(number) in gates:
            wait_at(gates[str(number)])
        if number % 1000 == 0:
            progress.log(f"token {number}")
        time.sleep(pause)
    return total


@celery_app.task
def run_coroutines(coroutines: int, gate: str) -> None:
    """Log a line in each of so many coroutines, which then wait at the gate."""

    async def work(number: int) -> None:
        progress.log(f"coroutine {number}")
        progress.advance()
        while not Path(gate).exists():
            progress.update()
            await asyncio.sleep(0.01)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(coroutines):
                group.create_task(work(number))

    progress.stage("Fan out", total=coroutines)
    asyncio.run(main())


@celery_app.task
def count_slowly(total: int) -> int:
    """Log a line every 0.1 s."""
    for number in range(total):
        time.sleep(0.1)
        progress.log(f"item {number}")
        progress.advance()
    return total


@celery_app.task(acks_late=True, reject_on_worker_lost=True)
def count_late(total: int, gates: dict[str, str], file: str) -> int:
    """Like `count`, acknowledged late; writes its run into a file at the end, if it may."""
    for number in range(total):
        if str(number) in gates:
            wait_at(gates[str(number)])
        progress.log(f"item {number}")
        progress.advance()
    progress.confirm()
    with open(file, "a") as output:
        output.write("published\n")
    return total


@celery_app.task(acks_late=True, reject_on_worker_lost=True)
def kill_its_worker(file: str) -> None:
    with open(file, "a") as output:
        output.write("run\n")
    os._exit(1)


@celery_app.task(rerun_on_loss=True)
def count_again(total: int, gates: dict[str, str]) -> int:
    """Like `count`, and sent again if its worker is lost."""
    for number in range(total):
        if str(number) in gates and not Path(gates[str(number)]).exists():
            wait_at(gates[str(number)])
        progress.log(f"item {number}")
        progress.advance()
    return total


@celery_app.task
def hear_nothing(file: str, gate: str) -> None:
    """Log which process runs it, then nothing more until the gate is open."""
    Path(file).write_text(str(os.getpid()))
    deadline = time.monotonic() + GATE_DEADLINE
    while not Path(gate).exists() and time.monotonic() < deadline:
        time.sleep(0.01)


@celery_app.task
def time_its_calls(total: int, gate: str) -> dict[str, float]:
    """Work for 10 ms per line, from the gate on; return the total time, and the time of its progress calls."""
    wait_at(gate)
    began, in_calls, slowest = time.perf_counter(), 0.0, 0.0
    for number in range(total):
        time.sleep(0.01)
        before = time.perf_counter()
        progress.log(f"item {number}")
        progress.update(completed=number + 1)
        took = time.perf_counter() - before
        in_calls += took
        slowest = max(slowest, took)
    return {"elapsed": time.perf_counter() - began, "in_calls": in_calls, "slowest": slowest}


@celery_app.task
def count_quickly(total: int) -> int:
    return sum(1 for _ in track(range(total), unit="items", description="Counting"))


@celery_app.task(progress=True)
def child(total: int) -> int:
    return sum(1 for _ in track(range(total), unit="items"))


@celery_app.task
def start_a_child(total: int) -> str:
    return str(child.delay(total).id)


@celery_app.task
def write_texts(total: int) -> None:
    """Write two texts, piece by piece."""
    for number in range(total):
        progress.write(f"{number} 漢 ")
        if number % 10 == 0:
            progress.write(f"line {number}\n", "log")


@celery_app.task
def silent() -> str:
    return "done"


@celery_app.task
def raise_unexpected() -> None:
    raise ValueError("the password is swordfish")


@celery_app.task
def raise_explained() -> None:
    raise TaskFailure("The database is being repaired. Try again after noon.")


@celery_app.task
def return_unserialisable() -> Any:
    return object()


@celery_app.task(ignore_result=True)
def return_unserialisable_but_ignored() -> Any:
    return object()


@celery_app.task(bind=True, max_retries=3)
def fail_twice(self: Task) -> str:
    if self.request.retries < 2:
        raise self.retry(exc=ConnectionError("swordfish"), countdown=0)
    return f"attempt {self.request.retries}"


@celery_app.task
def end_itself(how: str) -> None:
    if how == "ignore":
        raise Ignore
    if how == "reject":
        raise Reject("no", requeue=False)
    os._exit(1)


@celery_app.task
def say_anything() -> None:
    progress.emit("set", {1, 2, 3})
    progress.emit("object", object())
    progress.emit("nan", float("nan"))
    progress.emit("large", [2**53 + 1, int("9" * 120)])
    progress.emit("too large", "x" * 10_000)
    progress.emit("hostile", "</script><img src=x onerror=alert(1)> \u202e \x00 😀 ' \" \\")
    progress.log("x" * 10_000)


@celery_app.task
def say_much(count: int, size: int) -> None:
    for number in range(count):
        progress.emit("much", {"number": number, "text": "x" * size})


@celery_app.task(time_limit=1)
def overrun(gate: str) -> None:
    while not Path(gate).exists():
        time.sleep(0.01)


import tests.apps.delivery_tasks  # noqa: E402
import tests.apps.forking_tasks  # noqa: E402
import tests.apps.group_tasks  # noqa: E402
import tests.apps.setup_tasks  # noqa: E402, F401 (more tasks of this application)

"""Tasks that are parts of groups: each writes a line into a file when its call begins."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from celery import Task, chain, chord, group, shared_task
from celery.exceptions import Ignore, Reject

from petiole import TaskFailure, progress
from tests.apps.delivery_tasks import note

NAMES = "tests.apps.worker_app"
DEADLINE = 60.0


def wait_for(gate: str) -> None:
    """Wait until the test has created the file `gate`; says nothing meanwhile."""
    deadline = time.monotonic() + DEADLINE
    while not Path(gate).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody opened {gate}")
        time.sleep(0.01)


@shared_task(name=f"{NAMES}.part")
def part(name: str, file: str) -> str:
    note(file, name)
    return name


@shared_task(name=f"{NAMES}.part_after")
def part_after(before: Any, name: str, file: str) -> str:
    note(file, f"{name} after {before}")
    return name


@shared_task(name=f"{NAMES}.failing_part")
def failing_part(name: str, file: str, gate: str = "") -> str:
    """Fail until the gate is open; without a gate always."""
    note(file, name)
    if not gate or not Path(gate).exists():
        raise TaskFailure(f"{name} has failed.")
    return name


@shared_task(name=f"{NAMES}.waiting_part", bind=True)
def waiting_part(self: Task, name: str, file: str, gate: str) -> str:
    """Wait at a gate, and notice a cancel meanwhile."""
    note(file, name)
    progress.stage("Waiting", total=2)
    progress.advance()
    deadline = time.monotonic() + DEADLINE
    while not Path(gate).exists():
        progress.update()
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody opened {gate}")
        time.sleep(0.01)
    return name


@shared_task(name=f"{NAMES}.deaf_part")
def deaf_part(name: str, file: str, gate: str) -> str:
    """Wait at a gate, without any progress call."""
    note(file, name)
    wait_for(gate)
    return name


@shared_task(name=f"{NAMES}.ending_part", bind=True, max_retries=5)
def ending_part(self: Task, name: str, file: str, how: str) -> str:
    """End in another way than by a result."""
    note(file, f"{name} {self.request.retries}")
    if how == "ignore":
        raise Ignore
    if how == "reject":
        raise Reject("no", requeue=False)
    if how == "retry" and self.request.retries < 2:
        raise self.retry(countdown=0.1)
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return name


@shared_task(name=f"{NAMES}.dying_late_part", acks_late=True, reject_on_worker_lost=True)
def dying_late_part(name: str, file: str) -> str:
    """Be killed the first time."""
    runs = Path(file).read_text().splitlines().count(name) if Path(file).exists() else 0
    note(file, name)
    if runs == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return name


@shared_task(name=f"{NAMES}.late_part", acks_late=True, reject_on_worker_lost=True)
def late_part(name: str, file: str, gate: str) -> str:
    """Wait at a gate; acknowledged late."""
    note(file, name)
    wait_for(gate)
    return name


@shared_task(name=f"{NAMES}.followed_part", progress=True)
def followed_part(name: str, file: str) -> str:
    note(file, name)
    progress.log("a line")
    return name


@shared_task(name=f"{NAMES}.replaced_part", bind=True)
def replaced_part(self: Task, name: str, file: str, by: str) -> None:
    """Be replaced by a task, a chain, a group, or a chord with a member that fails."""
    note(file, f"{name} replaced")
    canvases = {
        "task": lambda: part.s(name, file),
        "chain": lambda: chain(part.s(f"{name} first", file), part_after.s(name, file)),
        "group": lambda: group(part.s(f"{name} {number}", file) for number in range(3)),
        "failing": lambda: chord([failing_part.s(f"{name} failing", file)], part_after.s(name, file)),
    }
    raise self.replace(canvases[by]())


@shared_task(name=f"{NAMES}.collect")
def collect(results: Any, file: str, fails: bool = False) -> Any:
    note(file, f"body {len(results)}")
    if fails:
        raise TaskFailure("The body has failed.")
    return results


@shared_task(name=f"{NAMES}.errback")
def errback(*_: Any, file: str) -> None:
    note(file, "errback")


@shared_task(name=f"{NAMES}.add")
def add(left: int, right: int) -> int:
    return left + right


@shared_task(name=f"{NAMES}.slow_part")
def slow_part(name: str, file: str, pause: float) -> str:
    time.sleep(pause)
    note(file, name)
    return name


@shared_task(name=f"{NAMES}.dying_part")
def dying_part(name: str, file: str, gate: str) -> str:
    """Be killed until the gate is open."""
    note(file, name)
    if not Path(gate).exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return name


@shared_task(name=f"{NAMES}.fan_out")
def fan_out(kind: str, file: str) -> str:
    """Publish a canvas, and return the id by which Celery knows its result."""
    names = [f"{number}" for number in range(5)]
    followed = [followed_part.si(name, file) for name in names]
    canvases = {
        "group": lambda: group(followed),
        "chord": lambda: chord(followed, collect.s(file)),
        "chain": lambda: chain(followed),
        "chunks": lambda: followed_part.chunks([(name, file) for name in names], 2),
        "undeclared": lambda: group(part.si(name, file) for name in names),
        "nested": lambda: chain(followed_part.si("first", file), group(followed), collect.s(file)),
    }
    return str(canvases[kind]().delay().id)


@shared_task(name=f"{NAMES}.fan_out_in_light")
def fan_out_in_light(file: str) -> str:
    """Do the same as a part of a group that has no feed of its own."""
    return fan_out("group", file)

"""The tasks that the benchmarks run: the same events, emitted by each of the rivals.

`time.monotonic_ns` is the same clock for all processes of a machine, so an event's stamp is the instant of its emit call.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import redis
from celery import Celery, Task
from flask_socketio import SocketIO

from petiole import init_celery, progress

URL = os.environ["CELERY_BROKER_URL"]
celery_app = Celery("benchmarks", broker=URL, backend=URL)
init_celery(celery_app)
emitter = SocketIO(message_queue=URL)
client = redis.Redis.from_url(URL)


@celery_app.task  # type: ignore[untyped-decorator]
def say_petiole(begin_at: float, count: int, interval: float, busy: bool, room: str) -> None:
    """Emit through Petiole; its browser watches the task's own feed."""
    steadily(lambda number: progress.emit("progress", data(number, room)), begin_at, count, interval, busy)


@celery_app.task  # type: ignore[untyped-decorator]
def say_plain(begin_at: float, count: int, interval: float, busy: bool, room: str) -> None:
    """Emit by the plain pattern."""
    steadily(lambda number: emitter.emit("task_progress", data(number, room), to=room), begin_at, count, interval, busy)


@celery_app.task  # type: ignore[untyped-decorator]
def say_floor(begin_at: float, count: int, interval: float, busy: bool, room: str) -> None:
    """Publish, and nothing else."""
    steadily(
        lambda number: client.publish(
            room, f'42["task_progress",{{"progress":{number},"stamp":{time.monotonic_ns()}}}]'
        ),
        *(begin_at, count, interval, busy),
    )


@celery_app.task(bind=True)  # type: ignore[untyped-decorator]
def say_polled(self: Task, begin_at: float, count: int, interval: float, busy: bool, room: str) -> None:
    """Keep the newest state in the result backend, for pages that poll."""
    steadily(
        lambda number: self.update_state(state="PROGRESS", meta=data(number, room)), begin_at, count, interval, busy
    )


def data(number: int, room: str) -> dict[str, object]:
    return {"progress": number, "task_id": room, "stamp": time.monotonic_ns()}


def steadily(say: Callable[[int], object], begin_at: float, count: int, interval: float, busy: bool) -> None:
    """Emit every `interval` seconds from the instant `begin_at` on; wait or compute in between."""
    for number in range(count):
        due = begin_at + number * interval
        while time.monotonic() < due:
            if busy and number:
                sum(range(1000))
            else:
                time.sleep(max(due - time.monotonic(), 0.0))
        say(number)

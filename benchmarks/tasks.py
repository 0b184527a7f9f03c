"""The tasks that the benchmarks run: the same events, emitted by each of the rivals.

`time.monotonic_ns` is the same clock for all processes of a machine, so an event's stamp is the instant of its emit call.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

import redis
from celery import Celery, Task
from flask_socketio import SocketIO

from benchmarks.tokens import TOKEN
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


@celery_app.task  # type: ignore[untyped-decorator]
def write_petiole(begin_at: float, count: int, interval: float, busy: bool, room: str) -> None:
    """Write a token at a time; a token has no stamp, so the instants are kept apart."""
    instants: list[int] = []

    def write(_: int) -> None:
        instants.append(time.monotonic_ns())
        progress.write(TOKEN)

    steadily(write, begin_at, count, interval, busy)
    client.set(f"instants:{room}", json.dumps(instants))


@celery_app.task  # type: ignore[untyped-decorator]
def write_plain(begin_at: float, count: int, interval: float, busy: bool, room: str) -> None:
    """Emit each token by the plain pattern."""
    steadily(
        lambda _: emitter.emit("token", {"token": TOKEN, "stamp": time.monotonic_ns()}, to=room),
        *(begin_at, count, interval, busy),
    )


@celery_app.task  # type: ignore[untyped-decorator]
def begin_petiole(begin_at: float, interval: float, text_first: bool, room: str) -> None:
    """Say a first fact and write a first chunk, one of them `interval` seconds before the other."""

    def write() -> None:
        instant = time.monotonic_ns()
        progress.write(TOKEN)
        client.set(f"instants:{room}", json.dumps([instant]))

    def say() -> None:
        progress.emit("progress", data(0, room))

    say_both = (write, say) if text_first else (say, write)
    steadily(lambda number: say_both[number](), begin_at, 2, interval, False)


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

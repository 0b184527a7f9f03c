"""A Celery application with one other package, which `NEIGHBOUR` names.

Run as a script it starts a task, as a web process does.
"""

from __future__ import annotations

import os
import sys
from typing import Any

NEIGHBOUR = os.environ["NEIGHBOUR"]
BROKER = os.environ["CELERY_BROKER_URL"]
STARTED = "neighbours:started"

if NEIGHBOUR == "ddtrace":
    import ddtrace.auto  # noqa: F401 (it wants to be the first)

import redis  # noqa: E402
from celery import Celery, Task, signals  # noqa: E402

from petiole import init_celery, progress, track  # noqa: E402

celery_app = Celery("neighbours", broker=BROKER, backend=BROKER)
celery_app.conf.broker_connection_retry_on_startup = True
base: Any = Task
options: dict[str, Any] = {}

match NEIGHBOUR:
    case "sentry":
        import sentry_sdk
        from sentry_sdk.integrations.celery import CeleryIntegration

        sentry_sdk.init(
            dsn="http://key@127.0.0.1:1/1",
            integrations=[CeleryIntegration(propagate_traces=True, monitor_beat_tasks=True)],
            traces_sample_rate=1.0,
        )
    case "opentelemetry":
        from opentelemetry import trace
        from opentelemetry.instrumentation.celery import CeleryInstrumentor
        from opentelemetry.sdk.trace import TracerProvider

        trace.set_tracer_provider(TracerProvider())
        CeleryInstrumentor().instrument()

        @signals.worker_process_init.connect(weak=False)
        def instrument(**_: Any) -> None:
            CeleryInstrumentor().instrument()
    case "celery-once":
        from celery_once import QueueOnce

        base, options = QueueOnce, {"once": {"graceful": True}}
        celery_app.conf.ONCE = {
            "backend": "celery_once.backends.Redis",
            "settings": {"url": BROKER, "default_timeout": 60},
        }
    case "celery-singleton":
        from celery_singleton import Singleton

        base = Singleton
    case "redbeat":
        celery_app.conf.update(
            redbeat_redis_url=BROKER,
            beat_max_loop_interval=1,
            beat_schedule={"report": {"task": "report", "schedule": 1.0, "args": [3]}},
        )

init_celery(celery_app)


@celery_app.task(name="report", base=base, progress=True, **options)
def report(rows: int) -> int:
    for row in track(range(rows)):
        progress.log(f"row {row}")
    with redis.Redis.from_url(BROKER) as client:
        client.rpush(STARTED, report.request.id)
    return rows


@celery_app.task(name="retry_once", bind=True, progress=True, max_retries=1, base=base, **options)
def retry_once(self: Task) -> str:
    progress.log(f"run {self.request.retries}")
    if self.request.retries == 0:
        raise self.retry(countdown=0.5)
    return "done"


@celery_app.task(name="fail", progress=True, base=base, **options)
def fail() -> None:
    raise ValueError("the password is swordfish")


if NEIGHBOUR == "celery-batches":
    from celery_batches import Batches

    @celery_app.task(name="together", base=Batches, flush_every=2, flush_interval=0.5, progress=True)
    def together(requests: list[Any]) -> None:
        for request in requests:
            celery_app.backend.mark_as_done(request.id, request.args[0], request=request)


if __name__ == "__main__":
    from petiole import PetioleError
    from petiole.dispatch.tracking import track_app

    task, arguments = sys.argv[1], [int(text) for text in sys.argv[2:]]
    for _ in range(2):
        try:
            print(track_app(celery_app).start(celery_app.tasks[task], arguments, owner="ann").feed, flush=True)
        except PetioleError as error:
            print(error, flush=True)

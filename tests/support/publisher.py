"""An application that publishes for ann, like her own script: on the worker's broker and journal, without its code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery, Task

from petiole import init_celery
from petiole.settings import Settings
from tests.support.system import System

NAMES = "tests.apps.worker_app"


@contextmanager
def publishing(system: System) -> Iterator[Celery]:
    app = Celery("publisher", broker=system.redis_url, backend=system.redis_url, set_as_current=False)
    url = system.environment.get("PETIOLE_JOURNAL_URL", system.redis_url)
    tracking = init_celery(app, Settings(journal_url=url, bus_url=system.redis_url))
    tracking.asking = lambda: "user:ann"
    try:
        yield app
    finally:
        tracking.journal.close()


def stub(app: Celery, name: str, *, base: type[Task] | None = None, **options: Any) -> Task:
    """Declare a task whose code is in the worker; it is followed."""

    def published(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("this is no worker")

    kind = {} if base is None else {"base": base}
    return app.task(name=f"{NAMES}.{name}", progress=True, shared=False, typing=False, **kind, **options)(published)

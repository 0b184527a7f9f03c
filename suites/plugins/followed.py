"""A pytest plugin: Petiole follows every task of Celery's integration suite, as in an application where somebody asks for each.

The suite's worker is embedded in pytest's process, and its pool's children are forked from it. Each test publishes by an
application of its own, which shares the worker's broker: what is published is followed by the worker's application, as if
they were one.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from celery import Celery, signals
from celery.contrib.testing.worker import test_worker_started as worker_started

from petiole.worker.lifecycle import init_celery

ASKING = "somebody"


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
    value = yield
    if fixturedef.argname == "celery_session_app":
        assert isinstance(value, Celery)
        init_celery(value).asking = lambda: ASKING
    return value


def say_ready(consumer: Any, **_: object) -> None:
    # `celery worker` sends this, and the embedded worker doesn't: without it there is no heartbeat.
    signals.worker_ready.send(sender=consumer)


worker_started.connect(say_ready, weak=False)

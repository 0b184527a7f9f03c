"""A pytest plugin: Petiole follows every task of Celery's integration suite, as in an application where each has an owner.

The suite's worker is embedded in pytest's process, and its pool's children are forked from it. Each test publishes through
its own application, which shares the worker's broker: the worker's application follows the published tasks as if the two
were one.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from celery import Celery

from petiole.dispatch.tracking import Tracking
from petiole.worker.lifecycle import init_celery
from petiole.worker.publishing import Publishing

ASKING = "somebody"
WORKERS: list[Tracking] = []


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
    value = yield
    if fixturedef.argname == "celery_session_app":
        assert isinstance(value, Celery)
        WORKERS.append(init_celery(value))
        WORKERS[0].asking = lambda: ASKING
    elif fixturedef.argname == "celery_app" and WORKERS:
        assert isinstance(value, Celery)
        Publishing(WORKERS[0], is_ours=lambda _run: False).connect(value)
    return value

"""Groups with other set-ups: eager, other pools, a journal in a database with RabbitMQ as broker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain, chord, group

from petiole import TaskFailure, Unavailable, init_celery, progress, track
from petiole.dispatch.tracking import Tracking, track_app
from petiole.journal.sql.server import upgrade
from petiole.protocol.events import Document
from petiole.servers.redis import free_port
from petiole.settings import Settings
from tests.support.groups import counts, groups_of
from tests.support.postgres import PostgresServer
from tests.support.rabbitmq import RabbitServer
from tests.support.system import running

_numbers = count()


@pytest.fixture
def eager(redis_url: str) -> Iterator[tuple[Celery, Tracking]]:
    celery_app = Celery(f"eager-{next(_numbers)}", broker=redis_url, backend="cache+memory://", set_as_current=False)
    celery_app.conf.task_always_eager = True
    tracking = init_celery(celery_app, Settings.load({"PETIOLE_JOURNAL_URL": redis_url}))

    @celery_app.task(name="work", shared=False)
    def work(number: int) -> int:
        return sum(1 for _ in track(range(number)))

    @celery_app.task(name="fail", shared=False)
    def fail() -> None:
        progress.log("here")
        raise TaskFailure("Not today.")

    @celery_app.task(name="collect", shared=False)
    def collect(results: Any) -> Any:
        return results

    yield celery_app, tracking
    tracking.journal.close()


def ended(tracking: Tracking, feed: str) -> Document:
    snapshot = tracking.journal.snapshot(feed)
    assert snapshot is not None
    return snapshot.document


@pytest.mark.parametrize("light", [True, False])
def test_an_eager_group_has_ended_when_start_returns(eager: tuple[Celery, Tracking], light: bool) -> None:
    celery_app, tracking = eager
    work, fail, collect = (celery_app.tasks[name] for name in ("work", "fail", "collect"))
    whole = tracking.start(chain(group(work.s(1), work.s(2)), collect.s(), collect.s()), owner="me", light=light)
    assert counts(ended(tracking, whole.feed)) == {"succeeded": 4}
    broken = tracking.start(group(work.s(1), fail.s()), owner="me", light=light)
    document = ended(tracking, broken.feed)
    assert (document["state"], counts(document)) == ("failed", {"succeeded": 1, "failed": 1})


def test_an_eager_group_that_propagates_raises_the_tasks_error_and_ends(eager: tuple[Celery, Tracking]) -> None:
    celery_app, tracking = eager
    celery_app.conf.task_eager_propagates = True
    work, fail = celery_app.tasks["work"], celery_app.tasks["fail"]
    with pytest.raises(TaskFailure):
        tracking.start(group(work.s(1), fail.s(), work.s(2)), owner="me", light=True, task_id="propagates")
    document = ended(tracking, "group:propagates")
    assert (document["state"], counts(document)) == ("failed", {"succeeded": 1, "failed": 1, "cancelled": 1})


@pytest.mark.parametrize("kind", ["group", "chain", "chord"])
def test_a_broker_that_is_away_is_said_in_time_and_leaves_no_group(redis_url: str, kind: str) -> None:
    broker = f"redis://127.0.0.1:{free_port()}/0"
    celery_app = Celery(f"away-{kind}", broker=broker, backend=redis_url, set_as_current=False)
    tracking = track_app(celery_app, Settings.load({"PETIOLE_JOURNAL_URL": redis_url}))
    work = celery_app.signature("work", immutable=True)
    canvases = {"group": group([work] * 100), "chain": chain(work, work), "chord": chord([work] * 100, work)}
    began = time.monotonic()
    with pytest.raises(Unavailable, match="None of them runs"):
        tracking.start(canvases[kind], owner="me", task_id=f"away-{kind}")
    assert time.monotonic() - began < 8
    assert tracking.journal.snapshot(f"group:away-{kind}") is None
    tracking.journal.close()


@pytest.mark.parametrize("pool", ["threads", "solo", "gevent"])
@pytest.mark.parametrize("light", [True, False])
def test_groups_in_other_pools(tmp_path: Path, pool: str, light: bool) -> None:
    with running(tmp_path, pool=pool) as system, groups_of(system, tmp_path / "lines") as groups:
        canvas = chord(
            [*(groups.part(f"{number}") for number in range(4)), groups.part("4", "ending_part", "retry")],
            groups.body(),
        )
        handle = groups.start(canvas, light=light)
        assert counts(groups.wait(handle)) == {"succeeded": 6}
        failing = groups.start(group([groups.part("5", "failing_part"), groups.part("6")]), light=light)
        assert counts(groups.wait(failing)) == {"succeeded": 1, "failed": 1}
        print("\n".join(system.log[-100:]))


def test_groups_with_rabbitmq_and_a_database(
    own_rabbitmq: RabbitServer, own_postgres: PostgresServer, tmp_path: Path
) -> None:
    upgrade(own_postgres.url())
    settings = {
        "CELERY_BROKER_URL": own_rabbitmq.create("groups"),
        "CELERY_RESULT_BACKEND": "cache+memory://",
        "PETIOLE_JOURNAL_URL": own_postgres.url(),
        "QUEUE_TYPE": "quorum",
    }
    with running(tmp_path, settings=settings) as system, groups_of(system, tmp_path / "lines") as groups:
        groups.celery_app.conf.task_default_queue_type = "quorum"
        many = groups.start(group(groups.part(f"{number}") for number in range(100)))
        assert counts(groups.wait(many, timeout=60)) == {"succeeded": 100}
        again = groups.start(
            chain(groups.part("a", "dying_late_part"), groups.part("b", "failing_part"), groups.part("c")), light=False
        )
        assert counts(groups.wait(again, timeout=60)) == {"succeeded": 1, "failed": 1, "skipped": 1}
        assert groups.runs("a") == 2
        print("\n".join(system.log[-100:]))

"""Messages of Celery's older protocol (`task_protocol = 1`): a real worker runs them, and their retries are reported."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker

from petiole import init_celery, progress
from petiole.dispatch.tracking import Tracking
from petiole.protocol.events import task_feed
from petiole.web.background.reaper import Reaper
from tests.conftest import any_redis_binary
from tests.support.redis import RedisServer
from tests.support.waiting import wait_until

COUNTDOWN = 2.5


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracking]:
    """An application with a worker in this process. The reaper gives up tasks without a worker at once."""
    server = RedisServer(any_redis_binary(), tmp_path_factory.mktemp("redis"), append_only=False)
    server.start()
    app = Celery(f"protocol-{uuid.uuid4().hex[:8]}", broker=server.url, set_as_current=False)
    app.conf.update(task_protocol=1, worker_hijack_root_logger=False, petiole_lease=1.0, petiole_lost_after=0.5)

    @app.task(bind=True, name="retry_late", max_retries=1, progress=True, shared=False)
    def retry_late(self):
        progress.log(f"run {self.request.retries}")
        if self.request.retries == 0:
            raise self.retry(countdown=COUNTDOWN)
        return "done"

    tracking = init_celery(app)
    try:
        with start_worker(app, perform_ping_check=False, pool="threads", concurrency=2):
            reaper = Reaper(tracking)
            threading.Thread(target=reaper.run, daemon=True).start()
            yield tracking
            reaper.loop.close()
    finally:
        server.kill()


def document(tracking: Tracking, feed: str) -> dict:
    snapshot = tracking.journal.snapshot(feed)
    return {} if snapshot is None else snapshot.document


@pytest.mark.parametrize("way", ["start", "delay"])
def test_a_late_retry_is_told_and_runs(tracking: Tracking, way: str) -> None:
    task = tracking.celery_app.tasks["retry_late"]
    feed = tracking.start(task, owner="ann").feed if way == "start" else task_feed(task.apply_async().id)
    wait_until(lambda: document(tracking, feed).get("state") == "retrying", timeout=10, what="it reports a retry")
    assert document(tracking, feed)["retry_at"] is not None
    states = set()

    def ended() -> bool:
        states.add(document(tracking, feed)["state"])
        return "succeeded" in states

    wait_until(ended, timeout=15, what="it has run again")
    # It wasn't given up early.
    assert "lost" not in states
    found = document(tracking, feed)
    assert (found["run"], found["retries"], found["result"]) == (2, 1, "done")

"""A followed task with each of them: its page is the same as without, or as docs/worker.md says."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from petiole.dispatch.tracking import Tracking
from petiole.journal.verification import verify
from petiole.protocol.events import task_feed
from petiole.servers.processes import Processes
from petiole.settings import Settings
from petiole.web.background.reaper import Reaper
from tests.conftest import any_redis_binary
from tests.support.redis import RedisServer
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
APP = "tests.neighbours.app"
NEIGHBOURS = ("sentry", "opentelemetry", "ddtrace", "celery-once", "celery-singleton", "celery-batches", "redbeat")
SOON = 20.0


class Neighbourhood:
    """A Redis, a worker with the other package, and the background work of a web process."""

    def __init__(self, name: str, server: RedisServer) -> None:
        self.name, self.server = name, server
        self.environment = {
            **{key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ},
            "NEIGHBOUR": name,
            "CELERY_BROKER_URL": server.url,
            "PYTHONPATH": str(ROOT),
            "PETIOLE_UNHEARD_AFTER": "1",
            "PETIOLE_LOST_AFTER": "1",
            "DD_TRACE_AGENT_URL": "http://127.0.0.1:1",
            "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        }
        self.log: list[str] = []
        self.processes = Processes(lambda process, line: self.log.append(f"{process}: {line}"))
        settings = Settings(journal_url=server.url, unheard_after=1.0, lost_after=1.0)
        self.tracking = Tracking(Celery("web", broker=server.url, backend=server.url, set_as_current=False), settings)

    def run(self, *command: str, ready_line: str | None) -> None:
        program = [sys.executable, "-m", "celery", "--app", APP, *command, "--loglevel", "INFO"]
        process = self.processes.start(
            command[0], program, environment=self.environment, directory=ROOT, ready_line=ready_line
        )
        self.processes.wait_ready(process, timeout=SOON)

    def start(self, task: str, *arguments: int) -> list[str]:
        """Start a task twice, in a process that also has the other package; returns their feeds."""
        command = [sys.executable, "-m", APP, task, *map(str, arguments)]
        done = subprocess.run(
            command, env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        feeds = [line for line in done.stdout.splitlines() if line.startswith("task:")]
        refused = [line for line in done.stdout.splitlines() if "published nothing, so nothing was started" in line]
        # A package that allows one at a time refuses the second while the first is running, or returns the first again.
        assert len(feeds) + len(refused) == 2, done.stdout
        assert self.name == "celery-once" or not refused
        return list(dict.fromkeys(feeds))

    def ended(self, feed: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            snapshot = self.tracking.journal.snapshot(feed)
            over = snapshot is not None and snapshot.document.get("state") in ("succeeded", "failed", "lost")
            return snapshot.document if snapshot is not None and over else None

        found = wait_until(look, timeout=SOON, what=f"{feed} has ended")
        verified = verify(self.tracking.journal, feed)
        assert verified is not None
        assert verified.complete
        return found


@pytest.fixture(scope="module", params=NEIGHBOURS)
def near(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Neighbourhood]:
    server = RedisServer(any_redis_binary(), tmp_path_factory.mktemp("redis"), append_only=False)
    server.start()
    made = Neighbourhood(request.param, server)
    reaper = Reaper(made.tracking)
    threading.Thread(target=reaper.run, daemon=True).start()
    try:
        made.run("worker", "--concurrency", "2", ready_line=" ready.")
        yield made
    finally:
        reaper.loop.close()
        made.processes.stop()
        server.kill()
        print("\n".join(made.log[-60:]))


def test_a_task_is_followed_to_its_receipt(near: Neighbourhood) -> None:
    for feed in near.start("report", 5):
        document = near.ended(feed)
        assert (document["state"], document["result"], document["run"]) == ("succeeded", 5, 1)
        assert document["progress"]["completed"] == 5


def test_a_retry_is_the_next_run(near: Neighbourhood) -> None:
    for feed in near.start("retry_once"):
        document = near.ended(feed)
        if near.name == "celery-singleton":
            # Its own lock prevents the publication of the retry, with or without Petiole.
            assert document["state"] == "lost"
            return
        assert (document["state"], document["result"], document["run"]) == ("succeeded", "done", 2)


def test_a_failure_is_a_neutral_sentence(near: Neighbourhood) -> None:
    for feed in near.start("fail"):
        document = near.ended(feed)
        assert (document["state"], document["reason"]) == (
            "failed",
            "The task stopped on an unexpected error (ValueError).",
        )


def test_a_batch_has_the_end_that_celery_has(near: Neighbourhood) -> None:
    if near.name != "celery-batches":
        return
    for feed in near.start("together", 7):
        document = near.ended(feed)
        assert (document["state"], document["result"]) == ("succeeded", 7)


def test_what_a_schedule_starts_is_nobodys(near: Neighbourhood) -> None:
    if near.name != "redbeat":
        return
    before = near.server.client().llen("neighbours:started")
    near.run("beat", "--scheduler", "redbeat.RedBeatScheduler", ready_line="beat: Starting")
    wait_until(
        lambda: near.server.client().llen("neighbours:started") > before + 1, timeout=SOON, what="it has run twice"
    )
    task_id = near.server.client().lrange("neighbours:started", -1, -1)[0].decode()
    assert near.ended(task_feed(task_id))["state"] == "succeeded"
    snapshot = near.tracking.journal.snapshot(task_feed(task_id))
    assert snapshot is not None
    assert snapshot.owner == "nobody"

"""Starting a task: its own options, eager mode, and configurations that don't meet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from celery import Celery
from flask import Flask
from flask_socketio import SocketIO

from petiole import Petiole, PetioleError, SetupError, TaskFailure, init_celery, progress
from petiole.demo.processes import Processes
from petiole.demo.redis_server import free_port
from petiole.errors import Unavailable
from petiole.settings import Settings
from tests.conftest import redis_binary
from tests.integration.system import start_redis
from tests.services import RedisServer


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    processes = Processes(lambda _name, _line: None)
    port = free_port()
    try:
        start_redis(processes, port, tmp_path_factory.mktemp("redis"))
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        processes.stop()


def make_celery(redis_url: str, name: str) -> Celery:
    return Celery(name, broker=redis_url, set_as_current=False)


def test_a_task_is_published_with_its_own_options(redis_url: str) -> None:
    app = make_celery(redis_url, "options")
    tracking = init_celery(app)

    @app.task(queue="heavy", name="options.work")
    def work() -> None: ...

    tracking.start(work, owner="me")
    tracking.start("options.work", owner="me")
    with redis.Redis.from_url(redis_url) as client:
        assert client.llen("heavy") == 2
        assert client.llen("celery") == 0


def test_a_queue_that_is_asked_for_wins(redis_url: str) -> None:
    app = make_celery(redis_url, "asked")
    tracking = init_celery(app)

    @app.task(queue="slow", name="asked.work")
    def work() -> None: ...

    tracking.start(work, owner="me", queue="fast")
    with redis.Redis.from_url(redis_url) as client:
        assert client.llen("fast") == 1
        assert client.llen("slow") == 0


@pytest.mark.parametrize("known", [True, False], ids=["a task", "a name"])
def test_no_message_goes_out_where_the_journal_takes_the_feed_and_says_nothing(
    redis_url: str, tmp_path: Path, known: bool
) -> None:
    journal = RedisServer(redis_binary("embedded"), tmp_path / "journal")
    journal.start()
    try:
        app = make_celery(redis_url, "silent")
        tracking = init_celery(app, Settings(journal_url=journal.url, journal_timeout=0.5))

        @app.task(queue="silent", name=f"silent.known_{known}")
        def work() -> None: ...

        task = work if known else "silent.unknown"
        tracking.start(task, owner="me", queue="silent")  # so that there is a connection that stands
        journal.pause()
        with pytest.raises(Unavailable):
            tracking.start(task, owner="me", queue="silent")
        with redis.Redis.from_url(redis_url) as client:
            assert client.llen("silent") == 1
            client.delete("silent")
    finally:
        journal.resume()
        journal.kill()


def test_an_eager_task_is_tracked_to_its_end(redis_url: str) -> None:
    app = make_celery(redis_url, "eager")
    app.conf.task_always_eager = True
    tracking = init_celery(app)

    @app.task(name="eager.work")
    def work(fail: bool) -> str:
        progress.log("here")
        if fail:
            raise TaskFailure("Not today.")
        return "done"

    good, bad = tracking.start(work, [False], owner="me"), tracking.start(work, [True], owner="me")
    finished = tracking.journal.snapshot(good.feed)
    failed = tracking.journal.snapshot(bad.feed)
    assert finished is not None
    assert failed is not None
    assert (finished.document["state"], finished.document["result"]) == ("succeeded", "done")
    assert (failed.document["state"], failed.document["reason"]) == ("failed", "Not today.")


def test_an_eager_task_whose_code_is_not_here_is_refused(redis_url: str) -> None:
    app = make_celery(redis_url, "absent")
    app.conf.task_always_eager = True
    tracking = init_celery(app)
    with pytest.raises(PetioleError, match="its code isn't here"):
        tracking.start("absent.work", owner="me")
    assert tracking.journal.list("me-absent", limit=5) == ([], None)


def test_different_settings_for_flask_and_celery_are_refused(redis_url: str) -> None:
    celery_app = make_celery(redis_url, "apart")
    init_celery(celery_app)
    flask_app = Flask("apart")
    flask_app.secret_key = "apart"
    flask_app.config["PETIOLE_KEY_PREFIX"] = "mine"
    with pytest.raises(SetupError, match="PETIOLE_KEY_PREFIX is set differently for Flask and for Celery"):
        Petiole(flask_app, SocketIO(flask_app), celery_app=celery_app)


def test_a_worker_that_makes_its_flask_application_is_tracked_in_either_order(redis_url: str, tmp_path: Path) -> None:
    for number, order in enumerate(("flask first", "celery first")):
        celery_app = make_celery(redis_url, f"order{number}")
        flask_app = Flask(order)
        flask_app.secret_key = "order"
        if order == "celery first":
            init_celery(celery_app)
        Petiole(flask_app, SocketIO(flask_app), celery_app=celery_app)
        tracking = init_celery(celery_app)
        assert tracking.connected
        assert flask_app.extensions["petiole"].tracking is tracking


def test_delay_in_a_request_is_the_askers_if_the_task_says_so(redis_url: str) -> None:
    celery_app = make_celery(redis_url, "delay")
    init_celery(celery_app)
    flask_app = Flask("delay")
    flask_app.testing = True
    flask_app.secret_key = "delay"
    petiole = Petiole(flask_app, SocketIO(flask_app, async_mode="threading"), celery_app=celery_app)
    petiole.identify(lambda: "ann")

    # Celery would give a shared task to every application of the process, and those of the other tests are tracked too.
    @celery_app.task(progress=True, name="delay.live", shared=False)
    def live() -> None: ...

    @celery_app.task(name="delay.plain", shared=False)
    def plain() -> None: ...

    with flask_app.test_request_context():
        followed, ignored = live.delay(), plain.delay()
        snapshot = petiole.journal.snapshot(f"task:{followed.id}")
        assert petiole.journal.snapshot(f"task:{ignored.id}") is None
    outside = live.delay()
    nobodys = celery_app.petiole.journal.snapshot(f"task:{outside.id}")
    assert snapshot is not None
    assert (snapshot.owner, snapshot.document["state"]) == ("user:ann", "queued")
    assert nobodys is not None
    assert nobodys.owner == "nobody"

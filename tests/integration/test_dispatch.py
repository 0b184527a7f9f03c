"""Starting a task: its own options, eager mode, and configurations that don't match."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery, Task, shared_task
from celery import _state as celery_state
from flask import Flask
from flask_socketio import SocketIO
from kombu.exceptions import EncodeError, OperationalError

from petiole import Petiole, PetioleError, SetupError, TaskFailure, init_celery, progress
from petiole.dispatch.tracking import Tracking
from petiole.errors import Unavailable
from petiole.settings import Settings
from tests.conftest import redis_binary
from tests.support.redis import RedisServer


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
        tracking.start(task, owner="me", queue="silent")  # so that a connection is open
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


def eager_celery(redis_url: str, name: str, **conf: Any) -> tuple[Celery, Tracking]:
    app = make_celery(redis_url, name)
    app.conf.update(task_always_eager=True, **conf)
    return app, init_celery(app)


@pytest.mark.parametrize("error", [ValueError("swordfish"), OSError("swordfish"), TypeError("swordfish")], ids=repr)
def test_an_eager_task_that_propagates_has_failed_and_raises_its_own_error(redis_url: str, error: Exception) -> None:
    app, tracking = eager_celery(redis_url, "propagates", task_eager_propagates=True)

    @app.task(name="propagates.work", shared=False)
    def work() -> None:
        progress.log("here")
        raise error

    owner = f"me-{type(error).__name__}"
    with pytest.raises(type(error)) as raised:
        tracking.start(work, owner=owner)
    assert raised.value is error
    ((found,), _) = tracking.journal.list(owner, limit=5)
    assert found.document["state"] == "failed"
    assert found.document["error"]["type"] == type(error).__name__
    assert "swordfish" not in str(found.document)
    assert not tracking.journal.heads([found.feed])[found.feed].lease_left


def test_an_eager_task_that_propagates_and_fails_in_its_own_words_has_failed_in_them(redis_url: str) -> None:
    app, tracking = eager_celery(redis_url, "words", task_eager_propagates=True)

    @app.task(name="words.work", shared=False)
    def work() -> None:
        raise TaskFailure("Not today.")

    with pytest.raises(TaskFailure):
        tracking.start(work, owner="me-words")
    ((found,), _) = tracking.journal.list("me-words", limit=5)
    assert (found.document["state"], found.document["reason"]) == ("failed", "Not today.")


@pytest.mark.parametrize("propagates", [True, False])
def test_an_eager_task_whose_arguments_do_not_fit_leaves_no_page(redis_url: str, propagates: bool) -> None:
    app, tracking = eager_celery(redis_url, "fit", task_eager_propagates=propagates)

    @app.task(name="fit.work", shared=False)
    def work(number: int) -> None: ...

    with pytest.raises(PetioleError, match="can't be sent"):
        tracking.start(work, [1, 2], owner="me-fit")
    assert tracking.journal.list("me-fit", limit=5) == ([], None)


def test_an_eager_retry_is_the_next_run(redis_url: str) -> None:
    app, tracking = eager_celery(redis_url, "eager-retry")

    @app.task(name="eager-retry.work", bind=True, shared=False)
    def work(self: Task) -> str:
        progress.log(f"attempt {self.request.retries}")
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return "done"

    handle = tracking.start(work, owner="me")
    found = tracking.journal.snapshot(handle.feed)
    assert found is not None
    assert (found.document["state"], found.document["run"], found.document["result"]) == ("succeeded", 3, "done")


def test_an_eager_task_keeps_its_lease_for_as_long_as_it_runs(redis_url: str) -> None:
    app = make_celery(redis_url, "long")
    app.conf.update(task_always_eager=True, petiole_lease=0.5, petiole_heartbeat=0.1, petiole_key_prefix="long")
    tracking = init_celery(app)

    @app.task(name="long.work", bind=True, shared=False)
    def work(self: Task) -> None:
        feed = f"task:{self.request.id}"
        ends = [tracking.journal.heads([feed])[feed].lease_left]
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            ends.append(tracking.journal.heads([feed])[feed].lease_left)
            time.sleep(0.02)
        assert min(ends) > 0

    found = tracking.journal.snapshot(tracking.start(work, owner="me").feed)
    assert found is not None
    assert found.document["state"] == "succeeded"


def test_an_eager_task_whose_code_is_not_here_is_refused(redis_url: str) -> None:
    app = make_celery(redis_url, "absent")
    app.conf.task_always_eager = True
    tracking = init_celery(app)
    with pytest.raises(PetioleError, match="its code isn't imported"):
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

    # Celery would register a shared task with every application of the process, and those of other tests are tracked too.
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


def do_nothing() -> None: ...


def take(value: Any) -> Any:
    return value


def add_up(first: int, second: int) -> int:
    return first + second


class AlreadyQueued(Exception):
    """Like celery-once's error."""


class Once(Task):
    abstract = True

    def apply_async(self, *_: Any, **__: Any) -> Any:
        raise AlreadyQueued


class Singleton(Task):
    """Like celery-singleton: it returns the result of the running task, and publishes nothing."""

    abstract = True
    held = ""

    def apply_async(self, *args: Any, **options: Any) -> Any:
        return self.AsyncResult(self.held) if self.held else super().apply_async(*args, **options)


class Silent(Task):
    abstract = True

    def apply_async(self, *_: Any, **__: Any) -> Any:
        return None


def test_a_publish_that_a_class_refuses_raises_its_error_and_leaves_no_page(redis_url: str) -> None:
    tracking = init_celery(app := make_celery(redis_url, "once"))
    task = app.task(name="once.work", base=Once, shared=False)(do_nothing)
    with pytest.raises(AlreadyQueued):
        tracking.start(task, owner="me-once")
    assert tracking.journal.list("me-once", limit=5) == ([], None)


def test_a_publish_that_publishes_nothing_is_refused_and_leaves_no_page(redis_url: str) -> None:
    tracking = init_celery(app := make_celery(redis_url, "nothing"))
    task = app.task(name="nothing.work", base=Silent, shared=False)(do_nothing)
    with pytest.raises(PetioleError, match="published nothing, so nothing was started"):
        tracking.start(task, owner="me-nothing")
    assert tracking.journal.list("me-nothing", limit=5) == ([], None)


def test_a_publish_that_names_a_task_that_is_under_way_returns_that_to_its_owner_only(redis_url: str) -> None:
    tracking = init_celery(app := make_celery(redis_url, "singleton"))
    task = app.task(name="singleton.work", base=Singleton, shared=False, queue="singleton")(do_nothing)
    first = tracking.start(task, owner="ann-single")
    task.held = first.id
    assert tracking.start(task, owner="ann-single").id == first.id
    assert len(tracking.journal.list("ann-single", limit=5)[0]) == 1
    with pytest.raises(PetioleError, match="nothing was started"):
        tracking.start(task, owner="bob-single")
    assert tracking.journal.list("bob-single", limit=5) == ([], None)


def test_what_is_no_task_is_refused_with_a_sentence(redis_url: str) -> None:
    tracking = init_celery(make_celery(redis_url, "canvas"))
    with pytest.raises(PetioleError, match="isn't a task"):
        tracking.start(len, owner="me-canvas")
    assert tracking.journal.list("me-canvas", limit=5) == ([], None)


def test_delay_that_can_not_be_sent_leaves_no_page(redis_url: str) -> None:
    tracking = init_celery(app := make_celery(redis_url, "unsent"))
    tracking.asking = lambda: "me-unsent"
    task = app.task(name="unsent.work", progress=True, shared=False)(take)
    with pytest.raises(EncodeError):
        task.delay(object())
    assert tracking.journal.list("me-unsent", limit=5) == ([], None)


def test_delay_without_a_broker_leaves_no_page_and_what_comes_late_never_runs(redis_url: str) -> None:
    app = Celery("unbrokered", broker="redis://127.0.0.1:1/0", set_as_current=False)
    tracking = init_celery(app, Settings(journal_url=redis_url))
    tracking.asking = lambda: "me-unbrokered"
    task = app.task(name="unbrokered.work", progress=True, shared=False)(do_nothing)
    with pytest.raises(OperationalError):
        task.apply_async(task_id="unbrokered", retry=False)
    assert tracking.journal.list("me-unbrokered", limit=5) == ([], None)
    assert tracking.journal.snapshot("task:unbrokered") is None


def test_delay_that_can_not_be_sent_leaves_the_page_of_the_task_that_has_the_id(redis_url: str) -> None:
    tracking = init_celery(app := make_celery(redis_url, "kept"))
    tracking.asking = lambda: "me-kept"
    task = app.task(name="kept.work", progress=True, shared=False, queue="kept")(take)
    task.apply_async((1,), task_id="kept")
    before = tracking.journal.snapshot("task:kept")
    with pytest.raises(EncodeError):
        task.apply_async((object(),), task_id="kept")
    assert tracking.journal.snapshot("task:kept") == before
    assert tracking.journal.heads(["task:kept"])["task:kept"].waits


def make_flask(name: str, celery_app: Celery) -> tuple[Flask, Petiole]:
    app = Flask(name)
    app.testing = True
    app.secret_key = name
    petiole = Petiole(app, SocketIO(app, async_mode="threading"), celery_app=celery_app)
    petiole.identify(lambda: f"ann at {name}")
    return app, petiole


def owner_of(petiole: Petiole, task_id: str) -> str | None:
    snapshot = petiole.journal.snapshot(f"task:{task_id}")
    return None if snapshot is None else snapshot.owner


def test_two_flask_applications_on_one_celery_application_each_know_who_asks(redis_url: str) -> None:
    celery_app = make_celery(redis_url, "one for two")
    init_celery(celery_app)
    task = celery_app.task(name="two.live", progress=True, shared=False)(do_nothing)
    for app, petiole in [make_flask("first", celery_app), make_flask("second", celery_app)]:
        with app.test_request_context():
            assert owner_of(petiole, task.delay().id) == f"user:ann at {app.name}"


@shared_task(name="shared.live", progress=True)
def shared_live() -> None: ...


def test_an_application_that_is_made_twice_knows_who_asks_in_each(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The `create_app()` of Flask's documentation on Celery: each call creates a Celery application, the last the default."""
    # An application that an earlier test has made current would take precedence over the default.
    monkeypatch.setattr(celery_state._tls, "current_app", None)
    made = []
    before = celery_state.default_app
    try:
        for number in range(2):
            celery_app = Celery(f"made {number}", broker=redis_url, set_as_current=False)
            celery_app.set_default()
            init_celery(celery_app)
            made.append((*make_flask(f"made {number}", celery_app), celery_app))
        for app, petiole, celery_app in made:
            with app.test_request_context():
                asked = f"user:ann at {app.name}"
                # By the default application, and by this one.
                assert owner_of(petiole, shared_live.delay().id) == asked
                assert owner_of(petiole, celery_app.tasks["shared.live"].delay().id) == asked
    finally:
        celery_state.set_default_app(before)


def test_a_shared_task_is_followed_once_and_where_it_is_published(redis_url: str) -> None:
    apps = [make_celery(redis_url, f"shared {number}") for number in range(2)]
    journals = []
    for number, app in enumerate(apps):
        app.conf.update(petiole_key_prefix=f"shared{number}")
        tracking = init_celery(app)
        tracking.asking = lambda number=number: f"user:{number}"
        journals.append(tracking.journal)
    for number, app in enumerate(apps):
        feed = f"task:{app.tasks['shared.live'].delay().id}"
        found = [journal.snapshot(feed) for journal in journals]
        assert [snapshot is not None for snapshot in found] == [number == 0, number == 1]
        assert found[number].owner == f"user:{number}"

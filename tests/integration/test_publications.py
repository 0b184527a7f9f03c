"""A task that is published again runs again; a redelivered message doesn't. On Redis, and with the journal in a database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import socketio
from celery import Celery

from petiole.client import TaskView
from petiole.journal.sql.server import upgrade
from petiole.servers.redis import free_port
from tests.support.publisher import NAMES, publishing, stub
from tests.support.system import System, running
from tests.support.waiting import wait_until


@pytest.fixture(scope="module", params=["redis", "sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    directory = tmp_path_factory.mktemp("publications")
    settings = {"PETIOLE_LEASE": "3", "PETIOLE_HEARTBEAT": "1", "VISIBILITY_TIMEOUT": "3"}
    if request.param == "sqlite":
        settings["PETIOLE_JOURNAL_URL"] = f"sqlite:///{directory}/journal.sqlite"
    elif request.param == "postgresql":
        settings["PETIOLE_JOURNAL_URL"] = request.getfixturevalue("postgres_server").create("publications")
    if "PETIOLE_JOURNAL_URL" in settings:
        upgrade(settings["PETIOLE_JOURNAL_URL"])
    port = free_port()
    settings |= {"WEB_RESULT_BACKEND": f"redis://127.0.0.1:{port}/0", "PETIOLE_UNHEARD_AFTER": "2"}
    with running(directory, settings=settings, redis_port=port) as system:
        yield system


@pytest.fixture
def system(shared: System) -> Iterator[System]:
    began = len(shared.log)
    yield shared
    while shared.clients:
        shared.clients.pop().close()
    print("\n".join(shared.log[began:][-200:]))


@pytest.fixture
def publisher(system: System) -> Iterator[Celery]:
    with publishing(system) as app:
        for name in ("sync_account", "publish_itself_again"):
            stub(app, name)
        yield app


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def ended(system: System, task_id: str, *, after: str = "") -> TaskView:
    """Follow a task to an end in another epoch than `after`."""
    view = system.client("ann").watch(f"task:{task_id}")
    view.wait_until(lambda _: str(view.cursor).split(".")[0] != after, timeout=20)
    view.wait(timeout=20)
    return view


def epoch_of(view: TaskView) -> str:
    return str(view.cursor).split(".")[0]


def test_an_id_that_is_published_again_runs_again(system: System, publisher: Celery, tmp_path: Path) -> None:
    task, file, epoch = publisher.tasks[f"{NAMES}.sync_account"], tmp_path / "runs", ""
    for time in (1, 2, 3):
        result = task.apply_async((str(file),), task_id=f"sync-{tmp_path.name}")
        # Celery's own record is that of the first execution until the next has ended.
        wait_until(lambda time=time: len(lines(file)) == time, what=f"it runs for the {time}. time")
        view = ended(system, result.id, after=epoch)
        assert (view.document["state"], view.document["result"]) == ("succeeded", time)
        # A new reading: a page that joined while the feed began again was told so (`reset`).
        events = system.session("ann").get(f"{system.url}/petiole/tasks/{result.id}/events", timeout=5).json()["events"]
        assert [event["data"]["message"] for event in events if event["kind"] == "log"] == [f"run {time}"]
        epoch = epoch_of(view)


@contextmanager
def watching(system: System, person: str, feed: str) -> Iterator[socketio.SimpleClient]:
    """A page that keeps watching after the end."""
    socket = socketio.SimpleClient()
    socket.connect(system.url, namespace="/petiole", headers={"X-Person": person}, transports=["websocket"])
    try:
        assert socket.call("watch", {"feed": feed}, timeout=5)["document"]["state"] == "succeeded"
        yield socket
    finally:
        socket.disconnect()


def test_who_watches_is_reset_when_the_task_begins_again(system: System, publisher: Celery, tmp_path: Path) -> None:
    task, file = publisher.tasks[f"{NAMES}.sync_account"], tmp_path / "runs"
    result = task.apply_async((str(file),), task_id=f"watched-{tmp_path.name}")
    before = epoch_of(ended(system, result.id))
    with watching(system, "ann", f"task:{result.id}") as socket:
        task.apply_async((str(file),), task_id=result.id)
        name, reading = socket.receive(timeout=10)
        assert name == "reset"
        assert reading["cursor"].split(".")[0] != before
        document = reading["document"]
        while document.get("result") != 2:
            name, told = socket.receive(timeout=10)
            document |= {**told["patch"], "run": told["run"]} if name == "event" else told["document"]
    assert document["run"] == 2


def test_two_messages_of_one_id_that_wait_both_run_one_after_the_other(
    system: System, publisher: Celery, tmp_path: Path
) -> None:
    task, file = publisher.tasks[f"{NAMES}.sync_account"], tmp_path / "runs"
    for _ in range(2):
        task.apply_async((str(file),), task_id=f"twice-{tmp_path.name}")
    wait_until(lambda: len(lines(file)) == 2, what="both have run", timeout=30)


def test_a_task_that_publishes_itself_again_under_its_id_runs_each_time(
    system: System, publisher: Celery, tmp_path: Path
) -> None:
    file = tmp_path / "runs"
    result = publisher.tasks[f"{NAMES}.publish_itself_again"].apply_async((str(file),))
    wait_until(lambda: len(lines(file)) == 3, what="it has run three times", timeout=40)
    view = system.client("ann").watch(f"task:{result.id}")
    view.wait_until(lambda document: document.get("result") == 3, timeout=20)


def test_the_last_link_of_a_chain_that_replaces_a_task_runs(system: System, tmp_path: Path) -> None:
    file = tmp_path / "lines"
    view = system.client("ann").start("/start/be_replaced_by_a_chain", {"args": [str(file)]})
    document = view.wait(timeout=30)
    assert (document["state"], document["result"], document["run"]) == ("succeeded", 3, 2)
    assert view.receipt.complete
    assert lines(file) == ["line"] * 3
    result = Celery("reader", backend=system.redis_url).AsyncResult(view.feed.removeprefix("task:"))
    assert result.get(timeout=10) == 3


def test_a_chain_that_replaces_a_task_and_breaks_is_the_end_of_both(system: System, tmp_path: Path) -> None:
    view = system.client("ann").start("/start/be_replaced_by_a_broken_chain", {"args": [str(tmp_path / "lines")]})
    document = view.wait(timeout=30)
    assert (document["state"], "swordfish" in str(document)) == ("failed", False)
    assert view.receipt.complete


def test_a_group_that_replaces_a_task_ends_its_page(system: System, tmp_path: Path) -> None:
    view = system.client("ann").start("/start/be_replaced_by_a_group", {"args": [str(tmp_path / "lines")]})
    document = view.wait(timeout=30)
    assert (document["state"], document["result"]) == ("succeeded", [1, 2])


def test_the_body_of_a_chord_that_replaces_a_task_runs(system: System, tmp_path: Path) -> None:
    file = tmp_path / "lines"
    view = system.client("ann").start("/start/be_replaced_by_a_chord", {"args": [str(file)]})
    document = view.wait(timeout=30)
    assert (document["state"], document["result"], document["run"]) == ("succeeded", 3, 2)
    assert view.receipt.complete
    assert lines(file)[-1] == "body"


def stored_message(system: System, publisher: Celery, file: Path, task_id: str, **kwargs: Any) -> bytes:
    """Publish into a queue without consumers, and take the message out of it."""
    publisher.tasks[f"{NAMES}.sync_account"].apply_async((str(file),), kwargs, task_id=task_id, queue=f"held-{task_id}")
    with system.redis() as client:
        (message,) = client.lrange(f"held-{task_id}", 0, -1)
        client.delete(f"held-{task_id}")
    return message


def delivered(system: System, message: bytes, *, again: bool = False) -> None:
    """Put a message into the queue, as a broker delivers it the first time, or again."""
    body = json.loads(message)
    body["properties"]["delivery_info"]["routing_key"] = "celery"
    if again:
        body["headers"]["redelivered"] = body["properties"]["delivery_info"]["redelivered"] = True
    with system.redis() as client:
        client.lpush("celery", json.dumps(body))


def said_of(system: System, text: str, task_id: str) -> int:
    return sum(text in line and task_id in line for line in system.log)


def ignored(system: System, task_id: str, times: int) -> None:
    wait_until(lambda: said_of(system, "ignored", task_id) == times, what=f"{times} deliveries were ignored")


def test_a_late_redelivery_never_runs_also_after_the_id_was_used_again(
    system: System, publisher: Celery, tmp_path: Path
) -> None:
    file, task_id = tmp_path / "runs", f"late-{tmp_path.name}"
    first = stored_message(system, publisher, file, task_id)
    delivered(system, first)
    before = epoch_of(ended(system, task_id))
    delivered(system, first, again=True)
    ignored(system, task_id, 1)
    publisher.tasks[f"{NAMES}.sync_account"].apply_async((str(file),), task_id=task_id)
    assert ended(system, task_id, after=before).document["result"] == 2
    delivered(system, first, again=True)
    ignored(system, task_id, 2)
    assert lines(file) == ["run", "run"]


@pytest.mark.parametrize(("fails", "runs"), [(False, 1), (True, 2)])
def test_an_operators_replay_runs_what_has_failed_and_no_success(
    system: System, publisher: Celery, tmp_path: Path, fails: bool, runs: int
) -> None:
    file, task_id = tmp_path / "runs", f"replayed-{tmp_path.name}"
    message = stored_message(system, publisher, file, task_id, fails=fails)
    delivered(system, message)
    ended(system, task_id)
    delivered(system, message, again=True)
    ignored(system, task_id, 1)
    delivered(system, message)
    wait_until(
        lambda: said_of(system, "ignored", task_id) + len(lines(file)) == 3, what="the replay was answered", timeout=20
    )
    assert len(lines(file)) == runs


def test_a_retry_that_waits_longer_than_the_visibility_timeout_runs_once(system: System, tmp_path: Path) -> None:
    file = tmp_path / "attempts"
    began = system.log_size()
    view = system.client("ann").start("/start/retry_late", {"args": [str(file), 8]})
    document = view.wait(timeout=60)
    assert (document["state"], document["result"], document["run"]) == ("succeeded", "attempt 2", 3)
    assert lines(file) == ["attempt 0", "attempt 1", "attempt 2"]
    # The test is about redelivery, so wait for the redelivery.
    received = [line for line in system.log[began:] if "retry_late" in line and "received" in line]
    assert len(received) > 3, received


def test_who_watches_a_task_whose_id_another_person_uses_again_sees_nothing_of_theirs(
    system: System, publisher: Celery, tmp_path: Path
) -> None:
    task, task_id = publisher.tasks[f"{NAMES}.sync_account"], f"anothers-{tmp_path.name}"
    task.apply_async((str(tmp_path / "ann"),), task_id=task_id)
    ended(system, task_id)
    with watching(system, "ann", f"task:{task_id}") as socket:
        publisher.petiole.asking = lambda: "user:bob"
        task.apply_async((str(tmp_path / "bob"),), task_id=task_id)
        bob = system.client("bob").watch(f"task:{task_id}")
        bob.wait_until(lambda document: document.get("result") == 1, timeout=20)
        name, told = socket.receive(timeout=10)
        assert (name, told["error"]["status"]) == ("refused", 404)
        with pytest.raises(socketio.exceptions.TimeoutError):
            socket.receive(timeout=3)

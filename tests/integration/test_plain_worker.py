"""The most common mistake in a fleet: a worker of the same queue without Petiole."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from petiole.journal.sql.server import upgrade
from petiole.protocol.events import Event
from petiole.servers.redis import free_port
from petiole.web.background.reaper import UNHEARD
from tests.support.system import READY, ROOT, System, running, start_worker
from tests.support.waiting import wait_until


@pytest.fixture(scope="module", params=["redis", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system whose own worker consumes another queue, and a plain worker that consumes the default one."""
    directory, port = tmp_path_factory.mktemp("plain"), free_port()
    settings = {"PETIOLE_UNHEARD_AFTER": "1", "PETIOLE_LEASE": "3"}
    if request.param == "postgresql":
        settings["PETIOLE_JOURNAL_URL"] = request.getfixturevalue("postgres_server").create("plain")
        upgrade(settings["PETIOLE_JOURNAL_URL"])
    settings["WEB_RESULT_BACKEND"] = f"redis://127.0.0.1:{port}/0"
    with running(directory, settings=settings, workers=0, redis_port=port) as system:
        yield system


@pytest.fixture
def system(shared: System) -> Iterator[System]:
    began = len(shared.log)
    yield shared
    while shared.clients:
        shared.clients.pop().close()
    print("\n".join(shared.log[began:][-200:]))


def start_plain_worker(system: System) -> None:
    command = ("-m", "celery", "-A", "tests.apps.plain_worker", "worker", "--pool", "solo", "--loglevel", "INFO")
    worker = system.processes.start(
        "plain",
        [sys.executable, *command, "--hostname", "plain@%h"],
        environment=system.environment,
        directory=ROOT,
        ready_line=" ready.",
    )
    system.processes.wait_ready(worker, timeout=READY)


def test_a_page_says_that_nobody_may_have_taken_its_task_and_has_the_end_that_celery_has(system: System) -> None:
    client = system.client("ann")
    heard: list[Event] = []
    view = client.start("/start/silent", {}, on_event=heard.append)
    failing, retrying = client.start("/start/raise_unexpected", {}), client.start("/start/fail_twice", {})
    for waiting in (view, failing, retrying):
        waiting.wait_until(lambda document: document.get("unheard") == UNHEARD, timeout=20)
        assert waiting.document["state"] == "queued"
    start_plain_worker(system)
    document = view.wait(timeout=20)
    assert (document["state"], document["result"]) == ("succeeded", "done by a plain worker")
    assert "unheard" not in document
    assert failing.wait(timeout=20)["state"] == "failed"
    assert "swordfish" not in str(failing.document)
    assert retrying.wait(timeout=20)["result"] == "retried by a plain worker"
    # Reported once, however long it takes.
    assert [event.data["message"] for event in heard if event.kind == "log"] == [UNHEARD]
    assert view.receipt.complete


def test_a_worker_that_comes_late_takes_that_back(system: System) -> None:
    view = system.client("ann").start("/start/silent", {"queue": "late"})
    view.wait_until(lambda document: document.get("unheard") == UNHEARD, timeout=20)
    # It was checked several times meanwhile, which isn't an event.
    wait_until(lambda: view.cursor.seq > 3, what="it was checked again", timeout=20)
    worker = start_worker(system.processes, system.environment, name="late", options=("--queues", "late"))
    system.processes.wait_ready(worker, timeout=READY)
    document = view.wait(timeout=20)
    assert (document["state"], document["result"], document["run"]) == ("succeeded", "done", 1)
    assert "unheard" not in document

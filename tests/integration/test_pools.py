"""The promises to a task's page hold in every pool of Celery."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery

from petiole.client import TaskView
from petiole.protocol.events import Event
from tests.support.system import System, running
from tests.support.waiting import wait_until

POOLS = ("prefork", "threads", "gevent", "solo")


def only(*pools: str) -> pytest.MarkDecorator:
    """Run a test in these pools instead of all."""
    return pytest.mark.parametrize("any_pool", pools, indirect=True, scope="module")


@pytest.fixture(scope="module", params=POOLS)
def any_pool(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    if request.param == "prefork":
        yield request.getfixturevalue("shared_system")
        return
    with running(tmp_path_factory.mktemp(request.param), pool=request.param) as system:
        yield system


@pytest.fixture
def system(any_pool: System) -> Iterator[System]:
    began = len(any_pool.log)
    yield any_pool
    while any_pool.clients:
        any_pool.clients.pop().close()
    print("\n".join(any_pool.log[began:][-200:]))


def completed(view: TaskView, number: int) -> None:
    view.wait_until(lambda document: (document.get("progress") or {}).get("completed") == number, timeout=15)


def test_every_fact_arrives_in_order_once(system: System) -> None:
    events: list[Event] = []
    view = system.client("ann").start("/start/count", {"args": [100]}, on_event=events.append)
    document = view.wait(timeout=20)
    assert (document["state"], document["result"]) == ("succeeded", 100)
    assert [event.data["message"] for event in events if event.kind == "log"] == [f"item {n}" for n in range(100)]
    assert [event.facts for event in events if event.is_fact] == list(range(2, view.receipt.facts + 1))
    assert view.receipt.complete


def test_cancel_reaches_the_running_task(system: System) -> None:
    view = system.client("ann").start("/start/count", {"args": [10, {"5": str(system.gate("never"))}]})
    completed(view, 5)
    view.cancel()
    assert view.wait(timeout=10)["state"] == "cancelled"
    assert view.receipt.complete


@only("prefork", "threads", "gevent")
def test_two_tasks_at_once_do_not_mix(system: System) -> None:
    client, gate = system.client("ann"), system.gate("both")
    lines: dict[str, list[str]] = {"one": [], "two": []}

    def keep(name: str) -> TaskView:
        def note(event: Event) -> None:
            if event.kind == "log":
                lines[name].append(event.data["message"])

        return client.start("/start/say_name", {"args": [name, 40, str(gate)]}, on_event=note)

    views = {name: keep(name) for name in lines}
    for name, view in views.items():
        view.wait_until(lambda _, name=name: f"{name} waits" in lines[name], timeout=15)
    gate.touch()
    for name, view in views.items():
        assert view.wait(timeout=20)["result"] == name
        assert view.receipt.complete
        assert [line for line in lines[name] if not line.endswith("waits")] == [f"{name} {n}" for n in range(40)]
        assert len(lines[name]) == 41


def test_a_task_of_coroutines_is_followed_and_a_cancel_ends_all_of_them(system: System) -> None:
    client, events = system.client("ann"), list[Event]()
    view = client.start("/start/run_coroutines", {"args": [10, str(system.gate("never"))]}, on_event=events.append)
    completed(view, 10)
    view.cancel()
    assert view.wait(timeout=15)["state"] == "cancelled"
    assert view.receipt.complete
    lines = [event.data["message"] for event in events if event.kind == "log"]
    assert lines == [f"coroutine {number}" for number in range(10)]
    # A group of errors that are no `Exception` would end the worker's process.
    assert client.start("/start/silent", {}).wait(timeout=15)["state"] == "succeeded"


def test_an_error_is_a_failure_and_the_worker_goes_on(system: System) -> None:
    client = system.client("ann")
    document = client.start("/start/raise_unexpected", {}).wait(timeout=15)
    assert document["state"] == "failed"
    assert document["reason"] == "The task stopped on an unexpected error (ValueError)."
    assert client.start("/start/silent", {}).wait(timeout=15)["state"] == "succeeded"


def test_a_retry_is_the_next_run_of_the_same_feed(system: System) -> None:
    states: list[tuple[str, int]] = []

    def note(event: Event) -> None:
        if "state" in event.patch:
            states.append((event.patch["state"], event.run))

    view = system.client("ann").start("/start/fail_twice", {}, on_event=note)
    assert view.wait(timeout=20)["result"] == "attempt 2"
    assert [run for state, run in states if state == "retrying"] == [1, 2]
    assert states[-1] == ("succeeded", 3)
    assert view.receipt.complete


@only("gevent")
def test_a_hard_time_limit_is_spoken_for(system: System) -> None:
    document = system.client("ann").start("/start/overrun", {"args": [str(system.gate("overrun"))]}).wait(timeout=20)
    assert document["state"] == "failed"
    assert document["reason"] == "The task exceeded its time limit and was stopped."


@only("gevent")
def test_a_task_that_is_revoked_with_terminate_is_cancelled(system: System) -> None:
    view = system.client("ann").start("/start/count", {"args": [10, {"5": str(system.gate("never"))}]})
    completed(view, 5)
    control = Celery("control", broker=system.redis_url).control
    control.revoke(view.feed.removeprefix("task:"), terminate=True)
    assert view.wait(timeout=15)["state"] == "cancelled"
    assert view.receipt.complete


@only("threads", "gevent", "solo")
def test_a_pool_that_cannot_end_one_task_says_so_instead_of_forcing_it(system: System) -> None:
    file, gate = system.directory / "pid", system.gate("silent")
    view = system.client("ann").start("/start/hear_nothing", {"args": [str(file), str(gate)]})
    view.wait_until(lambda document: document["state"] == "running", timeout=15)
    view.cancel()
    session = system.session("ann")
    answer = session.post(f"{system.url}/petiole/tasks/{view.feed[5:]}/cancel", json={"force": True}, timeout=5)
    assert answer.status_code == 409
    assert "can't terminate a single task" in answer.json()["detail"]
    gate.touch()
    # It never noticed the cancel, so it was faster.
    assert view.wait(timeout=15)["state"] == "succeeded"


# Other tests need the session's prefork worker; test_shutdown.py stops its own.
@only("threads", "gevent", "solo")
def test_a_warm_shutdown_waits_for_the_task_and_loses_nothing(system: System) -> None:
    gate = system.gate("warm")
    view = system.client("ann").start("/start/count", {"args": [20, {"10": str(gate)}]})
    completed(view, 10)
    system.worker.popen.terminate()
    wait_until(lambda: system.said("Warm shutdown"), what="the worker has noticed")
    gate.touch()
    assert view.wait(timeout=20)["state"] == "succeeded"
    assert view.receipt.complete
    assert system.worker.popen.wait(20) == 0
    system.processes.forget(system.worker)

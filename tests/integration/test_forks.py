"""A task that starts processes and threads: its own events are all kept, and theirs are either the task's or refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from petiole.protocol.events import Event
from tests.apps.forking_tasks import CHILDREN, SAID_BY_EACH, WAYS
from tests.support.system import System, running
from tests.support.waiting import wait_until

REFUSED = "so its counts are lost"


@pytest.fixture(scope="module")
def threads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running(tmp_path_factory.mktemp("threads"), pool="threads") as system:
        yield system


def logged(events: list[Event]) -> list[str]:
    return [event.data["message"] for event in events if event.kind == "log"]


@pytest.mark.parametrize("way", ["os.fork", "billiard", "fork", "executor, fork"])
def test_a_task_that_forks_loses_nothing_and_its_children_are_refused_loudly(system: System, way: str) -> None:
    fork_and_speak(system, way)


@pytest.mark.parametrize("way", [way for way in WAYS if way != "billiard"])
def test_a_task_in_a_thread_that_forks_loses_nothing(threads: System, way: str) -> None:
    fork_and_speak(threads, way)


def fork_and_speak(system: System, way: str) -> None:
    children = CHILDREN if "spawn" not in way and "forkserver" not in way else 2
    began = system.log_size()
    events: list[Event] = []
    view = system.client("ann").start("/start/fork_and_speak", {"args": [way, children]}, on_event=events.append)
    document = view.wait(timeout=60)
    assert (document["state"], document["result"]) == ("succeeded", [7] * children)
    assert logged(events) == [
        *(f"{child}.{number}" for child in range(children) for number in range(SAID_BY_EACH)),
        "all have ended",
    ]
    assert document["progress"]["completed"] == children * SAID_BY_EACH
    assert view.receipt.complete
    wait_until(
        lambda: sum(REFUSED in line for line in system.log[began:]) == children, what="each child was refused, once"
    )


def test_the_processes_of_joblib_are_refused_once_each_and_the_task_loses_nothing(threads: System) -> None:
    began = threads.log_size()
    events: list[Event] = []
    view = threads.client("ann").start("/start/speak_by_joblib", {"args": ["loky"]}, on_event=events.append)
    document = view.wait(timeout=60)
    processes = set(document["result"])
    assert "own" not in processes
    assert logged(events) == ["before", *(f"result {number}" for number in range(CHILDREN))]
    assert document["progress"]["completed"] == CHILDREN
    assert view.receipt.complete
    refused = len(processes)
    wait_until(
        lambda: sum(REFUSED in line for line in threads.log[began:]) == refused, what="each process was refused, once"
    )


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_joblib_starts_no_process_in_a_prefork_pool_so_each_of_its_calls_speaks_for_the_task(
    system: System, backend: str
) -> None:
    events: list[Event] = []
    view = system.client("ann").start("/start/speak_by_joblib", {"args": [backend]}, on_event=events.append)
    assert set(view.wait(timeout=60)["result"]) == {"own"}
    said = [line for line in logged(events) if line.startswith("call")]
    assert said == [f"call {call} {number}" for call in range(CHILDREN) for number in range(SAID_BY_EACH)]
    assert view.receipt.complete


def test_a_child_can_start_a_task_that_is_the_same_persons(system: System, tmp_path: Path) -> None:
    file = tmp_path / "runs"
    view = system.client("ann").start("/start/fork_and_start", {"args": [str(file)]})
    assert view.wait(timeout=20)["result"] == 7
    assert view.receipt.complete
    wait_until(file.exists, what="the child's task ran")
    tasks = system.session("ann").get(f"{system.url}/petiole/tasks", timeout=5).json()["tasks"]
    assert tasks[0]["document"]["task"].endswith("sync_account")


@pytest.mark.parametrize("wrapped", [True, False])
def test_threads_speak_for_the_task_if_it_hands_itself_over_and_else_that_is_said_once(
    system: System, wrapped: bool
) -> None:
    began = system.log_size()
    events: list[Event] = []
    view = system.client("ann").start("/start/speak_from_threads", {"args": [wrapped]}, on_event=events.append)
    document = view.wait(timeout=20)
    assert (document["state"], document["result"]) == ("succeeded", 21)
    expected = {f"thread {number}" for number in range(21)} if wrapped else set()
    assert set(logged(events)) == expected
    assert document["progress"]["completed"] == len(expected)
    assert view.receipt.complete
    said = [line for line in system.log[began:] if "in a thread that belongs to no task" in line]
    assert len(said) <= (0 if wrapped else 1)
    if not wrapped:
        assert any("progress.wrap(work)" in line for line in system.log)

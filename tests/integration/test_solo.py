"""The solo pool: one process runs the task and everything around it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from petiole.events import Event
from tests.integration.system import System, running


@pytest.fixture(scope="module")
def solo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running(tmp_path_factory.mktemp("solo"), pool="solo") as system:
        yield system
        print("\n".join(system.log[-200:]))


def test_every_fact_arrives_in_order_once(solo: System) -> None:
    events: list[Event] = []
    view = solo.client("ann").start("/start/count", {"args": [100]}, on_event=events.append)
    assert view.wait(timeout=20)["state"] == "succeeded"
    assert [event.data["message"] for event in events if event.kind == "log"] == [f"item {n}" for n in range(100)]
    assert view.receipt.complete


def test_cancel_reaches_the_running_task(solo: System) -> None:
    view = solo.client("ann").start("/start/count", {"args": [10, {"5": str(solo.gate("never"))}]})
    view.wait_until(lambda document: (document.get("progress") or {}).get("completed") == 5, timeout=15)
    view.cancel()
    assert view.wait(timeout=10)["state"] == "cancelled"


def test_a_pool_that_cannot_end_one_task_says_so_instead_of_forcing_it(solo: System, tmp_path: Path) -> None:
    file, gate = tmp_path / "pid", solo.gate("silent")
    view = solo.client("ann").start("/start/hear_nothing", {"args": [str(file), str(gate)]})
    view.wait_until(lambda document: document["state"] == "running", timeout=15)
    view.cancel()
    session = solo.session("ann")
    answer = session.post(f"{solo.url}/petiole/tasks/{view.feed[5:]}/cancel", json={"force": True}, timeout=5)
    assert answer.status_code == 409
    assert "can't end a single one" in answer.json()["detail"]
    gate.touch()
    # It never heard of the cancel, so it was faster.
    assert view.wait(timeout=15)["state"] == "succeeded"


def test_an_error_is_a_failure_and_the_worker_goes_on(solo: System) -> None:
    client = solo.client("ann")
    assert client.start("/start/raise_unexpected", {}).wait(timeout=15)["state"] == "failed"
    assert client.start("/start/silent", {}).wait(timeout=15)["state"] == "succeeded"

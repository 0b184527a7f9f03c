"""Workers that die, freeze and come back; messages delivered twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from petiole.protocol.events import Event
from tests.support.freezing import freeze, thaw
from tests.support.system import System, running
from tests.support.waiting import wait_until


def done(number: int):
    return lambda document: (document.get("progress") or {}).get("completed") == number


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """A system in which a stalled task is lost after 4 s instead of 30; its leases are as long as usual."""
    with running(tmp_path, settings={"PETIOLE_LOST_AFTER": "4"}) as system:
        yield system
        print("\n".join(system.log[-300:]))


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[System]:
    """A system with leases of 3 s, to which an unacknowledged message returns after 4 s."""
    settings = {"PETIOLE_LEASE": "3", "PETIOLE_HEARTBEAT": "1", "VISIBILITY_TIMEOUT": "4"}
    with running(tmp_path, settings=settings) as system:
        yield system
        print("\n".join(system.log[-300:]))


def test_a_killed_worker_is_stalled_within_10_s_and_then_its_task_is_lost(system: System) -> None:
    reasons: list[str] = []
    view = system.client("ann").start(
        "/start/count",
        {"args": [10, {"5": str(system.gate("never"))}]},
        on_event=lambda event: reasons.append(event.patch["reason"]) if event.patch.get("reason") else None,
    )
    view.wait_until(done(5), timeout=15)
    system.kill_worker()
    killed = time.monotonic()
    view.wait_until(lambda document: document["state"] == "stalled", timeout=10)
    document = view.wait(timeout=15)
    assert document["state"] == "lost"
    assert time.monotonic() - killed < 10 + 4 + 3
    assert reasons[0].startswith("No news from the worker worker1@")
    assert reasons[1] == "The worker disappeared."
    assert view.receipt.complete


def test_a_frozen_worker_is_stalled_and_runs_on_when_it_thaws(system: System) -> None:
    gate = system.gate("frozen")
    states: list[str] = []
    view = system.client("ann").start(
        "/start/count",
        {"args": [10, {"5": str(gate)}]},
        on_event=lambda event: states.append(event.patch["state"]) if "state" in event.patch else None,
    )
    view.wait_until(done(5), timeout=15)
    system.freeze_worker()
    try:
        view.wait_until(lambda document: document["state"] == "stalled", timeout=10)
    finally:
        system.thaw_worker()
    view.wait_until(lambda document: document["state"] == "running", timeout=10)
    gate.touch()
    assert view.wait(timeout=15)["state"] == "succeeded"
    assert states == ["running", "stalled", "running", "succeeded"]


@pytest.mark.parametrize("speaks", [True, False])
def test_a_task_whose_workers_main_process_is_frozen_is_alive(quick: System, speaks: bool) -> None:
    gate = quick.gate("main-frozen")
    states: list[str] = []
    gates = {} if speaks else {"5": str(gate)}
    view = quick.client("ann").start(
        "/start/count_slowly" if speaks else "/start/count",
        {"args": [100] if speaks else [10, gates]},
        on_event=lambda event: states.append(event.patch["state"]) if "state" in event.patch else None,
    )
    view.wait_until(done(5), timeout=15)
    freeze([quick.worker.popen.pid])
    try:
        time.sleep(8)  # for the duration of the fault: more than two leases
        gate.touch()
        assert view.wait(timeout=20)["state"] == "succeeded"
    finally:
        thaw([quick.worker.popen.pid])
    assert states == ["running", "succeeded"]
    assert view.receipt.complete


def test_a_worker_that_is_asked_to_stop_keeps_its_lease_until_its_task_has_ended(tmp_path: Path) -> None:
    with running(tmp_path, settings={"PETIOLE_LEASE": "2", "PETIOLE_HEARTBEAT": "0.5"}) as system:
        gate = system.gate("warm")
        states: list[str] = []
        view = system.client("ann").start(
            "/start/count",
            {"args": [10, {"5": str(gate)}]},
            on_event=lambda event: states.append(event.patch["state"]) if "state" in event.patch else None,
        )
        view.wait_until(done(5), timeout=15)
        system.worker.popen.terminate()
        wait_until(lambda: system.said("Warm shutdown"), what="the worker stops")
        with system.redis() as client:
            (key,) = client.scan_iter("petiole:*:leases", count=1000)
            ends = [client.zscore(key, view.feed)]
            # The time of two leases: without a sign of life the reaper would have acted twice.
            wait_until(
                lambda: ends.append(client.zscore(key, view.feed)) or ends[-1] > ends[0] + 4000,
                what="the lease goes on",
                timeout=10,
            )
        gate.touch()
        assert view.wait(timeout=15)["state"] == "succeeded"
        assert states == ["running", "succeeded"]
        system.worker.popen.wait(15)
        system.processes.forget(system.worker)


def test_a_second_delivery_of_a_running_task_waits_and_changes_nothing(quick: System) -> None:
    gate, file = quick.gate("twice"), quick.directory / "published"
    runs: set[int] = set()
    view = quick.client("ann").start(
        "/start/count_late",
        {"args": [10, {"5": str(gate)}, str(file)]},
        on_event=lambda event: runs.add(event.run),
    )
    view.wait_until(done(5), timeout=15)
    quick.start_worker("worker2")
    wait_until(lambda: quick.said("task_runs_already"), what="the message came again", timeout=40)
    gate.touch()
    assert view.wait(timeout=20)["state"] == "succeeded"
    assert runs == {1}
    wait_until(lambda: quick.said("delivery_of_finished_task"), what="the copy came after the end", timeout=30)
    assert file.read_text() == "published\n"
    assert view.receipt.complete


def test_a_run_that_was_superseded_publishes_nothing(quick: System) -> None:
    gate, file = quick.gate("fenced"), quick.directory / "published"
    events: list[Event] = []
    view = quick.client("ann").start(
        "/start/count_late", {"args": [10, {"5": str(gate)}, str(file)]}, on_event=events.append
    )
    view.wait_until(done(5), timeout=15)
    quick.freeze_worker()
    try:
        view.wait_until(lambda document: document["state"] == "stalled", timeout=10)
        quick.start_worker("worker2")
        view.wait_until(lambda document: document.get("run") == 2 and done(5)(document), timeout=40)
    finally:
        quick.thaw_worker()
    wait_until(lambda: quick.said("run_fenced"), what="the first run has noticed", timeout=15)
    gate.touch()
    assert view.wait(timeout=20)["state"] == "succeeded"
    assert file.read_text() == "published\n"
    begun = [event.facts for event in events if event.run == 2]
    assert all(event.facts < begun[0] for event in events if event.run == 1)
    assert view.receipt.complete


def test_a_task_that_always_kills_its_worker_fails_after_three_runs(quick: System) -> None:
    file = quick.directory / "runs"
    document = quick.client("ann").start("/start/kill_its_worker", {"args": [str(file)]}).wait(timeout=60)
    assert document["state"] == "failed"
    assert document["reason"] == "The task's worker died each time that it ran it."
    assert file.read_text() == "run\n" * 3


def test_what_opted_in_runs_again_when_its_worker_is_lost(quick: System) -> None:
    gate = quick.gate("again")
    states: list[str] = []
    view = quick.client("ann").start(
        "/start/count_again",
        {"args": [10, {"5": str(gate)}]},
        on_event=lambda event: states.append(event.patch["state"]) if "state" in event.patch else None,
    )
    view.wait_until(done(5), timeout=15)
    quick.kill_worker()
    view.wait_until(lambda document: "sent again" in str(document.get("reason")), timeout=10)
    quick.start_worker("worker2")
    document = view.wait_until(lambda document: document.get("run") == 2, timeout=15)
    assert document["reason"].endswith("The task is sent again.")
    gate.touch()
    assert view.wait(timeout=15)["state"] == "succeeded"
    assert states == ["running", "stalled", "running", "succeeded"]
    assert view.receipt.complete


def test_a_task_that_hears_nothing_is_stopped_by_force(tmp_path: Path) -> None:
    with running(tmp_path, settings={"PETIOLE_CANCEL_GRACE": "2"}) as system:
        file = tmp_path / "pid"
        view = system.client("ann").start("/start/hear_nothing", {"args": [str(file), str(system.gate("never"))]})
        view.wait_until(lambda document: document["state"] == "running", timeout=15)
        wait_until(file.exists, what="the task has begun")
        process = int(file.read_text())
        session = system.session("ann")
        url = f"{system.url}/petiole/tasks/{view.feed[5:]}/cancel"
        assert session.post(url, json={"force": True}, timeout=5).json()["title"] == "Not cancelled"
        assert session.post(url, timeout=5).status_code == 202
        early = session.post(url, json={"force": True}, timeout=5)
        assert (early.status_code, early.json()["title"]) == (409, "Too early")
        document = view.wait_until(lambda document: document["state"] == "cancelling", timeout=5)
        wait_until(lambda: time.time() * 1000 >= document["force_after"], what="the grace is over")
        assert session.post(url, json={"force": True}, timeout=5).status_code == 202
        assert session.post(url, json={"force": True}, timeout=5).status_code == 200
        assert view.wait(timeout=10)["state"] == "cancelled"
        assert view.document["forced"] is True
        wait_until(lambda: not Path(f"/proc/{process}").exists(), what="its process has ended")
        # The pool replaces it, and the worker goes on.
        assert system.client("ann").start("/start/count", {"args": [3]}).wait(timeout=15)["state"] == "succeeded"

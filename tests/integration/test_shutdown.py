"""A worker's warm, soft and cold shutdown: the fate of its tasks is reported truthfully, and at once."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from petiole.client import TaskView
from petiole.servers.processes import Process
from tests.support.system import READY, System, start_worker
from tests.support.waiting import wait_until

# Each worker's pool and its time for a soft shutdown, by its queue.
WORKERS = {
    "warm": ("prefork", 0.0),
    "cold-prefork": ("prefork", 0.0),
    "cold-gevent": ("gevent", 0.0),
    "cold-threads": ("threads", 0.0),
    "cold-solo": ("solo", 0.0),
    "soft": ("prefork", 2.0),
    "late": ("prefork", 0.0),
}


@pytest.fixture(scope="module")
def workers(shared_system: System) -> dict[str, Process]:
    """Workers with their own queues, so that the session's worker doesn't take their tasks; all start at once."""
    started = {queue: begin(shared_system, queue) for queue in WORKERS}
    for worker in started.values():
        shared_system.processes.wait_ready(worker, timeout=READY)
    return started


def begin(system: System, queue: str) -> Process:
    pool, soft = WORKERS[queue]
    environment = {**system.environment, "SOFT_SHUTDOWN": str(soft), "PETIOLE_LEASE": "3"}
    return start_worker(system.processes, environment, pool=pool, name=queue, options=("--queues", queue))


def halfway(system: System, task: str, queue: str, gate: Path) -> TaskView:
    body = {"args": [10, {"5": str(gate)}] if task == "count" else [10, str(gate)], "queue": queue}
    view = system.client("ann").start(f"/start/{task}", body)
    view.wait_until(lambda document: (document.get("progress") or {}).get("completed") == 5, timeout=15)
    return view


def ended(system: System, worker: Process) -> int:
    code = worker.popen.wait(30)
    system.processes.forget(worker)
    return code


def test_a_warm_shutdown_waits_for_the_task(system: System, workers: dict[str, Process]) -> None:
    worker, gate = workers["warm"], system.gate("warm-prefork")
    view = halfway(system, "count", "warm", gate)
    worker.popen.send_signal(signal.SIGTERM)
    wait_until(lambda: system.said("warm: worker: Warm shutdown"), what="the worker has noticed")
    gate.touch()
    assert view.wait(timeout=20)["state"] == "succeeded"
    assert view.receipt.complete
    assert ended(system, worker) == 0


@pytest.mark.parametrize("pool", ["prefork", "gevent"])
def test_a_cold_shutdown_is_told_at_once(system: System, workers: dict[str, Process], pool: str) -> None:
    queue = f"cold-{pool}"
    worker, gate = workers[queue], system.gate(queue)
    view = halfway(system, "count", queue, gate)
    worker.popen.send_signal(signal.SIGQUIT)
    document = view.wait(timeout=8)
    assert document["state"] == "lost"
    assert document["reason"] == "The worker was shut down and ended the task."
    assert view.receipt.complete
    ended(system, worker)


def test_a_cold_shutdown_of_threads_which_nobody_can_end_lets_the_task_end(
    system: System, workers: dict[str, Process]
) -> None:
    worker, gate = workers["cold-threads"], system.gate("cold-threads")
    view = halfway(system, "count", "cold-threads", gate)
    worker.popen.send_signal(signal.SIGQUIT)
    wait_until(lambda: system.said("does not implement kill_job"), what="the worker gives up")
    gate.touch()
    assert view.wait(timeout=20)["state"] == "succeeded"
    assert view.receipt.complete
    ended(system, worker)


def test_a_cold_shutdown_of_solo_is_an_error_of_the_task(system: System, workers: dict[str, Process]) -> None:
    worker = workers["cold-solo"]
    view = halfway(system, "count", "cold-solo", system.gate("cold-solo"))
    worker.popen.send_signal(signal.SIGQUIT)
    document = view.wait(timeout=20)
    assert document["state"] == "failed"
    assert view.receipt.complete
    ended(system, worker)


def test_a_soft_shutdown_gives_the_task_its_time_and_then_says_that_it_was_ended(
    system: System, workers: dict[str, Process]
) -> None:
    worker = workers["soft"]
    quick, slow = system.gate("soft-quick"), system.gate("soft-slow")
    in_time, too_late = halfway(system, "count", "soft", quick), halfway(system, "count", "soft", slow)
    worker.popen.send_signal(signal.SIGQUIT)
    wait_until(lambda: system.said("Initiating Soft Shutdown"), what="the worker has noticed")
    quick.touch()
    assert in_time.wait(timeout=20)["state"] == "succeeded"
    assert too_late.wait(timeout=20)["reason"] == "The worker was shut down and ended the task."
    assert in_time.receipt.complete
    assert too_late.receipt.complete
    ended(system, worker)


def test_a_late_acknowledged_task_of_a_cold_shutdown_runs_again_elsewhere(
    system: System, workers: dict[str, Process]
) -> None:
    worker, gate = workers["late"], system.gate("late")
    view = halfway(system, "count_late_at_gate", "late", gate)
    worker.popen.send_signal(signal.SIGQUIT)
    ended(system, worker)
    assert not view.receipt
    gate.touch()
    after = begin(system, "late")
    document = view.wait(timeout=30)
    assert (document["state"], document["run"]) == ("succeeded", 2)
    assert view.receipt.complete
    after.popen.terminate()
    assert ended(system, after) == 0

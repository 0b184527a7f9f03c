"""Groups whose workers or journal are killed: nothing is counted twice, and nothing is missing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import chain, group

from petiole.dispatch.tracking import Handle
from petiole.protocol.events import mint_epoch
from petiole.servers.redis import free_port
from tests.support.groups import Groups, counts, groups_of
from tests.support.system import System, running
from tests.support.waiting import wait_until


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    port = free_port()
    settings = {
        "WEB_RESULT_BACKEND": f"redis://127.0.0.1:{port}/0",
        "PETIOLE_LEASE": "2",
        "PETIOLE_HEARTBEAT": "0.5",
        "PETIOLE_LOST_AFTER": "2",
        "VISIBILITY_TIMEOUT": "6",
    }
    with running(tmp_path, settings=settings, redis_port=port) as system:
        yield system
        print("\n".join(system.log[-200:]))


@pytest.fixture
def groups(system: System, tmp_path: Path) -> Iterator[Groups]:
    with groups_of(system, tmp_path / "lines") as groups:
        yield groups


@pytest.mark.parametrize("light", [True, False])
def test_what_a_killed_worker_ran_is_lost_and_the_others_run_elsewhere(
    system: System, groups: Groups, light: bool
) -> None:
    gate = system.gate("never")
    canvas = group(
        chain(groups.part("0", "deaf_part", str(gate)), groups.part("after")),
        groups.part("1", "deaf_part", str(gate)),
        *(groups.part(f"{number}") for number in range(2, 6)),
    )
    handle = groups.start(canvas, light=light)
    groups.wait_for(handle, running=2)
    system.kill_worker()
    system.start_worker("worker2")
    document = groups.wait(handle)
    assert document["state"] == "failed"
    assert counts(document) == {"succeeded": 4, "lost": 2, "skipped": 1}
    assert document["reason"] == "2 of 7 tasks failed."
    assert document["error1"]["message"] == "The worker disappeared."


def test_a_silent_child_keeps_its_lease(system: System, groups: Groups) -> None:
    gate = system.gate("silent")
    handle = groups.start(group([groups.part("0", "deaf_part", str(gate))]), light=True)
    groups.wait_for(handle, running=1)
    with system.redis() as client:
        key = wait_until(
            lambda: next(client.scan_iter(f"petiole:*:{handle.feed}:alive", count=1000), None), what="it has a lease"
        )
        ends = [client.zscore(key, "0")]
        # The time of three leases: without a sign of life a reaper would have spoken.
        wait_until(
            lambda: ends.append(client.zscore(key, "0")) or ends[-1] > ends[0] + 6000,
            what="the lease goes on",
            timeout=12,
        )
    gate.touch()
    assert counts(groups.wait(handle)) == {"succeeded": 1}


def test_late_acknowledged_children_of_a_killed_worker_run_again(system: System, groups: Groups) -> None:
    gate = system.gate("late")
    handle = groups.start(group(groups.part(f"{number}", "late_part", str(gate)) for number in range(2)), light=True)
    groups.wait_for(handle, running=2)
    system.kill_worker()
    groups.wait_for(handle, queued=2)
    gate.touch()
    with system.redis() as client:
        # kombu's, for five minutes, if the killed worker was just looking for abandoned messages.
        client.delete("unacked_mutex")
    system.start_worker("worker2")
    assert counts(groups.wait(handle, timeout=60)) == {"succeeded": 2}
    assert groups.runs("0") == groups.runs("1") == 2


def test_children_go_on_while_redis_restarts(system: System, groups: Groups) -> None:
    gate = system.gate("restart")
    canvas = group(groups.part(f"{number}", "deaf_part", str(gate)) for number in range(2))
    handle = groups.start(canvas, light=True)
    groups.wait_for(handle, running=2)
    system.kill_redis()
    gate.touch()
    system.start_redis()
    assert counts(groups.wait(handle)) == {"succeeded": 2}


def test_a_redis_that_is_killed_in_the_middle_loses_no_child_that_ran(system: System, groups: Groups) -> None:
    handle = groups.start(group(groups.part(f"{number}", "slow_part", 0.01) for number in range(600)))
    wait_until(lambda: groups.document(handle)["progress"]["completed"] >= 200, what="some children have ended")
    system.kill_redis()
    system.start_redis()
    # kombu may break the connection of the first one for good.
    system.start_worker("worker2")
    # A crash of its broker may cost Celery messages that a worker has just taken, and has others run twice.
    wait_until(groups.is_empty, what="the queue is empty", timeout=60)
    wait_until(lambda: _completed(groups, handle) == len(set(groups.lines())), what="each child that ran has counted")
    document = groups.document(handle)
    assert counts(document)["succeeded"] >= 500
    assert sum(counts(document).values()) == 600


def _completed(groups: Groups, handle: Handle) -> int:
    return int(groups.document(handle)["progress"]["completed"])


def test_a_group_ends_although_its_worker_is_killed_right_after_a_child_has_ended(
    system: System, groups: Groups
) -> None:
    handle = groups.start(group(groups.part(f"{number}", "ending_part", "") for number in range(4)), light=True)
    groups.wait(handle)
    os.killpg(system.worker.popen.pid, signal.SIGKILL)
    system.worker.popen.wait(5)
    system.processes.forget(system.worker)
    assert counts(groups.document(handle)) == {"succeeded": 4}


@pytest.mark.parametrize("light", [True, False])
def test_what_a_cold_shutdown_ends_is_lost(system: System, groups: Groups, light: bool) -> None:
    gate = system.gate("never")
    handle = groups.start(group(groups.part(f"{number}", "deaf_part", str(gate)) for number in range(2)), light=light)
    groups.wait_for(handle, running=2)
    system.worker.popen.send_signal(signal.SIGQUIT)
    document = groups.wait(handle)
    assert counts(document) == {"lost": 2}
    assert document["error1"]["message"] == "The worker was shut down and ended the task."
    system.worker.popen.wait(15)
    system.processes.forget(system.worker)
    system.start_worker("worker2")
    gate.touch()
    snapshot = groups.tracking.journal.snapshot(handle.feed)
    assert snapshot is not None
    assert counts(groups.wait(groups.tracking.repeat_group(snapshot, mint_epoch()))) == {"succeeded": 2}


def test_a_worker_that_is_asked_to_stop_completes_what_it_runs(system: System, groups: Groups) -> None:
    gate = system.gate("warm")
    canvas = group([*(groups.part(f"{number}", "deaf_part", str(gate)) for number in range(2)), groups.part("after")])
    handle = groups.start(canvas, light=True)
    groups.wait_for(handle, running=2)
    system.worker.popen.terminate()
    wait_until(lambda: system.said("Warm shutdown"), what="the worker stops")
    gate.touch()
    groups.wait_for(handle, succeeded=2, queued=1)
    system.worker.popen.wait(15)
    system.processes.forget(system.worker)
    system.start_worker("worker2")
    assert counts(groups.wait(handle)) == {"succeeded": 3}

"""Every end of a task is reported truthfully."""

from __future__ import annotations

import time

import pytest
from celery import Celery

from petiole.client import Refused
from petiole.dispatch.revoked import TaskCancelled
from tests.support.system import System
from tests.support.waiting import wait_until


def test_an_unexpected_error_is_a_sentence_and_a_reference_never_its_text(system: System) -> None:
    view = system.client("ann").start("/start/raise_unexpected", {})
    document = view.wait(timeout=15)
    assert document["state"] == "failed"
    assert document["reason"] == "The task stopped on an unexpected error (ValueError)."
    assert "swordfish" not in str(document)
    reference = document["error"]["reference"]
    wait_until(
        lambda: any(reference in line and "ValueError" in line for line in system.log), what="the reference in the log"
    )
    assert any("Traceback" in line for line in system.log)
    assert view.receipt.complete


def test_a_task_failure_is_shown_in_its_own_words(system: System) -> None:
    document = system.client("ann").start("/start/raise_explained", {}).wait(timeout=15)
    assert document["state"] == "failed"
    assert document["reason"] == "The database is being repaired. Try again after noon."


def test_an_unserialisable_result_is_a_failure(system: System) -> None:
    document = system.client("ann").start("/start/return_unserialisable", {}).wait(timeout=15)
    assert document["state"] == "failed"
    assert document["error"]["reference"]


def test_an_unserialisable_result_that_is_ignored_is_a_success(system: System) -> None:
    document = system.client("ann").start("/start/return_unserialisable_but_ignored", {}).wait(timeout=15)
    assert document["state"] == "succeeded"
    assert "result" not in document


def test_a_task_that_the_worker_does_not_know_fails_with_a_sentence(system: System) -> None:
    document = system.client("ann").start("/start/not_deployed", {}).wait(timeout=15)
    assert document["state"] == "failed"
    assert document["reason"] == "The worker doesn't know this task. Deploy its code to the worker."
    assert document["error"]["reference"]


def test_a_task_that_ignores_itself_ends(system: System) -> None:
    document = system.client("ann").start("/start/end_itself", {"args": ["ignore"]}).wait(timeout=15)
    assert document["state"] == "succeeded"
    assert document["reason"] == "The task ended without a result."


def test_a_task_that_rejects_its_message_fails(system: System) -> None:
    document = system.client("ann").start("/start/end_itself", {"args": ["reject"]}).wait(timeout=15)
    assert document["state"] == "failed"


def test_a_pool_child_that_dies_is_spoken_for(system: System) -> None:
    document = system.client("ann").start("/start/end_itself", {"args": ["exit"]}).wait(timeout=15)
    assert document["state"] == "failed"
    assert document["reason"] == "The process that ran the task died."


def test_each_dead_pool_child_is_spoken_for_within_two_seconds(system: System) -> None:
    client = system.client("ann")
    took = []
    for _ in range(8):
        died: list[float] = []
        view = client.start("/start/end_itself", {"args": ["exit"]})
        view.wait_until(lambda document: document["state"] != "queued", timeout=15)
        died.append(time.monotonic())
        assert view.wait(timeout=15)["reason"] == "The process that ran the task died."
        took.append(time.monotonic() - died[0])
    assert max(took) < 2.0, took


def test_a_hard_time_limit_is_spoken_for(system: System) -> None:
    gate = system.gate("overrun")
    document = system.client("ann").start("/start/overrun", {"args": [str(gate)]}).wait(timeout=20)
    assert document["state"] == "failed"
    assert document["reason"] == "The task exceeded its time limit and was stopped."


def test_cancel_ends_a_running_task_at_its_next_progress_call(system: System) -> None:
    states: list[str] = []
    client = system.client("ann")
    view = client.start(
        "/start/count",
        {"args": [10, {"5": str(system.gate("never"))}]},
        on_event=lambda event: states.append(event.patch.get("state")),
    )
    view.wait_until(lambda document: (document.get("progress") or {}).get("completed") == 5, timeout=15)
    assert view.cancel()["document"]["state"] == "cancelling"
    assert view.wait(timeout=10)["state"] == "cancelled"
    assert [state for state in states if state] == ["running", "cancelling", "cancelled"]
    assert view.receipt.complete


def test_cancel_is_idempotent_and_refused_after_the_end(system: System) -> None:
    client, session = system.client("ann"), system.session("ann")
    running = client.start("/start/count", {"args": [10, {"5": str(system.gate("never"))}]})
    running.wait_until(lambda document: (document.get("progress") or {}).get("completed") == 5, timeout=15)
    url = f"{system.url}/petiole/tasks/{running.feed[5:]}/cancel"
    assert session.post(url, timeout=5).status_code == 202
    assert session.post(url, timeout=5).status_code == 200
    running.wait(timeout=10)
    assert session.post(url, timeout=5).status_code == 200
    finished = client.start("/start/silent", {})
    finished.wait(timeout=10)
    with pytest.raises(Refused) as refused:
        finished.cancel()
    assert refused.value.problem["status"] == 409


def test_a_queued_task_is_cancelled_at_once_and_never_runs(system: System) -> None:
    client = system.client("ann")
    gate = system.gate("full")
    holding = [client.start("/start/count", {"args": [2, {"1": str(gate)}]}) for _ in range(2)]
    for view in holding:
        view.wait_until(lambda document: (document.get("progress") or {}).get("completed") == 1, timeout=15)
    waiting = client.start("/start/count", {"args": [5]})
    assert waiting.cancel()["document"]["state"] == "cancelled"
    gate.touch()
    for view in holding:
        assert view.wait(timeout=15)["state"] == "succeeded"
    after = client.start("/start/silent", {})
    after.wait(timeout=15)
    assert waiting.wait(timeout=5)["state"] == "cancelled"
    assert "run" not in waiting.document
    kept_as_cancelled(system, waiting.feed)


def kept_as_cancelled(system: System, feed: str) -> None:
    """Wait until Celery's own record has it, in a form that a status route can return."""
    result = Celery("reader", backend=system.redis_url).AsyncResult(feed.removeprefix("task:"))
    wait_until(lambda: isinstance(result.result, TaskCancelled), what="Celery's record of the end")
    assert (result.state, str(result.result), result.ready()) == ("REVOKED", "The task was cancelled.", True)


def control(system: System) -> Celery:
    return Celery("control", broker=system.redis_url)


def test_a_running_task_that_is_revoked_with_terminate_is_cancelled(system: System) -> None:
    view = system.client("ann").start("/start/count", {"args": [10, {"5": str(system.gate("never"))}]})
    view.wait_until(lambda document: (document.get("progress") or {}).get("completed") == 5, timeout=15)
    control(system).control.revoke(view.feed.removeprefix("task:"), terminate=True, signal="SIGKILL")
    assert view.wait(timeout=15)["state"] == "cancelled"
    kept_as_cancelled(system, view.feed)


def test_a_waiting_task_that_is_revoked_is_cancelled_and_never_runs(system: System) -> None:
    client, gate = system.client("ann"), system.gate("revoked")
    holding = [client.start("/start/count", {"args": [2, {"1": str(gate)}]}) for _ in range(2)]
    for view in holding:
        view.wait_until(lambda document: (document.get("progress") or {}).get("completed") == 1, timeout=15)
    waiting = client.start("/start/count", {"args": [5]})
    control(system).control.revoke(waiting.feed.removeprefix("task:"), reply=True, timeout=5)
    gate.touch()
    for view in holding:
        view.wait(timeout=15)
    assert waiting.wait(timeout=15)["state"] == "cancelled"
    assert "run" not in waiting.document

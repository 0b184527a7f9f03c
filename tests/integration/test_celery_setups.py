"""Celery in its users' setups: acknowledgements, workflows, retries, limits, recycled children, `update_state`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from celery import Celery

from petiole.client import TaskView
from petiole.protocol.events import Event
from tests.support.system import READY, System, running, start_worker
from tests.support.waiting import wait_until

RECYCLED = {"one": ("--max-tasks-per-child", "1"), "memory": ("--max-memory-per-child", "1")}


@pytest.fixture(scope="module")
def adopting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One system whose workers follow every task; two of them replace each pool child after one task."""
    with running(tmp_path_factory.mktemp("setups"), settings={"PETIOLE_ADOPT_UPDATE_STATE": "yes"}) as system:
        recycling = [
            start_worker(system.processes, system.environment, name=queue, options=("--queues", queue, *options))
            for queue, options in RECYCLED.items()
        ]
        for worker in recycling:
            system.processes.wait_ready(worker, timeout=READY)
        yield system


@pytest.fixture
def system(adopting: System) -> Iterator[System]:
    began = len(adopting.log)
    yield adopting
    while adopting.clients:
        adopting.clients.pop().close()
    print("\n".join(adopting.log[began:][-200:]))


def logged(events: list[Event]) -> list[str]:
    return [event.data["message"] for event in events if event.kind == "log"]


def followed(system: System, ids: list[str]) -> list[TaskView]:
    """Follow one task after the other: Celery publishes the next link of a chain before the one before it has ended."""
    client, views = system.client("ann"), []
    for task_id in ids:
        views.append(view := client.watch(f"task:{task_id}"))
        view.wait(timeout=20)
        assert view.receipt.complete
    return views


def status(session: requests.Session, system: System, task_id: str) -> int:
    return session.get(f"{system.url}/petiole/tasks/{task_id}", timeout=5).status_code


def test_late_acknowledgement_with_an_ignored_result_is_a_task_like_others(system: System) -> None:
    events: list[Event] = []
    view = system.client("ann").start("/start/count_acknowledged_late", {"args": [30]}, on_event=events.append)
    document = view.wait(timeout=20)
    assert (document["state"], document["acknowledged"]) == ("succeeded", "late")
    assert logged(events) == [f"item {n}" for n in range(30)]
    assert view.receipt.complete


def test_each_link_of_a_chain_is_the_owners(system: System) -> None:
    ids = system.client("ann").start("/start/start_a_chain", {}).wait(timeout=20)["result"]
    assert [view.document["result"] for view in followed(system, ids)] == [2, 4, 8]
    assert [status(system.session("bob"), system, task_id) for task_id in ids] == [404] * 3


def test_each_member_of_a_group_is_the_owners(system: System) -> None:
    ids = system.client("ann").start("/start/start_a_group", {}).wait(timeout=20)["result"]
    assert [view.document["result"] for view in followed(system, ids)] == [0, 2, 4]


def test_the_callback_of_a_chord_is_the_owners_too(system: System) -> None:
    ids = system.client("ann").start("/start/start_a_chord", {}).wait(timeout=20)["result"]
    assert [view.document["result"] for view in followed(system, ids)] == [2, 4, 6]


def test_a_task_that_is_replaced_goes_on_under_its_own_address(system: System) -> None:
    patches: list[dict] = []
    view = system.client("ann").start(
        "/start/be_replaced", {"args": [42]}, on_event=lambda event: patches.append(event.patch)
    )
    document = view.wait(timeout=20)
    assert (document["state"], document["result"], document["run"]) == ("succeeded", 42, 2)
    reasons = [patch["reason"] for patch in patches if patch.get("reason")]
    assert reasons == ["The task goes on as Unfollowed."]
    assert view.receipt.complete


def test_an_automatic_retry_with_backoff_says_when_the_next_run_begins(system: System) -> None:
    patches: list[dict] = []
    view = system.client("ann").start("/start/fail_by_itself", {}, on_event=lambda event: patches.append(event.patch))
    document = view.wait(timeout=20)
    assert (document["state"], document["result"], document["run"]) == ("succeeded", "attempt 1", 2)
    (retrying,) = [patch for patch in patches if patch.get("state") == "retrying"]
    assert retrying["reason"] == "The task stopped on an unexpected error (ConnectionError)."
    assert retrying["retry_at"] is not None
    assert view.receipt.complete


def test_a_task_that_fails_at_its_last_retry_has_failed(system: System) -> None:
    document = system.client("ann").start("/start/fail_too_often", {}).wait(timeout=20)
    assert (document["state"], document["run"]) == ("failed", 2)
    assert "swordfish" not in str(document)


@pytest.mark.parametrize(("clean_up", "state"), [(False, "failed"), (True, "succeeded")])
def test_a_soft_time_limit_is_the_tasks_to_answer(system: System, clean_up: bool, state: str) -> None:
    events: list[Event] = []
    arguments = [str(system.gate("never")), clean_up]
    view = system.client("ann").start("/start/overrun_softly", {"args": arguments}, on_event=events.append)
    document = view.wait(timeout=20)
    assert document["state"] == state
    if clean_up:
        assert logged(events) == ["put away"]
    else:
        assert document["reason"] == "The task exceeded its time limit and was stopped."


def test_a_revoke_without_terminate_lets_a_running_task_go_on(system: System) -> None:
    gate = system.gate("revoked")
    view = system.client("ann").start("/start/count", {"args": [10, {"5": str(gate)}]})
    view.wait_until(lambda document: (document.get("progress") or {}).get("completed") == 5, timeout=15)
    control = Celery("control", broker=system.redis_url).control
    control.revoke(view.feed.removeprefix("task:"), reply=True, timeout=5, limit=1)
    gate.touch()
    assert view.wait(timeout=15)["state"] == "succeeded"
    assert view.receipt.complete


@pytest.mark.parametrize("queue", RECYCLED)
def test_nothing_is_lost_when_a_child_is_recycled_after_each_task(system: System, queue: str) -> None:
    client = system.client("ann")
    events: list[list[Event]] = [[] for _ in range(4)]
    views = [
        client.start("/start/who_runs", {"args": [200], "queue": queue}, on_event=heard.append) for heard in events
    ]
    children = [view.wait(timeout=20)["result"] for view in views]
    assert len(set(children)) == len(children)
    for view, heard in zip(views, events, strict=True):
        assert logged(heard) == [f"item {n}" for n in range(200)]
        assert view.receipt.complete


def test_what_celery_progress_records_is_the_progress(system: System) -> None:
    gate = system.gate("recorded")
    view = system.client("ann").start("/start/record", {"args": [10, str(gate)]})
    halfway = view.wait_until(lambda document: (document.get("progress") or {}).get("completed") == 5, timeout=15)
    assert (halfway["progress"]["total"], halfway["progress"]["description"]) == (10, "row 5")
    # And it is still Celery's state, for a page that polls.
    result = Celery("reader", backend=system.redis_url).AsyncResult(view.feed.removeprefix("task:"))
    wait_until(lambda: result.state == "PROGRESS" and result.info["current"] == 5, what="Celery's own state")
    gate.touch()
    document = view.wait(timeout=15)
    assert (document["state"], document["progress"]["completed"]) == ("succeeded", 10)


def test_a_cancel_reaches_a_task_that_only_updates_its_state(system: System) -> None:
    view = system.client("ann").start("/start/record_until_cancelled", {"args": [60.0]})
    view.wait_until(lambda document: (document.get("progress") or {}).get("completed") == 5, timeout=15)
    view.cancel()
    assert view.wait(timeout=10)["state"] == "cancelled"


def test_a_state_that_can_not_be_understood_is_passed_over(system: System) -> None:
    events: list[Event] = []
    view = system.client("ann").start("/start/say_anything_by_state", {}, on_event=events.append)
    document = view.wait(timeout=15)
    assert (document["state"], document["result"]) == ("succeeded", "done")
    assert (document["progress"]["completed"], document["progress"]["total"]) == (75, 100)
    assert document["progress"]["description"] == "Parsing"
    assert logged(events) == []


def test_no_loop_fails_a_task_or_counts_for_another(system: System) -> None:
    events: list[Event] = []
    view = system.client("ann").start("/start/loop_in_every_way", {}, on_event=events.append)
    document = view.wait(timeout=15)
    assert (document["state"], document["result"]) == ("succeeded", {"id": str(2**60)})
    assert document["artifacts"] == [{"name": "a.csv", "url": "/a", "rows": 5}]
    assert [event.data["name"] for event in events if event.kind == "stage"] == [
        "Working",
        "Left open",
        "Outer",
        "Working",
    ]
    counted = [event.progress for event in events if event.progress is not None and event.progress["total"] is not None]
    assert all(told["completed"] <= told["total"] for told in counted)
    assert {told["total"] for told in counted if told["stage"] == "Outer"} == {10}
    assert (document["progress"]["completed"], document["progress"]["total"]) == (4, 4)
    assert document["title"] == "Loop in every way"
    assert view.receipt.complete


def test_a_state_that_is_updated_from_a_thread_moves_the_page_of_the_task_that_it_names(system: System) -> None:
    view = system.client("ann").start("/start/say_by_state_in_a_thread", {})
    document = view.wait(timeout=15)
    assert (document["state"], document["result"]) == ("succeeded", "done")
    assert (document["progress"]["completed"], document["progress"]["total"]) == (3, 10)
    assert document["title"] == "Say by state in a thread"


def test_a_task_that_sets_its_own_failure_and_ignores_itself_has_failed(system: System) -> None:
    document = system.client("ann").start("/start/fail_by_state", {}).wait(timeout=15)
    assert document["state"] == "failed"
    assert "swordfish" not in str(document)


def test_what_a_tracked_task_starts_is_followed_unless_it_says_no_or_is_celerys_own(system: System) -> None:
    ids = system.client("ann").start("/start/start_three", {}).wait(timeout=15)["result"]
    (view,) = followed(system, ids[:1])
    assert view.document["result"] == "done"
    session = system.session("ann")
    assert [status(session, system, task_id) for task_id in ids[1:]] == [404, 404]


def test_a_task_that_nobody_asked_for_is_left_alone(system: System) -> None:
    plain = Celery("plain", broker=system.redis_url, backend=system.redis_url)
    gate = system.gate("recorded")
    gate.touch()
    sent = plain.send_task("tests.apps.worker_app.record", args=[2, str(gate)])
    assert sent.get(timeout=15) == 2
    assert not system.redis().keys(f"petiole:*{sent.id}*")


def test_a_loop_with_tqdm_moves_the_task(system: System) -> None:
    events: list[Event] = []
    view = system.client("ann").start("/start/loop_with_tqdm", {"args": [5000]}, on_event=events.append)
    document = view.wait(timeout=15)
    told = document["progress"]
    assert (told["completed"], told["total"], told["stage"], told["unit"]) == (5000, 5000, "Rows", "rows")
    assert logged(events) == ["begun"]
    assert view.receipt.complete
    assert not system.said("5000/5000")

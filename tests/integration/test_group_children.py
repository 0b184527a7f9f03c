"""Children of a group that end in other ways than by a result, or run more than once: each counts once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import chain, chord, group

from petiole.servers.redis import free_port
from tests.support.groups import NAMES, Groups, counts, groups_of
from tests.support.system import READY, System, running, start_worker
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    port = free_port()
    settings = {"WEB_RESULT_BACKEND": f"redis://127.0.0.1:{port}/0", "PETIOLE_UNHEARD_AFTER": "3"}
    with running(tmp_path_factory.mktemp("system"), settings=settings, redis_port=port) as system:
        yield system


@pytest.fixture
def groups(system: System, tmp_path: Path) -> Iterator[Groups]:
    began = len(system.log)
    with groups_of(system, tmp_path / "lines") as groups:
        yield groups
    print("\n".join(system.log[began:][-200:]))


@pytest.mark.parametrize("light", [True, False])
def test_a_retried_child_counts_once(groups: Groups, light: bool) -> None:
    canvas = group([groups.part("0", "ending_part", "retry"), groups.part("1")])
    handle = groups.start(canvas, light=light)
    assert counts(groups.wait(handle)) == {"succeeded": 2}
    assert groups.lines().count("0 2") == 1
    assert groups.tracking.journal.children(handle.feed, limit=1)[0][0].attempt == 2


@pytest.mark.parametrize("light", [True, False])
def test_a_child_whose_process_is_killed_has_failed(groups: Groups, light: bool) -> None:
    canvas = chain(group([groups.part("0", "ending_part", "die"), groups.part("1")]), groups.body())
    handle = groups.start(canvas, light=light)
    document = groups.wait(handle)
    assert groups.states(handle) == ["failed", "succeeded", "skipped"]
    assert document["error1"]["message"] == "The process that ran the task died."


@pytest.mark.parametrize("light", [True, False])
def test_a_late_acknowledged_child_whose_process_is_killed_runs_again(groups: Groups, light: bool) -> None:
    handle = groups.start(group([groups.part("0", "dying_late_part"), groups.part("1")]), light=light)
    assert counts(groups.wait(handle)) == {"succeeded": 2}
    assert groups.runs("0") == 2


def test_a_refused_child_has_failed(groups: Groups) -> None:
    handle = groups.start(group([groups.part("0", "ending_part", "reject"), groups.part("1")]), light=True)
    document = groups.wait(handle)
    assert counts(document) == {"failed": 1, "succeeded": 1}
    assert document["error1"]["message"] == "The worker refused the task."


@pytest.mark.parametrize("light", [True, False])
@pytest.mark.parametrize("by", ["task", "chain", "group"])
def test_a_replaced_child_counts_once(groups: Groups, by: str, light: bool) -> None:
    handle = groups.start(group([groups.part("0", "replaced_part", by), groups.part("1")]), light=light)
    assert counts(groups.wait(handle)) == {"succeeded": 2}
    assert groups.runs("0 replaced") == 1


def test_a_replaced_child_is_followed_by_the_rest_of_its_chain(groups: Groups) -> None:
    handle = groups.start(chain(groups.part("0", "replaced_part", "task"), groups.part("1")), light=True)
    assert counts(groups.wait(handle)) == {"succeeded": 2}


@pytest.mark.parametrize("light", [True, False])
def test_a_child_that_is_revoked_before_it_begins_is_cancelled(groups: Groups, light: bool) -> None:
    gate = groups.directory / f"revoked-{light}"
    blocking = [groups.part(f"{number}", "deaf_part", str(gate)) for number in range(2)]
    revoked = groups.part("revoked").set(task_id=f"revoked-{light}")
    handle = groups.start(group([*blocking, revoked, groups.part("last")]), light=light)
    groups.wait_for(handle, running=2)
    groups.celery_app.control.revoke(f"revoked-{light}")
    gate.touch()
    document = groups.wait(handle)
    assert counts(document) == {"succeeded": 3, "cancelled": 1}
    assert document["state"] == "cancelled"
    assert groups.runs("revoked") == 0


def test_a_child_that_has_expired_has_failed(groups: Groups) -> None:
    handle = groups.start(group([groups.part("0").set(expires=-1), groups.part("1")]), light=True)
    document = groups.wait(handle)
    assert counts(document) == {"failed": 1, "succeeded": 1}
    assert document["error1"]["message"] == "The task expired in the queue."


@pytest.mark.parametrize("light", [True, False])
def test_a_child_that_no_worker_knows_has_failed(groups: Groups, light: bool) -> None:
    unknown = groups.celery_app.signature(f"{NAMES}.nowhere")
    handle = groups.start(group([unknown, groups.part("1")]), light=light)
    document = groups.wait(handle)
    assert counts(document) == {"failed": 1, "succeeded": 1}
    assert document["error1"]["type"] == "NotRegistered"


def test_a_message_that_is_delivered_twice_runs_and_counts_once(system: System, groups: Groups) -> None:
    signature = groups.part("0").set(task_id=f"twice-{time.time():.0f}")
    handle = groups.start(
        group([signature, groups.part("1", "deaf_part", str(groups.directory / "twice"))]), light=True
    )
    groups.wait_for(handle, succeeded=1)
    with_part = groups.tracking.journal.children(handle.feed, limit=1)[0][0]
    assert with_part.state == "succeeded"
    headers = {
        "petiole_part": {"v": 1, "feed": handle.feed, "run": 0, "child": 0, "id": with_part.task_id, "light": True}
    }
    groups.part("0").set(task_id=with_part.task_id, headers=headers).apply_async()
    wait_until(lambda: system.said("child_not_run"), what="the second delivery was refused")
    (groups.directory / "twice").touch()
    assert counts(groups.wait(handle)) == {"succeeded": 2}
    assert groups.runs("0") == 1


def test_a_chord_whose_header_is_ignored_never_runs_its_body(groups: Groups) -> None:
    canvas = chord([groups.part("0", "ending_part", "ignore"), groups.part("1")], groups.body())
    handle = groups.start(canvas, light=True)
    assert groups.wait(handle)["state"] == "succeeded"
    assert groups.states(handle) == ["succeeded", "succeeded", "skipped"]


def test_a_child_that_is_replaced_by_what_never_comes_to_its_end_has_failed(groups: Groups) -> None:
    # Celery's own record tells: nobody runs the last task of what replaced it.
    handle = groups.start(group([groups.part("0", "replaced_part", "failing"), groups.part("1")]), light=True)
    # In a chain Celery records it for the end of the chain alone.
    in_chain = groups.start(chain(groups.part("2", "replaced_part", "failing"), groups.part("3")), light=True)
    assert counts(groups.wait(handle)) == {"failed": 1, "succeeded": 1}
    groups.wait(in_chain)
    assert groups.states(in_chain) == ["failed", "skipped"]


def test_a_process_that_ends_after_each_task_leaves_no_number_untold(system: System, groups: Groups) -> None:
    options = ("--max-tasks-per-child", "1", "--queues", "recycled")
    worker = start_worker(system.processes, system.environment, name="recycled", options=options)
    system.processes.wait_ready(worker, timeout=READY)
    many = groups.start(group(groups.part(f"{number}") for number in range(20)), queue="recycled", light=True)
    assert counts(groups.wait(many)) == {"succeeded": 20}
    waiting = groups.part("never").set(queue="elsewhere")
    handle = groups.start(group([groups.part("last").set(queue="recycled"), waiting]), light=True)
    wait_until(lambda: groups.states(handle)[0] == "succeeded", what="the task has ended", timeout=20)
    # Sooner than the web process looks after the group.
    wait_until(lambda: counts(groups.document(handle)) == {"succeeded": 1, "queued": 1}, what="it is told", timeout=2)
    system.processes.kill(worker)


def test_a_group_that_no_worker_begins_says_so(groups: Groups) -> None:
    handle = groups.start(group([groups.part("0"), groups.part("1")]), light=True, queue="nobody-takes-it")
    wait_until(lambda: groups.document(handle).get("unheard"), what="the group says that nobody has begun it")
    assert groups.document(handle)["state"] == "queued"


def test_a_group_of_which_nothing_runs_any_more_says_so(system: System, groups: Groups) -> None:
    canvas = group([groups.part("0"), groups.part("1").set(queue="elsewhere")])
    handle = groups.start(canvas, light=True)
    groups.wait_for(handle, succeeded=1)
    wait_until(lambda: groups.document(handle).get("unheard"), what="the group says that nothing runs")
    # A worker without Petiole's header in its message runs it: Celery's record tells.
    child = groups.tracking.journal.children(handle.feed, limit=2)[0][1]
    groups.celery_app.backend.store_result(child.task_id, "1", "SUCCESS")
    document = groups.wait(handle)
    assert (document["state"], counts(document)) == ("succeeded", {"succeeded": 2})
    assert "unheard" not in document

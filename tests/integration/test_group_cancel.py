"""Groups that are cancelled, and groups whose failed children run again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from celery import chain, chord, group

from petiole import PetioleError
from petiole.dispatch.tracking import Handle
from petiole.protocol.events import Document, mint_epoch
from petiole.servers.redis import free_port
from tests.support.groups import PERSON, Groups, counts, groups_of
from tests.support.system import System, running
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    port = free_port()
    settings = {
        "WEB_RESULT_BACKEND": f"redis://127.0.0.1:{port}/0",
        "PETIOLE_HEARTBEAT": "0.5",
        "PETIOLE_CANCEL_GRACE": "0.5",
    }
    with running(tmp_path_factory.mktemp("system"), settings=settings, redis_port=port) as system:
        yield system


@pytest.fixture
def groups(system: System, tmp_path: Path) -> Iterator[Groups]:
    began = len(system.log)
    with groups_of(system, tmp_path / "lines") as groups:
        yield groups
    print("\n".join(system.log[began:][-200:]))


def cancel(system: System, handle: Handle, **body: bool) -> requests.Response:
    return system.session(PERSON).post(f"{system.url}/petiole/tasks/{handle.id}/cancel", json=body, timeout=5)


@pytest.mark.parametrize("light", [True, False])
def test_what_is_queued_never_begins_and_what_runs_stops(system: System, groups: Groups, light: bool) -> None:
    gate = system.gate("never")
    waiting = [groups.part(f"{number}", "waiting_part", str(gate)) for number in range(2)]
    handle = groups.start(group(*waiting, *(groups.part(f"{number}") for number in range(2, 10))), light=light)
    groups.wait_for(handle, running=2)
    assert cancel(system, handle).status_code == 202
    document = groups.wait(handle)
    assert document["state"] == "cancelled"
    assert counts(document) == {"cancelled": 10}
    wait_until(groups.is_drained, what="the queue is empty")
    assert sorted(groups.lines()) == ["0", "1"]


def test_what_has_ended_before_stays(system: System, groups: Groups) -> None:
    gate = system.gate("never")
    canvas = group(groups.part("0"), groups.part("1", "waiting_part", str(gate)), groups.part("2", "failing_part"))
    handle = groups.start(canvas, light=True)
    groups.wait_for(handle, succeeded=1, failed=1, running=1)
    cancel(system, handle)
    assert counts(groups.wait(handle)) == {"succeeded": 1, "failed": 1, "cancelled": 1}


def test_force_ends_the_processes_of_what_does_not_stop(system: System, groups: Groups) -> None:
    gate = system.gate("never")
    handle = groups.start(group(groups.part(f"{number}", "deaf_part", str(gate)) for number in range(3)), light=True)
    groups.wait_for(handle, running=2)
    assert cancel(system, handle).status_code == 202
    wait_until(lambda: cancel(system, handle, force=True).status_code == 202, what="force is taken")
    document = groups.wait(handle)
    assert (document["state"], counts(document)) == ("cancelled", {"cancelled": 3})


def test_a_cancelled_group_says_of_what_runs_how_much_is_done(system: System, groups: Groups) -> None:
    gate = system.gate("half")
    handle = groups.start(group([groups.part("0", "waiting_part", str(gate))]), light=True)
    wait_until(lambda: groups.document(handle)["progress"]["fraction"] == 0.5, what="half of it is done")
    gate.touch()
    assert groups.wait(handle)["state"] == "succeeded"


@pytest.mark.parametrize("light", [True, False])
def test_the_failed_children_run_again_and_no_other(groups: Groups, light: bool) -> None:
    gate = groups.directory / f"again-{light}"
    canvas = group(
        groups.part("0"),
        groups.part("1", "failing_part", str(gate)),
        chain(groups.part("2", "failing_part", str(gate)), groups.part("3")),
    )
    handle = groups.start(canvas, light=light)
    assert counts(groups.wait(handle)) == {"succeeded": 1, "failed": 2, "skipped": 1}
    gate.touch()
    again = repeat(groups, handle)
    assert again.id == handle.id
    document = groups.wait(again)
    assert (document["state"], document["run"]) == ("succeeded", 1)
    assert counts(document) == {"succeeded": 4}
    assert "error1" not in document
    assert sorted(groups.lines()) == ["0", "1", "1", "2", "2", "3"]


def test_a_child_that_was_killed_runs_again(groups: Groups) -> None:
    gate = groups.directory / "killed"
    handle = groups.start(group([groups.part("0", "dying_part", str(gate)), groups.part("1")]), light=True)
    assert counts(groups.wait(handle)) == {"succeeded": 1, "failed": 1}
    gate.touch()
    assert counts(groups.wait(repeat(groups, handle))) == {"succeeded": 2}


def test_a_group_that_fails_twice_runs_a_third_time(groups: Groups) -> None:
    gate = groups.directory / "thrice"
    handle = groups.start(group([groups.part("0", "failing_part", str(gate))]), light=True)
    groups.wait(handle)
    assert counts(groups.wait(repeat(groups, handle))) == {"failed": 1}
    gate.touch()
    document = groups.wait(repeat(groups, handle))
    assert (document["run"], counts(document)) == (2, {"succeeded": 1})


def test_a_body_that_has_failed_runs_again(groups: Groups) -> None:
    gate = groups.directory / "body"
    canvas = chord([groups.part("0")], groups.part("body", "failing_part", str(gate)))
    handle = groups.start(canvas, light=True)
    assert counts(groups.wait(handle)) == {"succeeded": 1, "failed": 1}
    gate.touch()
    assert counts(groups.wait(repeat(groups, handle))) == {"succeeded": 2}


def test_the_header_of_a_chord_cannot_run_again(groups: Groups) -> None:
    handle = groups.start(chord([groups.part("0", "failing_part"), groups.part("1")], groups.body()), light=True)
    groups.wait(handle)
    with pytest.raises(PetioleError, match="chord's header"):
        repeat(groups, handle)


def test_a_group_that_runs_cannot_run_again(system: System, groups: Groups) -> None:
    gate = system.gate("runs")
    canvas = group([groups.part("0", "failing_part"), groups.part("1", "deaf_part", str(gate))])
    handle = groups.start(canvas, light=True)
    groups.wait_for(handle, failed=1, running=1)
    with pytest.raises(PetioleError, match="The group is running"):
        repeat(groups, handle)
    gate.touch()
    groups.wait(handle)


def test_a_group_of_which_only_a_part_is_published_is_taken_back(groups: Groups) -> None:
    # What is published already has not begun when the second one is refused.
    canvas = group([groups.part("0").set(countdown=1), groups.part("1").set(countdown="soon")])
    with pytest.raises(PetioleError, match="can't be sent"):
        groups.start(canvas, light=True, task_id="taken-back")
    assert groups.tracking.journal.snapshot("group:taken-back") is None
    wait_until(groups.is_drained, what="the queue is empty")
    assert groups.lines() == []


def test_the_owner_gets_one_notice(system: System, groups: Groups) -> None:
    handle = groups.start(group([groups.part("0"), groups.part("1", "failing_part")]), light=False, title="Two tasks")
    groups.wait(handle)
    notice = wait_until(lambda: _notices(system, handle), what="the notice has come")
    assert notice["title"] == "Two tasks"
    assert notice["reason"] == "1 of 2 tasks failed."
    assert notice["children"] == {"succeeded": 1, "failed": 1}
    # Its tasks have ended before it: their notices would be there.
    kept = str(system.session(PERSON).get(f"{system.url}/petiole/inbox", timeout=5).json()["document"])
    page = groups.tracking.journal.children(handle.feed, limit=2)
    assert page is not None
    assert not any(child.task_id in kept for child in page[0])


def repeat(groups: Groups, handle: Handle) -> Handle:
    snapshot = groups.tracking.journal.snapshot(handle.feed)
    assert snapshot is not None
    return groups.tracking.repeat_group(snapshot, mint_epoch())


def _notices(system: System, handle: Handle) -> Document | None:
    answer = system.session(PERSON).get(f"{system.url}/petiole/inbox", timeout=5).json()
    found = [notice for notice in answer["document"].values() if "Two tasks" in str(notice)]
    assert len(found) <= 1
    return found[0] if found else None

"""Groups the whole way: started over HTTP, run by a real worker, watched, cancelled, retried and deleted by their owner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests

from petiole.client import TaskClient, TaskView
from tests.support.system import System
from tests.support.waiting import wait_until


def counts(document: dict[str, Any]) -> dict[str, int]:
    return {state: number for state, number in document["progress"]["children"].items() if number}


def post(system: System, session: requests.Session, feed: str, call: str, **options: Any) -> requests.Response:
    return session.post(f"{system.url}/petiole/tasks/{feed}/{call}", timeout=10, **options)


@pytest.fixture
def ann(system: System) -> requests.Session:
    return system.session("ann")


@pytest.fixture
def client(system: System, ann: requests.Session) -> TaskClient:
    return system.client(session=ann)


def start(client: TaskClient, *tasks: list[Any], kind: str = "group", **body: Any) -> TaskView:
    return client.start(f"/canvas/{kind}", {"tasks": list(tasks), "title": "Photos", **body})


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


@pytest.mark.parametrize("light", [True, False])
def test_a_page_sees_each_task_counted_once_and_one_notice(
    system: System, client: TaskClient, ann: requests.Session, tmp_path: Path, light: bool
) -> None:
    seen: list[int] = []
    view = client.start(
        "/canvas/group",
        {"tasks": [["part", f"{number}", str(tmp_path / "lines")] for number in range(40)], "light": light},
        on_event=lambda event: seen.append((event.progress or {}).get("completed", 0)),
    )
    document = view.wait(timeout=60)
    assert (document["state"], counts(document)) == ("succeeded", {"succeeded": 40})
    assert seen == sorted(seen)
    assert view.receipt is not None
    assert view.receipt.complete
    listed = list(client.children(view.feed))
    assert [(child.number, child.state) for child in listed] == [(number, "succeeded") for number in range(40)]
    assert all((child.url is None) == light for child in listed)
    if not light:
        one = ann.get(system.url + str(listed[7].url), timeout=5).json()
        assert (one["document"]["state"], one["document"]["group"]) == ("succeeded", view.feed)

    def notices() -> list[str]:
        inbox = ann.get(f"{system.url}/petiole/inbox", timeout=5).json()["document"]
        own = {view.feed, *(f"task:{child.id}" for child in listed)}
        return [name for name in inbox if name in own]

    wait_until(lambda: view.feed in notices(), what="the group's notice", timeout=10)
    assert notices() == [view.feed]


def test_a_retry_runs_the_failed_tasks_alone(
    system: System, client: TaskClient, ann: requests.Session, tmp_path: Path
) -> None:
    file, gate = str(tmp_path / "lines"), tmp_path / "gate"
    view = start(client, ["part", "good", file], ["failing_part", "bad", file, str(gate)], ["part", "too", file])
    document = view.wait(timeout=30)
    assert (document["state"], document["reason"]) == ("failed", "1 of 3 tasks failed.")
    [failed] = client.children(view.feed, state="failed")
    assert (failed.number, failed.error["message"] if failed.error else None) == (1, "bad has failed.")
    gate.touch()
    again = post(system, ann, view.feed, "retry", headers={"Idempotency-Key": "once"})
    assert (again.status_code, again.json()["id"]) == (202, view.feed)
    page = client.watch(view.feed, cursor=again.json()["cursor"], document=again.json()["document"])
    document = page.wait(timeout=30)
    assert (document["state"], counts(document), document["run"]) == ("succeeded", {"succeeded": 3}, 1)
    assert page.receipt is not None
    assert page.receipt.complete
    assert sorted(lines(Path(file))) == ["bad", "bad", "good", "too"]
    assert post(system, ann, view.feed, "retry", headers={"Idempotency-Key": "once"}).json() == again.json()
    assert sorted(lines(Path(file))) == ["bad", "bad", "good", "too"]


@pytest.mark.parametrize("light", [True, False])
def test_a_cancel_stops_what_runs_and_what_waits_never_begins(
    system: System, client: TaskClient, ann: requests.Session, tmp_path: Path, light: bool
) -> None:
    file, gate = tmp_path / "lines", tmp_path / "gate"
    view = start(client, *(["waiting_part", f"{number}", str(file), str(gate)] for number in range(6)), light=light)
    view.wait_until(lambda document: counts(document).get("running") == 2, timeout=30)
    assert post(system, ann, view.feed, "cancel").status_code == 202
    document = view.wait(timeout=30)
    assert (document["state"], counts(document)) == ("cancelled", {"cancelled": 6})
    # One that was stopped before its first line has none.
    begun = lines(file)
    assert set(begun) <= {"0", "1"}
    gate.touch()
    if not light:
        # The others have no page: they never began.
        urls = [child.url for child in client.children(view.feed) if child.url is not None]
        own = [ann.get(system.url + url, timeout=5).json()["document"]["state"] for url in urls]
        assert own == ["cancelled"] * 2
    # The worker is free for others, and none of the six begins later.
    assert start(client, ["part", "after", str(file)]).wait(timeout=30)["state"] == "succeeded"
    assert lines(file) == [*begun, "after"]


@pytest.mark.parametrize("light", [True, False])
def test_what_runs_of_a_deleted_group_is_stopped(
    system: System, client: TaskClient, ann: requests.Session, tmp_path: Path, light: bool
) -> None:
    file, gate = tmp_path / "lines", tmp_path / "gate"
    view = start(client, *(["waiting_part", f"{number}", str(file), str(gate)] for number in range(6)), light=light)
    view.wait_until(lambda document: counts(document).get("running") == 2, timeout=30)
    assert ann.delete(f"{system.url}/petiole/tasks/{view.feed}", timeout=10).status_code == 204
    # Without opening the gate: their places in the worker are free again.
    assert (
        start(client, ["part", "after", str(file)], ["part", "too", str(file)]).wait(timeout=30)["state"] == "succeeded"
    )
    assert set(lines(file)) <= {"0", "1", "after", "too"}
    for call in ("", "/children", "/events"):
        assert ann.get(f"{system.url}/petiole/tasks/{view.feed}{call}", timeout=5).status_code == 404


def test_a_chain_shows_its_step(client: TaskClient, tmp_path: Path) -> None:
    file, gate = str(tmp_path / "lines"), tmp_path / "gate"
    view = start(client, ["deaf_part", "first", file, str(gate)], ["part_after", "second", file], kind="chain")
    document = view.wait_until(lambda document: counts(document).get("running") == 1, timeout=30)
    assert document["steps"] == ["Deaf part", "Part after"]
    gate.touch()
    assert counts(view.wait(timeout=30)) == {"succeeded": 2}


def test_somebody_else_sees_nothing_of_it(system: System, client: TaskClient, tmp_path: Path) -> None:
    view = start(client, ["part", "one", str(tmp_path / "lines")])
    view.wait(timeout=30)
    bob = system.session("bob")
    for call in ("", "/children", "/events"):
        assert bob.get(f"{system.url}/petiole/tasks/{view.feed}{call}", timeout=5).status_code == 404
    for call in ("cancel", "retry"):
        assert post(system, bob, view.feed, call).status_code == 404

"""Nobody sees, reads or cancels a foreign task: over HTTP and over the socket."""

from __future__ import annotations

import pytest
import requests

from petiole.client import Refused
from tests.support.system import System

UNKNOWN = "task:00000000-0000-4000-8000-000000000000"


@pytest.fixture
def anns(system: System) -> dict:
    response = system.session("ann").post(f"{system.url}/start/count", json={"args": [3]}, timeout=5)
    return response.json()


def answer(session: requests.Session, method: str, url: str) -> tuple[int, dict]:
    response = session.request(method, url, timeout=5)
    return response.status_code, response.json()


@pytest.mark.parametrize(("method", "link"), [("GET", "self"), ("GET", "events"), ("POST", "cancel")])
def test_foreign_and_missing_are_the_same_404(system: System, anns: dict, method: str, link: str) -> None:
    bob = system.session("bob")
    foreign = answer(bob, method, system.url + anns["links"][link])
    missing = answer(bob, method, system.url + anns["links"][link].replace(anns["id"], UNKNOWN[5:]))
    assert foreign[0] == 404
    assert foreign == missing


def test_foreign_and_missing_are_the_same_refusal_on_the_socket(system: System, anns: dict) -> None:
    client = system.client("bob")
    refusals = []
    for feed in (anns["feed"], UNKNOWN):
        with pytest.raises(Refused) as refused:
            client.watch(feed).wait(timeout=5)
        with pytest.raises(Refused) as uncancelled:
            client.watch(feed).cancel()
        refusals.append((refused.value.problem, uncancelled.value.problem))
    assert refusals[0] == refusals[1]
    assert refusals[0][0]["status"] == 404


def test_a_foreign_watcher_gets_no_event(system: System) -> None:
    gate = system.gate("foreign")
    ann, bob = system.client("ann"), system.client("bob")
    seen: list[object] = []
    mine = ann.start("/start/count", {"args": [20, {"1": str(gate)}]})
    with pytest.raises(Refused):
        bob.watch(mine.feed, on_event=seen.append).wait(timeout=5)
    gate.touch()
    mine.wait(timeout=15)
    # Bob's connection is alive and ordered: any event sent to it would have arrived before this answer.
    assert bob.call("unwatch", {"feed": mine.feed}) == {}
    assert seen == []


def test_the_list_has_ones_own_tasks_only_newest_first(system: System) -> None:
    cid = system.session("cid")
    ids = [cid.post(f"{system.url}/start/silent", json={}, timeout=5).json()["id"] for _ in range(3)]
    listed = cid.get(f"{system.url}/petiole/tasks", timeout=5).json()["tasks"]
    assert [task["id"] for task in listed] == ids[::-1]
    assert system.session("dan").get(f"{system.url}/petiole/tasks", timeout=5).json() == {"tasks": []}


def test_the_list_is_paged_by_its_link_header(system: System) -> None:
    eve = system.session("eve")
    for _ in range(55):
        assert eve.post(f"{system.url}/start/silent", json={}, timeout=5).status_code == 202
    first = eve.get(f"{system.url}/petiole/tasks", timeout=5)
    second = eve.get(system.url + first.links["next"]["url"], timeout=5)
    ids = [task["id"] for task in first.json()["tasks"] + second.json()["tasks"]]
    assert len(ids) == len(set(ids)) == 55


def test_a_cancel_from_a_page_of_another_site_is_refused(system: System, anns: dict) -> None:
    ann = system.session("ann")
    response = ann.post(
        system.url + anns["links"]["cancel"], headers={"Origin": "https://elsewhere.example"}, timeout=5
    )
    assert response.status_code == 403


@pytest.mark.parametrize(
    "message",
    [
        None,
        7,
        "task:1",
        [],
        {},
        {"feed": None},
        {"feed": "task:"},
        {"feed": "x:1"},
        {"feed": "task:../../etc"},
        {"feed": 0},
    ],
)
def test_a_malformed_watch_is_answered_with_a_sentence(system: System, message: object) -> None:
    client = system.client("ann")
    client.connect()
    problem = client.call("watch", message)["error"]
    assert problem["status"] == 400
    assert problem["detail"].endswith(".") or "@ -" in problem["detail"]


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "0.0.0.0",
        "ffffffff.1.1.zzzzzzzzzzzzzzzz",
        "ffffffff.-1.1.0000000000000000",
        f"ffffffff.{2**63}.1.{'0' * 16}",
        5,
    ],
)
def test_a_malformed_cursor_is_refused(system: System, anns: dict, cursor: object) -> None:
    client = system.client("ann")
    client.connect()
    assert client.call("watch", {"feed": anns["feed"], "cursor": cursor})["error"]["status"] == 400


def test_a_forged_cursor_gets_a_snapshot_of_the_same_feed_and_nothing_else(system: System, anns: dict) -> None:
    client = system.client("ann")
    client.watch(anns["feed"]).wait(timeout=10)
    reading = client.call("watch", {"feed": anns["feed"], "cursor": f"ffffffff.{2**53 - 1}.{2**53 - 1}.{'0' * 16}"})
    assert reading["recovered"] is False
    assert reading["events"] == []
    assert reading["feed"] == anns["feed"]

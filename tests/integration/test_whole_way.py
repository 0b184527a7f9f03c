"""From start to receipt through real processes."""

from __future__ import annotations

import requests

from petiole.protocol.events import Event
from tests.support.system import System
from tests.support.waiting import wait_until


def test_every_fact_arrives_in_order_once_with_a_receipt(system: System) -> None:
    events: list[Event] = []
    view = system.client("ann").start("/start/count", {"args": [200], "title": "Two hundred"}, on_event=events.append)
    document = view.wait(timeout=20)
    assert document["state"] == "succeeded"
    assert document["title"] == "Two hundred"
    assert document["result"] == 200
    lines = [event.data["message"] for event in events if event.kind == "log"]
    assert lines == [f"item {number}" for number in range(200)]
    assert [event.facts for event in events if event.is_fact] == list(range(2, view.receipt.facts + 1))
    assert view.receipt.complete
    assert view.receipt.shown == view.receipt.facts == 204
    assert document["progress"]["fraction"] == 1


def test_counters_only_rise_and_are_coalesced(system: System) -> None:
    events: list[Event] = []
    view = system.client("ann").start("/start/count_quickly", {"args": [200_000]}, on_event=events.append)
    assert view.wait(timeout=20)["result"] == 200_000
    counted = [event.progress["completed"] for event in events if event.kind == "counter"]
    assert counted == sorted(counted)
    assert len(counted) < 100


def test_a_task_without_progress_calls_has_a_truthful_page(system: System) -> None:
    states: list[str] = []
    view = system.client("ann").start(
        "/start/silent", {}, on_event=lambda event: states.append(event.patch.get("state"))
    )
    document = view.wait(timeout=20)
    assert document["result"] == "done"
    assert states == ["running", "succeeded"]


def test_a_page_that_joins_late_reads_everything_that_was(system: System) -> None:
    gate = system.gate("late")
    session = system.session("ann")
    accepted = session.post(f"{system.url}/start/count", json={"args": [100, {"60": str(gate)}]}, timeout=5).json()

    def written() -> bool:
        document = session.get(system.url + accepted["links"]["self"], timeout=5).json()["document"]
        return (document.get("progress") or {}).get("completed") == 60

    wait_until(written, what="60 items are done")
    events: list[Event] = []
    view = system.client(session=session).watch(accepted["feed"], on_event=events.append)
    view.wait_until(lambda document: document["progress"]["completed"] == 60, timeout=10)
    gate.touch()
    assert view.wait(timeout=20)["state"] == "succeeded"
    assert [event.data["message"] for event in events if event.kind == "log"] == [f"item {n}" for n in range(100)]
    assert view.receipt.complete
    assert view.receipt.shown == view.receipt.facts


def test_a_page_that_comes_after_the_end_reads_it_all(system: System) -> None:
    first = system.client("ann").start("/start/count", {"args": [30]})
    first.wait(timeout=20)
    events: list[Event] = []
    late = system.client("ann").watch(first.feed, on_event=events.append)
    assert late.wait(timeout=10) == first.document
    assert late.receipt.complete
    assert late.receipt == first.receipt
    assert len([event for event in events if event.kind == "log"]) == 30


def test_more_facts_than_one_read_returns_are_read_page_by_page(system: System) -> None:
    first = system.client("ann").start("/start/count", {"args": [1400]})
    first.wait(timeout=30)
    late = system.client("ann").watch(first.feed)
    late.wait(timeout=10)
    assert late.receipt.complete
    assert late.receipt.shown == 1404


def test_a_browser_that_reconnects_in_the_middle_goes_on_from_its_cursor(system: System) -> None:
    gate = system.gate("reconnect")
    events: list[Event] = []
    client = system.client("ann")
    view = client.start("/start/count", {"args": [100, {"50": str(gate)}]}, on_event=events.append)
    view.wait_until(lambda document: (document.get("progress") or {}).get("completed") == 50, timeout=15)
    client.cut()
    gate.touch()
    finished = system.client("ann").watch(view.feed)
    finished.wait(timeout=20)
    assert view.wait(timeout=20)["state"] == "succeeded"
    assert [event.data["message"] for event in events if event.kind == "log"] == [f"item {n}" for n in range(100)]
    assert view.resets == 0
    assert view.receipt.complete


def test_hostile_values_arrive_as_they_are_and_impossible_ones_as_near_as_can_be(system: System) -> None:
    events: list[Event] = []
    view = system.client("ann").start("/start/say_anything", {}, on_event=events.append)
    assert view.wait(timeout=20)["state"] == "succeeded"
    custom = {event.data["name"]: event.data["data"] for event in events if event.kind == "custom"}
    large = 2**53 + 1
    assert custom == {
        "set": [1, 2, 3],
        "object": "<object>",
        "nan": "NaN",
        "large": [str(large), "9" * 120],
        "hostile": "</script><img src=x onerror=alert(1)> \u202e \x00 😀 ' \" \\",
    }
    lines = [event.data["message"] for event in events if event.kind == "log"]
    assert len([line for line in lines if line.startswith("An event was set aside.")]) == 1
    assert lines[-1].endswith("…")
    assert view.receipt.complete


def test_retries_are_runs_of_the_same_feed(system: System) -> None:
    states: list[tuple[str, int]] = []
    reasons: list[str] = []

    def note(event: Event) -> None:
        if "state" in event.patch:
            states.append((event.patch["state"], event.run))
        if event.patch.get("reason"):
            reasons.append(event.patch["reason"])

    view = system.client("ann").start("/start/fail_twice", {}, on_event=note)
    document = view.wait(timeout=20)
    assert document["result"] == "attempt 2"
    assert document["run"] == 3
    assert document["retries"] == 2
    assert states == [
        ("running", 1),
        ("retrying", 1),
        ("running", 2),
        ("retrying", 2),
        ("running", 3),
        ("succeeded", 3),
    ]
    assert not any("swordfish" in reason for reason in reasons)
    assert view.receipt.complete


def test_the_202_says_where_everything_is(system: System) -> None:
    session = system.session("ann")
    response = session.post(f"{system.url}/start/silent", json={}, timeout=5)
    assert response.status_code == 202
    accepted = response.json()
    assert response.headers["Location"] == accepted["links"]["self"]
    assert int(response.headers["Retry-After"]) > 0
    assert accepted["document"]["state"] == "queued"
    assert accepted["feed"] == f"task:{accepted['id']}"


def test_a_task_by_delay_is_left_alone(system: System) -> None:
    from celery import Celery

    plain = Celery("plain", broker=system.redis_url, backend=system.redis_url)
    assert plain.send_task("tests.apps.worker_app.silent").get(timeout=15) == "done"
    assert not [key for key in system.redis().keys("petiole:*") if b"plain" in key]


def test_a_task_that_a_task_starts_by_delay_is_its_owners_too(system: System) -> None:
    client = system.client("ann")
    child = client.start("/start/start_a_child", {"args": [50]}).wait(timeout=15)["result"]
    view = client.watch(f"task:{child}")
    document = view.wait(timeout=15)
    assert (document["state"], document["result"]) == ("succeeded", 50)
    assert (document["title"], document["task"]) == ("Child", "tests.apps.worker_app.child")
    assert view.receipt.complete
    assert system.session("bob").get(f"{system.url}/petiole/tasks/{child}", timeout=5).status_code == 404


def test_nobody_in_particular_is_known_by_the_session(system: System) -> None:
    session = system.session()
    accepted = session.post(f"{system.url}/start/silent", json={}, timeout=5).json()
    assert session.get(system.url + accepted["links"]["self"], timeout=5).status_code == 200
    assert requests.get(system.url + accepted["links"]["self"], timeout=5).status_code == 404
    view = system.client(session=session).watch(accepted["feed"])
    assert view.wait(timeout=15)["state"] == "succeeded"

"""Redis killed, its subscribers cut, its server gone: nothing is lost, and failures are reported."""

from __future__ import annotations

import threading
import time

import requests

from petiole.protocol.events import Event
from tests.support.freezing import freeze, thaw
from tests.support.system import System
from tests.support.waiting import wait_until


def test_redis_killed_and_restarted_in_the_middle_loses_nothing(own_system: System) -> None:
    system = own_system
    first, second = system.gate("first"), system.gate("second")
    events: list[Event] = []
    view = system.client("ann").start(
        "/start/count", {"args": [300, {"100": str(first), "200": str(second)}]}, on_event=events.append
    )
    view.wait_until(lambda document: (document.get("progress") or {}).get("completed") == 100, timeout=15)
    system.kill_redis()
    first.touch()
    wait_until(lambda: system.said("journal_away"), what="the worker has noticed")
    system.start_redis()
    view.wait_until(lambda document: document["progress"]["completed"] == 200, timeout=30)
    second.touch()
    assert view.wait(timeout=30)["state"] == "succeeded"
    lines = [event.data["message"] for event in events if event.kind == "log"]
    assert [line for line in lines if line.startswith("item")] == [f"item {number}" for number in range(300)]


def test_cut_subscribers_cost_no_event(own_system: System) -> None:
    system = own_system
    gates = {str(number): str(system.gate(f"cut-{number}")) for number in (50, 100, 150)}
    events: list[Event] = []
    view = system.client("ann").start("/start/count", {"args": [200, gates]}, on_event=events.append)
    for number, gate in gates.items():
        done = int(number)
        view.wait_until(
            lambda document, done=done: (document.get("progress") or {}).get("completed") == done, timeout=15
        )
        assert system.redis().execute_command("CLIENT", "KILL", "TYPE", "pubsub") >= 1
        open(gate, "w").close()
    assert view.wait(timeout=20)["state"] == "succeeded"
    assert [event.data["message"] for event in events if event.kind == "log"] == [f"item {n}" for n in range(200)]
    assert view.receipt.complete
    assert view.resets == 0


def test_redis_away_at_post_is_a_503_within_two_seconds_and_nothing_half_made(own_system: System) -> None:
    system = own_system
    session = system.session("ann")
    system.kill_redis()
    began = time.monotonic()
    response = session.post(f"{system.url}/start/silent", json={}, timeout=10)
    assert time.monotonic() - began < 2
    assert response.status_code == 503
    assert response.headers["Content-Type"] == "application/problem+json"
    assert "Nothing was started" in response.json()["detail"]
    system.start_redis()
    wait_until(
        lambda: session.get(f"{system.url}/petiole/tasks", timeout=5).status_code == 200, what="the journal is back"
    )
    assert session.get(f"{system.url}/petiole/tasks", timeout=5).json() == {"tasks": []}


def test_redis_frozen_at_post_is_a_503_within_two_seconds(own_system: System) -> None:
    system = own_system
    session = system.session("ann")
    freeze([system.redis_process.popen.pid])
    try:
        began = time.monotonic()
        response = session.post(f"{system.url}/start/silent", json={}, timeout=10)
        assert time.monotonic() - began < 2
        assert response.status_code == 503
    finally:
        thaw([system.redis_process.popen.pid])


def test_a_lost_journal_is_a_reset_and_the_task_ends_well(own_system: System) -> None:
    system = own_system
    gate = system.gate("flushed")
    view = system.client("ann").start("/start/count", {"args": [100, {"50": str(gate)}]})
    view.wait_until(lambda document: (document.get("progress") or {}).get("completed") == 50, timeout=15)
    system.redis().flushall()
    gate.touch()
    document = view.wait(timeout=30)
    assert document["state"] == "succeeded"
    assert document["progress"]["fraction"] == 1
    assert view.resets >= 1
    assert not view.receipt.complete


def test_many_browsers_see_the_same(system: System) -> None:
    gate = system.gate("many")
    first = system.client("ann")
    accepted = first.start("/start/count", {"args": [100, {"10": str(gate)}]})
    seen: list[list[str]] = [[] for _ in range(10)]
    views = [
        system.client("ann").watch(
            accepted.feed, on_event=lambda event, own=own: own.append(event.id) if event.is_fact else None
        )
        for own in seen
    ]
    for view in views:
        view.wait_until(lambda document: (document.get("progress") or {}).get("completed") == 10, timeout=15)
    threading.Thread(target=gate.touch).start()
    for view in views:
        view.wait(timeout=20)
        assert view.receipt.complete
    assert all(own == seen[0] for own in seen)
    assert len(seen[0]) == 104


def test_a_task_ends_without_a_watcher(system: System) -> None:
    session = system.session("ann")
    accepted = session.post(f"{system.url}/start/count", json={"args": [50]}, timeout=5).json()

    def ended() -> bool:
        answer = requests.get(system.url + accepted["links"]["self"], headers={"X-Person": "ann"}, timeout=5).json()
        return answer["document"]["state"] == "succeeded"

    wait_until(ended, what="the task has ended without a watcher")


def test_a_journal_that_refuses_everything_for_3_s_fails_no_task_and_loses_nothing(own_system: System) -> None:
    system = own_system
    client, events = system.client("ann"), list[Event]()
    gates = [system.gate(f"refused-{number}") for number in range(2)]
    first = client.start("/start/count", {"args": [200, {"100": str(gates[0])}]}, on_event=events.append)
    second = client.start("/start/count", {"args": [200, {"100": str(gates[1])}]})
    for view in (first, second):
        view.wait_until(lambda document: (document.get("progress") or {}).get("completed") == 100, timeout=15)
    # Both of the worker's processes are busy, so this one is claimed while the server refuses.
    third = client.start("/start/count", {"args": [20, {}]})
    system.redis().execute_command("ACL", "SETUSER", "default", "-evalsha", "-eval")
    for gate in gates:
        gate.touch()
    wait_until(lambda: system.said("claim_waits") and system.said("journal_away"), what="all were refused")
    ready = f"{system.url}/petiole/ready"
    wait_until(lambda: requests.get(ready, timeout=5).status_code == 503, what="readiness reports it")
    time.sleep(3)  # as long as the fault lasts
    system.redis().execute_command("ACL", "SETUSER", "default", "+@all")
    for view in (first, second, third):
        assert view.wait(timeout=40)["state"] == "succeeded"
        assert view.receipt.complete
    lines = [event.data["message"] for event in events if event.kind == "log"]
    assert lines == [f"item {number}" for number in range(200)]
    wait_until(lambda: requests.get(ready, timeout=5).status_code == 200, what="it is ready again")


def test_a_claim_of_a_feed_whose_key_is_spoiled_is_waited_for_and_the_others_go_on(own_system: System) -> None:
    system = own_system
    client = system.client("ann")
    gates = [system.gate(f"spoiled-{number}") for number in range(2)]
    busy = [client.start("/start/count", {"args": [20, {"10": str(gate)}]}) for gate in gates]
    for view in busy:
        view.wait_until(lambda document: document["state"] == "running", timeout=15)
    queued = client.start("/start/count", {"args": [20, {}]})
    redis = system.redis()
    # A watch of a missing feed is refused for good, so the page watches it first, and the feed is never missing for it.
    queued.wait_until(lambda document: document["state"] == "queued", timeout=15)
    [meta] = redis.keys(f"*{queued.feed}:meta")
    with redis.pipeline(transaction=True) as swap:
        swap.rename(meta, "aside").set(meta, "spoiled").execute()
    gates[0].touch()
    wait_until(lambda: system.said("claim_waits"), what="the claim was refused")
    assert client.start("/start/count", {"args": [20, {}]})
    gates[1].touch()
    for view in busy:
        assert view.wait(timeout=20)["state"] == "succeeded"
    redis.rename("aside", meta)
    assert queued.wait(timeout=20)["state"] == "succeeded"

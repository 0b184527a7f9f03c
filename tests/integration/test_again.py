"""Retry and delete, with a real worker: a retry has the original arguments, and a deleted task stops."""

from __future__ import annotations

from typing import Any

import requests

from tests.support.system import System
from tests.support.waiting import wait_until


def start(system: System, session: requests.Session, name: str, *args: object) -> dict[str, Any]:
    response = session.post(f"{system.url}/start/{name}", json={"args": args}, timeout=5)
    assert response.status_code == 202
    found: dict[str, Any] = response.json()
    return found


def document(system: System, session: requests.Session, task: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = session.get(system.url + task["links"]["self"], timeout=5).json()["document"]
    return found


def wait_for_state(system: System, session: requests.Session, task: dict[str, Any], state: str) -> None:
    wait_until(lambda: document(system, session, task)["state"] == state, what=f"the task is {state}", timeout=20)


def test_a_failed_task_starts_again_and_stays_what_it_was(system: System) -> None:
    ann = system.session("ann")
    task = start(system, ann, "raise_explained")
    wait_for_state(system, ann, task, "failed")
    failed = ann.get(system.url + task["links"]["self"], timeout=5).json()
    again = ann.post(system.url + failed["links"]["retry"], timeout=5).json()
    assert again["document"]["retry_of"] == task["id"]
    wait_for_state(system, ann, again, "failed")
    assert document(system, ann, again)["retry_of"] == task["id"]
    assert document(system, ann, task) == failed["document"]


def test_a_cancelled_task_has_its_arguments_again(system: System) -> None:
    ann = system.session("ann")
    gate = system.gate("again")
    task = start(system, ann, "count", 5, {"2": str(gate)})
    wait_until(
        lambda: (document(system, ann, task).get("progress") or {}).get("completed") == 2, what="it waits at its gate"
    )
    assert ann.post(system.url + task["links"]["cancel"], timeout=5).status_code == 202
    wait_for_state(system, ann, task, "cancelled")
    again = ann.post(f"{system.url}/petiole/tasks/{task['id']}/retry", timeout=5).json()
    gate.touch()
    wait_for_state(system, ann, again, "succeeded")
    assert document(system, ann, again)["progress"]["completed"] == 5


def test_a_task_that_was_started_by_delay_starts_again_as_well(system: System) -> None:
    ann = system.session("ann")
    parent = start(system, ann, "start_a_child", 3)
    wait_for_state(system, ann, parent, "succeeded")
    child = f"/petiole/tasks/{document(system, ann, parent)['result']}"
    task = {"links": {"self": child}}
    wait_for_state(system, ann, task, "succeeded")
    # A succeeded task can't be retried, so this reads its message where a retry would find it.
    assert ann.post(f"{system.url}{child}/retry", timeout=5).status_code == 409
    with system.redis() as client:
        kept = client.get(next(iter(client.scan_iter(f"*task:{child.rpartition('/')[2]}:message"))))
    assert kept is not None
    assert b'"args": [3]' in kept


def test_a_running_task_that_is_removed_stops_and_stays_away(system: System) -> None:
    ann = system.session("ann")
    task = start(system, ann, "count", 5, {"2": str(system.gate("never"))})
    url = system.url + task["links"]["self"]
    wait_until(
        lambda: (document(system, ann, task).get("progress") or {}).get("completed") == 2, what="it waits at its gate"
    )
    began = len(system.log)
    assert ann.delete(url, timeout=5).status_code == 204
    assert ann.get(url, timeout=5).status_code == 404
    wait_until(
        lambda: (
            any("run_fenced" in line or "run_cancelled" in line for line in system.log[began:])
            or any(task["id"] in line and "ignored" in line.lower() for line in system.log[began:])
        ),
        what="its worker has stopped it",
    )
    assert ann.get(url, timeout=5).status_code == 404

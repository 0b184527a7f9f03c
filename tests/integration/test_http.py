"""The HTTP twin of the socket: monitor, events, list and cancel, with their shapes, headers and refusals."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.system import System
from tests.support.waiting import wait_until

PROBLEM = "application/problem+json"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


def start(system: System, session: requests.Session, name: str, *args: object) -> dict[str, Any]:
    response = session.post(f"{system.url}/start/{name}", json={"args": args}, timeout=5)
    assert response.status_code == 202
    return response.json()


def document(system: System, session: requests.Session, task: dict[str, Any]) -> dict[str, Any]:
    return session.get(system.url + task["links"]["self"], timeout=5).json()["document"]


def wait_for_state(system: System, session: requests.Session, task: dict[str, Any], state: str) -> None:
    wait_until(lambda: document(system, session, task)["state"] == state, what=f"the task is {state}", timeout=20)


def assert_problem(response: requests.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["Content-Type"] == PROBLEM
    problem = response.json()
    assert problem["status"] == status
    assert isinstance(problem["title"], str)
    assert problem["detail"].endswith(".")
    assert "Traceback" not in response.text
    return problem


@pytest.fixture
def ann(system: System) -> requests.Session:
    return system.session("ann")


@pytest.fixture
def held(system: System, ann: requests.Session) -> Any:
    """A task that waits with two items done, until the test has ended."""
    gate = system.gate(f"http-{time.monotonic_ns()}")
    task = start(system, ann, "count", 5, {"2": str(gate)})

    def at_the_gate() -> bool:
        return (document(system, ann, task).get("progress") or {}).get("completed") == 2

    wait_until(at_the_gate, what="the task waits at its gate")
    yield task
    gate.touch()
    wait_until(
        lambda: document(system, ann, task)["state"] in ("succeeded", "cancelled"), what="the held task has ended"
    )


@pytest.fixture
def finished(system: System, ann: requests.Session) -> dict[str, Any]:
    task = start(system, ann, "count", 3)
    wait_for_state(system, ann, task, "succeeded")
    return task


def test_the_monitor_says_when_to_ask_again_and_that_it_is_private(
    system: System, ann: requests.Session, held: dict[str, Any]
) -> None:
    response = ann.get(system.url + held["links"]["self"], timeout=5)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "private, no-cache"
    assert int(response.headers["Retry-After"]) > 0
    assert set(response.json()) == {"id", "feed", "cursor", "document", "links"}
    assert response.json()["document"]["state"] == "running"


def test_the_monitor_is_not_sent_again_while_nothing_has_changed(
    system: System, ann: requests.Session, held: dict[str, Any]
) -> None:
    url = system.url + held["links"]["self"]
    first = ann.get(url, timeout=5)
    again = ann.get(url, headers={"If-None-Match": first.headers["ETag"]}, timeout=5)
    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["ETag"] == first.headers["ETag"] == f'"{first.json()["cursor"]}"'  # clients rely on it
    assert again.headers["Cache-Control"] == "private, no-cache"
    assert int(again.headers["Retry-After"]) > 0


def test_the_monitor_has_another_etag_after_every_event(
    system: System, ann: requests.Session, held: dict[str, Any]
) -> None:
    url = system.url + held["links"]["self"]
    before = ann.get(url, timeout=5).headers["ETag"]
    assert ann.post(system.url + held["links"]["cancel"], timeout=5).status_code == 202
    after = ann.get(url, headers={"If-None-Match": before}, timeout=5)
    assert after.status_code == 200
    assert after.headers["ETag"] != before


@pytest.mark.parametrize("link", ["self", "events"])
def test_nobody_is_told_to_ask_again_after_the_end(
    system: System, ann: requests.Session, finished: dict[str, Any], link: str
) -> None:
    response = ann.get(system.url + finished["links"][link], timeout=5)
    assert response.status_code == 200
    assert "Retry-After" not in response.headers


def test_a_failed_task_is_a_200_that_says_so(system: System, ann: requests.Session) -> None:
    task = start(system, ann, "raise_explained")
    wait_for_state(system, ann, task, "failed")
    response = ann.get(system.url + task["links"]["self"], timeout=5)
    assert response.status_code == 200
    assert response.json()["document"]["reason"] == "The database is being repaired. Try again after noon."


def test_events_from_the_cursor_of_the_202_are_all_of_the_tasks_own(
    system: System, ann: requests.Session, finished: dict[str, Any]
) -> None:
    reading = ann.get(system.url + finished["links"]["events"], params={"after": finished["cursor"]}, timeout=5).json()
    assert reading["recovered"] is True
    assert reading["more"] is False
    first = int(finished["cursor"].split(".")[2])
    assert [event["facts"] for event in reading["events"]] == list(range(first + 1, first + 1 + len(reading["events"])))
    assert [event["data"]["message"] for event in reading["events"] if event["kind"] == "log"] == [
        "item 0",
        "item 1",
        "item 2",
    ]
    assert reading["cursor"].split(".")[2] == str(reading["events"][-1]["facts"])
    assert reading["document"]["state"] == "succeeded"


def test_more_events_than_one_answer_holds_are_read_page_by_page(system: System, ann: requests.Session) -> None:
    task = start(system, ann, "count", 1200)
    wait_for_state(system, ann, task, "succeeded")
    cursor, pages, lines = task["cursor"], 0, []
    more = True
    while more:
        reading = ann.get(system.url + task["links"]["events"], params={"after": cursor}, timeout=5).json()
        assert len(reading["events"]) <= 500
        lines += [event["data"]["message"] for event in reading["events"] if event["kind"] == "log"]
        cursor, more = reading["cursor"], reading["more"]
        pages += 1
    assert pages == 3
    assert lines == [f"item {number}" for number in range(1200)]


def test_two_hundred_polls_while_a_task_runs_give_every_fact_once(system: System, ann: requests.Session) -> None:
    gates = {str(number): str(system.gate(f"poll-{number}")) for number in range(0, 400, 4)}
    task = start(system, ann, "count", 400, gates)
    url = system.url + task["links"]["events"]
    cursor, facts, lines = task["cursor"], [], []
    opening = iter(gates.values())
    for poll in range(200):
        if poll % 2 == 0:
            Path(next(opening)).touch()
        response = ann.get(url, params={"after": cursor}, timeout=5)
        assert response.status_code == 200
        reading = response.json()
        assert reading["recovered"] is True
        facts += [event["facts"] for event in reading["events"]]
        lines += [event["data"]["message"] for event in reading["events"] if event["kind"] == "log"]
        cursor = reading["cursor"]
    assert len(lines) > 0
    wait_for_state(system, ann, task, "succeeded")
    last = ann.get(url, params={"after": cursor}, timeout=5).json()
    assert last["more"] is False
    facts += [event["facts"] for event in last["events"]]
    lines += [event["data"]["message"] for event in last["events"] if event["kind"] == "log"]
    assert lines == [f"item {number}" for number in range(400)]
    assert facts == list(range(2, 2 + len(facts)))
    assert last["cursor"].split(".")[2] == str(facts[-1])


def test_a_cursor_of_another_epoch_is_gone_and_the_document_is_where_to_go_on(
    system: System, ann: requests.Session, finished: dict[str, Any]
) -> None:
    epoch, rest = finished["cursor"].split(".", 1)
    other = f"{int(epoch, 16) ^ 1:08x}.{rest}"
    response = ann.get(system.url + finished["links"]["events"], params={"after": other}, timeout=5)
    problem = assert_problem(response, 410)
    assert problem["links"] == {"self": finished["links"]["self"]}
    again = ann.get(system.url + problem["links"]["self"], timeout=5).json()
    reading = ann.get(system.url + again["links"]["events"], params={"after": again["cursor"]}, timeout=5).json()
    assert reading["recovered"] is True
    assert reading["events"] == []


@pytest.mark.parametrize("cursor", ["x", "0", "1.2.3", f"zzzzzzzz.1.1.{'0' * 16}", f"00000000.1.1.{'0' * 17}", "\x00"])
def test_a_malformed_cursor_is_refused(
    system: System, ann: requests.Session, finished: dict[str, Any], cursor: str
) -> None:
    response = ann.get(system.url + finished["links"]["events"], params={"after": cursor}, timeout=5)
    assert "cursor" in assert_problem(response, 400)["detail"]


def test_the_list_has_the_tasks_of_a_state(system: System) -> None:
    fay = system.session("fay")
    done = [start(system, fay, "silent")["id"] for _ in range(2)]
    failed = start(system, fay, "raise_explained")["id"]

    def listed(state: str) -> list[str]:
        answer = fay.get(f"{system.url}/petiole/tasks", params={"state": state}, timeout=5)
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "private, no-cache"
        return [task["id"] for task in answer.json()["tasks"]]

    wait_until(lambda: listed("succeeded") == done[::-1], what="both have succeeded")
    wait_until(lambda: listed("failed") == [failed], what="one has failed")
    assert listed("lost") == []


def test_the_list_goes_on_with_the_same_state(system: System) -> None:
    gus = system.session("gus")
    for _ in range(51):
        start(system, gus, "silent")

    def all_have_ended() -> bool:
        tasks = gus.get(f"{system.url}/petiole/tasks", timeout=5).json()["tasks"]
        return {task["document"]["state"] for task in tasks} == {"succeeded"}

    wait_until(all_have_ended, what="the newest 50 have succeeded")
    first = gus.get(f"{system.url}/petiole/tasks", params={"state": "succeeded"}, timeout=5)
    assert len(first.json()["tasks"]) == 50
    assert "state=succeeded" in first.links["next"]["url"]
    second = gus.get(system.url + first.links["next"]["url"], timeout=5)
    assert len(second.json()["tasks"]) == 1
    assert "next" not in second.links


def test_a_list_of_an_unknown_state_is_refused_with_the_known_ones(system: System, ann: requests.Session) -> None:
    problem = assert_problem(ann.get(f"{system.url}/petiole/tasks?state=sleeping", timeout=5), 422)
    assert "'sleeping'" in problem["detail"]
    assert "running" in problem["detail"]


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1.5", "9" * 17, "1 "])
def test_a_malformed_cursor_of_the_list_is_refused(system: System, ann: requests.Session, cursor: str) -> None:
    response = ann.get(f"{system.url}/petiole/tasks", params={"cursor": cursor}, timeout=5)
    assert "Link header" in assert_problem(response, 400)["detail"]


def test_a_cancel_is_a_202_once_a_200_afterwards_and_a_409_after_the_end(
    system: System, ann: requests.Session, held: dict[str, Any], finished: dict[str, Any]
) -> None:
    first = ann.post(system.url + held["links"]["cancel"], timeout=5)
    again = ann.post(system.url + held["links"]["cancel"], timeout=5)
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["document"]["state"] == "cancelling"
    assert set(again.json()) == {"id", "feed", "cursor", "document", "links"}
    wait_for_state(system, ann, held, "cancelled")
    assert ann.post(system.url + held["links"]["cancel"], timeout=5).status_code == 200
    problem = assert_problem(ann.post(system.url + finished["links"]["cancel"], timeout=5), 409)
    assert "succeeded" in problem["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/petiole/tasks/{UNKNOWN}"),
        ("GET", f"/petiole/tasks/{UNKNOWN}/events"),
        ("POST", f"/petiole/tasks/{UNKNOWN}/cancel"),
        ("GET", "/petiole/tasks/no%20task"),
        ("GET", f"/petiole/tasks/{'a' * 129}"),
        ("GET", "/petiole/tasks/%00"),
        ("GET", "/petiole/tasks/..%2e"),
    ],
)
def test_what_is_no_task_is_a_404_that_says_so(system: System, ann: requests.Session, method: str, path: str) -> None:
    assert_problem(ann.request(method, system.url + path, timeout=5), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", f"/petiole/tasks/{UNKNOWN}/events", "GET"),
        ("GET", f"/petiole/tasks/{UNKNOWN}/cancel", "POST"),
        ("PUT", "/petiole/tasks", "GET"),
    ],
)
def test_a_method_that_a_route_lacks_is_a_405_that_names_its_own(
    system: System, ann: requests.Session, method: str, path: str, allowed: str
) -> None:
    response = ann.request(method, system.url + path, timeout=5)
    assert response.status_code == 405
    assert allowed in response.headers["Allow"]
    assert "Traceback" not in response.text


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/petiole/tasks"), ("GET", "/petiole/nothing")])
def test_what_is_refused_below_the_prefix_is_a_problem_object(
    system: System, ann: requests.Session, method: str, path: str
) -> None:
    response = ann.request(method, system.url + path, timeout=5)
    assert_problem(response, 405 if method == "DELETE" else 404)


@pytest.mark.parametrize("path", ["/petiole/nothing", "/petiole/tasks/", "/petiole/static/", "/petiole/static/../x"])
def test_a_path_that_nobody_serves_is_a_404_without_a_traceback(
    system: System, ann: requests.Session, path: str
) -> None:
    response = ann.get(system.url + path, timeout=5)
    assert response.status_code == 404
    assert "Traceback" not in response.text


def test_the_browser_file_is_served_as_javascript_and_may_be_kept(system: System) -> None:
    response = requests.get(f"{system.url}/petiole/static/petiole.js", timeout=5)
    assert response.status_code == 200
    assert re.fullmatch(r"(text|application)/javascript(; charset=utf-8)?", response.headers["Content-Type"])
    assert response.text.startswith("/*! Petiole")
    again = requests.get(response.url, headers={"If-None-Match": response.headers["ETag"]}, timeout=5)
    assert again.status_code == 304


def test_an_answer_to_a_head_request_has_no_body(
    system: System, ann: requests.Session, finished: dict[str, Any]
) -> None:
    response = ann.head(system.url + finished["links"]["self"], timeout=5)
    assert response.status_code == 200
    assert response.content == b""
    assert response.headers["ETag"]


def blocks(response: requests.Response) -> list[tuple[str, str, dict]]:
    """The id, the name and the data of every event of a stream, up to its end."""
    found = []
    for block in response.content.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((fields["id"], fields["event"], json.loads(fields["data"])))
    return found


def test_events_as_a_stream_are_the_same_facts_to_the_end(system: System, ann: requests.Session) -> None:
    accepted = ann.post(f"{system.url}/start/count", json={"args": [700]}, timeout=5).json()
    url = system.url + accepted["links"]["events"]
    response = ann.get(url, headers={"Accept": "text/event-stream"}, timeout=30)
    assert response.headers["Content-Type"].startswith("text/event-stream")
    facts = [data for _, kind, data in blocks(response) if kind != "counter"]
    assert [fact["facts"] for fact in facts] == list(range(1, 705))
    assert facts[-1]["patch"]["state"] == "succeeded"
    assert [fact["data"]["message"] for fact in facts if fact["kind"] == "log"] == [f"item {n}" for n in range(700)]


def test_a_stream_goes_on_from_the_last_event_that_the_browser_names(system: System, ann: requests.Session) -> None:
    accepted = ann.post(f"{system.url}/start/count", json={"args": [30]}, timeout=5).json()
    url = system.url + accepted["links"]["events"]
    stream = {"Accept": "text/event-stream"}
    first = blocks(ann.get(url, headers=stream, timeout=30))
    at = next(number for number, (_, _, data) in enumerate(first) if data["facts"] == 10 and data["kind"] != "counter")
    again = blocks(ann.get(url, headers=stream | {"Last-Event-ID": first[at][0]}, timeout=30))
    assert [data["facts"] for _, kind, data in again if kind != "counter"] == list(range(11, 35))
    ended = ann.get(url, headers=stream | {"Last-Event-ID": again[-1][0]}, timeout=30)
    assert ended.status_code == 204


def test_a_stream_from_a_foreign_cursor_begins_with_a_reset(system: System, ann: requests.Session) -> None:
    accepted = ann.post(f"{system.url}/start/count", json={"args": [3]}, timeout=5).json()
    headers = {"Accept": "text/event-stream", "Last-Event-ID": f"ffffffff.7.7.{'0' * 16}"}
    first = blocks(ann.get(system.url + accepted["links"]["events"], headers=headers, timeout=30))[0]
    assert first[1] == "reset"
    assert first[2]["recovered"] is False


def test_a_foreign_stream_is_the_same_404(system: System, ann: requests.Session) -> None:
    accepted = ann.post(f"{system.url}/start/silent", json={}, timeout=5).json()
    response = system.session("bob").get(
        system.url + accepted["links"]["events"], headers={"Accept": "text/event-stream"}, timeout=5
    )
    assert_problem(response, 404)


def test_what_a_newer_petiole_wrote_is_said_to_be_unreadable_and_the_rest_goes_on(system: System) -> None:
    session = system.session("newer")
    ids = [session.post(f"{system.url}/start/count", json={"args": [1]}, timeout=5).json()["id"] for _ in range(2)]
    with system.redis() as client:
        (meta,) = client.scan_iter(f"petiole:*task:{ids[0]}:meta", count=1000)
        client.hset(meta, "layout", "3")
    answer = session.get(f"{system.url}/petiole/tasks/{ids[0]}", timeout=5)
    assert (answer.status_code, answer.json()["title"]) == (500, "Unreadable")
    client = system.client(session=session)
    client.connect()
    assert client.call("watch", {"feed": f"task:{ids[0]}"})["error"]["status"] == 500
    listed = session.get(f"{system.url}/petiole/tasks", timeout=5).json()["tasks"]
    assert [task["id"] for task in listed] == [ids[1]]
    assert client.watch(f"task:{ids[1]}").wait(timeout=15)["state"] == "succeeded"

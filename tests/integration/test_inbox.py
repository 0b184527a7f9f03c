"""The inbox: one notice of each finished task for the user who started it, once on all pages, until it is acknowledged."""

from __future__ import annotations

from uuid import uuid4

import pytest
import requests

from petiole.client import TaskView
from tests.support.system import System
from tests.support.waiting import wait_until


@pytest.fixture
def person() -> str:
    """A user with an own inbox."""
    return f"person-{uuid4().hex[:8]}"


def inbox(system: System, session: requests.Session) -> dict:
    response = session.get(f"{system.url}/petiole/inbox", timeout=5)
    response.raise_for_status()
    return response.json()


def acknowledge(system: System, session: requests.Session, body: dict) -> requests.Response:
    return session.post(f"{system.url}/petiole/inbox/acknowledge", json=body, timeout=5)


def watch_inbox(system: System, person: str, shown: list[dict]) -> TaskView:
    """A tab that shows the inbox: its content goes into `shown`."""
    session = system.session(person)
    found = inbox(system, session)
    shown.append(found["document"])
    return system.client(session=session).watch(
        found["feed"],
        cursor=found["cursor"],
        document=found["document"],
        on_event=lambda event: shown.append({"kind": event.kind, **event.patch}),
    )


def finished(system: System, person: str, name: str = "count", **body: object) -> str:
    """Run a task to its end without watchers, and wait for its notice; returns its feed."""
    session = system.session(person)
    answer = session.post(f"{system.url}/start/{name}", json={"args": [2], **body}, timeout=5).json()
    wait_until(lambda: answer["feed"] in inbox(system, session)["document"], what="the notice", timeout=20)
    return answer["feed"]


def test_a_finished_task_leaves_one_notice_for_who_started_it(system: System, person: str) -> None:
    feed = finished(system, person, title="Flights of 2013")
    session = system.session(person)
    document = inbox(system, session)["document"]
    assert document["unread"] == 1
    notice = document[feed]
    assert (notice["title"], notice["state"]) == ("Flights of 2013", "succeeded")
    assert inbox(system, system.session("somebody else"))["document"].get(feed) is None


def test_the_notice_reaches_every_open_tab_and_goes_from_all_of_them(system: System, person: str) -> None:
    first, second = [], []
    tabs = [watch_inbox(system, person, first), watch_inbox(system, person, second)]
    feed = finished(system, person)
    for tab in tabs:
        tab.wait_until(lambda document: feed in document, timeout=10)
    assert acknowledge(system, system.session(person), {"tasks": [feed[5:]]}).status_code == 200
    for tab in tabs:
        assert tab.wait_until(lambda document: feed not in document, timeout=10)["unread"] == 0
    for shown in (first, second):
        assert [entry["kind"] for entry in shown[1:]] == ["notice", "acknowledged"]


def test_an_acknowledgement_that_is_sent_twice_is_said_once(system: System, person: str) -> None:
    shown: list[dict] = []
    tab = watch_inbox(system, person, shown)
    feed = finished(system, person)
    session = system.session(person)
    first = acknowledge(system, session, {"tasks": [feed[5:]]}).json()
    # The answer was lost, so the page retries.
    again = acknowledge(system, session, {"tasks": [feed[5:]]}).json()
    assert first == again
    assert again["document"] == {"unread": 0, "earlier": 0}
    tab.wait_until(lambda document: document.get("unread") == 0 and feed not in document, timeout=10)
    other = finished(system, person)
    tab.wait_until(lambda document: other in document, timeout=10)
    assert [entry["kind"] for entry in shown[1:]] == ["notice", "acknowledged", "notice"]


def test_a_page_that_shows_the_task_acknowledges_it_before_the_notice_has_come(system: System, person: str) -> None:
    session = system.session(person)
    client = system.client(session=session)
    view = client.start("/start/count", {"args": [2]})
    view.wait(timeout=15)
    assert client.call("acknowledge", {"tasks": [view.feed[5:]]}) == {}
    later = finished(system, person)
    document = inbox(system, session)["document"]
    assert later in document
    assert view.feed not in document
    assert document["unread"] == 1


def test_everything_is_acknowledged_at_once(system: System, person: str) -> None:
    finished(system, person)
    finished(system, person, name="no_such_task")
    session = system.session(person)
    assert inbox(system, session)["document"]["unread"] == 2
    assert acknowledge(system, session, {"all": True}).json()["document"] == {"unread": 0, "earlier": 0}


def test_an_inbox_is_read_again_only_if_it_has_changed(system: System, person: str) -> None:
    session = system.session(person)
    url = f"{system.url}/petiole/inbox"
    etag = session.get(url, timeout=5).headers["ETag"]
    assert session.get(url, headers={"If-None-Match": etag}, timeout=5).status_code == 304
    finished(system, person)
    assert session.get(url, headers={"If-None-Match": etag}, timeout=5).status_code == 200


def test_what_came_since_a_cursor_is_read_over_http(system: System, person: str) -> None:
    session = system.session(person)
    before = inbox(system, session)
    feed = finished(system, person)
    answer = session.get(system.url + before["links"]["events"], params={"after": before["cursor"]}, timeout=5).json()
    assert [event["kind"] for event in answer["events"]] == ["notice"]
    assert answer["document"][feed]["state"] == "succeeded"


@pytest.mark.parametrize("body", [{}, {"tasks": "all"}, {"tasks": ["x"] * 101}, {"tasks": ["no/id"]}, [], {"all": 1}])
def test_a_wrong_acknowledgement_is_refused_with_a_sentence(system: System, person: str, body: object) -> None:
    response = acknowledge(system, system.session(person), body)
    assert response.status_code == 422
    assert response.json()["detail"]
    answer = system.client(person)
    answer.connect()
    assert answer.call("acknowledge", body)["error"]["status"] in (400, 422)


def test_another_sites_page_acknowledges_nothing(system: System, person: str) -> None:
    feed = finished(system, person)
    session = system.session(person)
    url = f"{system.url}/petiole/inbox/acknowledge"
    response = session.post(url, json={"all": True}, headers={"Origin": "https://evil.example"}, timeout=5)
    assert response.status_code == 403
    assert feed in inbox(system, session)["document"]


def test_somebody_elses_inbox_is_not_there(system: System, person: str) -> None:
    feed = inbox(system, system.session(person))["feed"]
    client = system.client("mallory")
    client.connect()
    for name in ("watch", "cancel"):
        assert client.call(name, {"feed": feed})["error"]["status"] == 404
    mine = system.client(person)
    mine.connect()
    # An inbox isn't a task: its owner can only watch it.
    assert mine.call("cancel", {"feed": feed})["error"]["status"] == 404

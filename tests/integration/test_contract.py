"""The HTTP contract beyond the monitor: keys, forms and pages, retry, delete, the list, and its OpenAPI document."""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from flask import Flask, Response, request

from petiole import Petiole
from petiole.client import Refused
from petiole.errors import PetioleError
from petiole.journal.answers import Snapshot
from petiole.protocol.events import Draft
from petiole.web.http.openapi import describe
from petiole.web.service.idempotency import IdempotentRequest, idempotent_request
from tests.support.nearby import Nearby, make_app, served
from tests.support.relay import Writer
from tests.support.schemas import conforms

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


class Site(Nearby):
    petiole: Petiole
    deleted: list[Snapshot]


@pytest.fixture(scope="module")
def site(redis_url: str) -> Iterator[Site]:
    petiole = Petiole()
    app: Flask = make_app(redis_url, petiole, PETIOLE_RIGHTS_CHECK=0.2, PETIOLE_LINGER=0.1, PETIOLE_DISPATCH_LEASE=0.4)
    deleted: list[Snapshot] = []
    petiole.on_delete(deleted.append)

    @app.post("/start")
    def start() -> Response:
        body = request.get_json(silent=True) or request.form
        return petiole.accepted(petiole.start("a.task", [body.get("rows")], {"now": True}, title="A task"))

    @app.post("/two")
    def two() -> list[str]:
        return [petiole.start("a.task", [number]).id for number in range(2)]

    with served(app) as nearby:
        nearby.__class__ = Site
        assert isinstance(nearby, Site)
        nearby.petiole, nearby.deleted = petiole, deleted
        yield nearby


@pytest.fixture
def ann() -> requests.Session:
    session = requests.Session()
    # The test's own user.
    session.headers["X-Person"] = f"p-{uuid.uuid4().hex[:8]}"
    return session


def start(site: Site, session: requests.Session, key: str | None = None, **body: Any) -> requests.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return session.post(f"{site.url}/start", json=body, headers=headers, timeout=5)


def problem(response: requests.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    found: dict[str, Any] = response.json()
    assert found["status"] == status
    return found


def owner(session: requests.Session) -> str:
    return f"user:{session.headers['X-Person']}"


def listed(site: Site, session: requests.Session, query: str = "") -> list[str]:
    tasks = session.get(f"{site.url}/petiole/tasks{query}", timeout=5).json()["tasks"]
    return [task["feed"] for task in tasks]


class TestKeys:
    def test_a_repeat_gets_the_same_202_and_starts_nothing(self, site: Site, ann: requests.Session) -> None:
        first, again = start(site, ann, "k1", rows=1), start(site, ann, "k1", rows=1)
        assert first.status_code == again.status_code == 202
        assert first.json() == again.json()
        assert first.headers["Location"] == again.headers["Location"]
        assert len(listed(site, ann)) == 1

    def test_the_repeat_is_the_same_after_the_task_has_gone_on(self, site: Site, ann: requests.Session) -> None:
        first = start(site, ann, "k1", rows=1).json()
        site.end(first["feed"])
        assert start(site, ann, "k1", rows=1).json() == first

    def test_another_body_is_refused(self, site: Site, ann: requests.Session) -> None:
        start(site, ann, "k1", rows=1)
        problem(start(site, ann, "k1", rows=2), 422)
        assert len(listed(site, ann)) == 1

    def test_keys_are_of_one_owner_and_one_route(self, site: Site, ann: requests.Session) -> None:
        bob = requests.Session()
        bob.headers["X-Person"] = "bob"
        first = start(site, ann, "same", rows=1).json()["id"]
        assert start(site, bob, "same", rows=1).json()["id"] != first
        other = ann.post(f"{site.url}/two", headers={"Idempotency-Key": "same"}, json={"rows": 1}, timeout=5).json()
        assert first not in other

    def test_a_request_that_starts_two_tasks_is_repeated_as_a_whole(self, site: Site, ann: requests.Session) -> None:
        first, again = (
            ann.post(f"{site.url}/two", headers={"Idempotency-Key": "k1"}, timeout=5).json() for _ in range(2)
        )
        assert first == again
        assert len(set(first)) == 2

    def test_a_form_has_its_fields_as_fingerprint(self, site: Site, ann: requests.Session) -> None:
        def send(rows: str) -> requests.Response:
            return ann.post(f"{site.url}/start", data={"rows": rows}, headers={"Idempotency-Key": "k"}, timeout=5)

        assert send("1").json() == send("1").json()
        problem(send("2"), 422)

    @pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"])
    def test_what_is_no_key_is_refused(self, site: Site, ann: requests.Session, key: str) -> None:
        problem(start(site, ann, key), 400)

    def test_of_many_at_once_one_starts(self, site: Site, ann: requests.Session) -> None:
        answers: list[requests.Response] = []
        headers = dict(ann.headers) | {"Idempotency-Key": "k1"}

        def ask() -> None:
            answers.append(requests.post(f"{site.url}/start", json={"rows": 1}, headers=headers, timeout=10))

        threads = [threading.Thread(target=ask) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {answer.status_code for answer in answers} <= {202, 409}
        assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1
        assert len(listed(site, ann)) == 1

    def noted(self, site: Site, session: requests.Session, **more: Any) -> str:
        """As if the first request had died after it had recorded its key; returns its task's feed."""
        body = json.dumps({"rows": 1}).encode()
        with site.app.test_request_context("/start", method="POST", data=body, content_type="application/json"):
            asked = idempotent_request((), key="k1")
        assert isinstance(asked, IdempotentRequest)
        note = {"body": asked.fingerprint, "id": str(uuid.uuid4()), "at": 10**14, **more}
        assert site.journal.note(asked.note(owner(session)), json.dumps(note), instead_of="", lasts=60) == ""
        return f"task:{note['id']}"

    def test_while_the_first_is_under_way_a_repeat_is_a_409(self, site: Site, ann: requests.Session) -> None:
        feed = self.noted(site, ann)
        assert problem(start(site, ann, "k1", rows=1), 409)["retry_after"] == 1
        site.journal.open(feed, owner=owner(ann), draft=Draft("state", {"state": "queued"}), lease=60)
        assert start(site, ann, "k1", rows=1).headers["Retry-After"] == "1"

    def test_a_first_that_died_after_the_broker_had_it_is_found(self, site: Site, ann: requests.Session) -> None:
        feed = self.noted(site, ann)
        site.journal.open(feed, owner=owner(ann), draft=Draft("state", {"state": "queued"}))
        assert start(site, ann, "k1", rows=1).json()["feed"] == feed
        assert listed(site, ann) == [feed]

    def test_a_first_that_died_before_it_started_anything_is_taken_over(
        self, site: Site, ann: requests.Session
    ) -> None:
        feed = self.noted(site, ann, at=0)
        started = start(site, ann, "k1", rows=1)
        assert started.status_code == 202
        assert started.json()["feed"] != feed
        assert start(site, ann, "k1", rows=1).json() == started.json()

    def test_a_start_that_failed_leaves_the_key_free(self, site: Site, ann: requests.Session) -> None:
        with site.app.test_request_context("/", method="POST", headers={"X-Person": str(ann.headers["X-Person"])}):
            with pytest.raises(PetioleError, match="can't be sent"):
                site.petiole.start("a.task", [object()], idempotency_key="k1")
            assert site.petiole.start("a.task", [1], idempotency_key="k1").id

    def test_outside_of_a_request_the_arguments_are_the_fingerprint(self) -> None:
        asked = [idempotent_request(("a.task", [number]), key="nightly") for number in (1, 1, 2)]
        assert asked[0] == asked[1]
        assert asked[0] != asked[2]
        assert idempotent_request(("a.task", [1]), key=None) is None


class TestPages:
    def form(self, site: Site, session: requests.Session, url: str, **headers: str) -> requests.Response:
        return session.post(
            site.url + url, data={"rows": "1"}, headers={"Accept": BROWSER, **headers}, allow_redirects=False, timeout=5
        )

    def page(self, site: Site, session: requests.Session, url: str) -> str:
        response = session.get(site.url + url, headers={"Accept": BROWSER}, timeout=5)
        assert response.headers["Content-Type"].startswith("text/html")
        assert response.headers["Cache-Control"] == "private, no-store"
        assert "Accept" in response.headers["Vary"]
        assert "<script" not in response.text
        return response.text

    def test_a_form_is_led_to_a_page_that_asks_for_itself_again(self, site: Site, ann: requests.Session) -> None:
        response = self.form(site, ann, "/start")
        assert response.status_code == 303
        page = self.page(site, ann, response.headers["Location"])
        assert '<meta http-equiv="refresh"' in page
        assert "<progress" in page
        assert "<h1>A task</h1>" in page

    def test_its_button_cancels_and_the_page_says_so(self, site: Site, ann: requests.Session) -> None:
        page = self.page(site, ann, monitor := self.form(site, ann, "/start").headers["Location"])
        action = re.search(r'<form method="post" action="([^"]+)"><button>Cancel', page)
        assert action is not None
        assert self.form(site, ann, action[1], Origin="https://evil.example").status_code == 403
        assert self.form(site, ann, action[1], **{"Sec-Fetch-Site": "cross-site"}).status_code == 403
        response = self.form(site, ann, action[1], Origin=site.url)
        assert (response.status_code, response.headers["Location"]) == (303, monitor)
        page = self.page(site, ann, monitor)
        assert "Cancelled." in page
        assert "refresh" not in page
        again = re.search(r'action="([^"]+)"><button>Try again', page)
        assert again is not None
        fresh = self.form(site, ann, again[1], Origin=site.url)
        assert fresh.status_code == 303
        assert fresh.headers["Location"] != monitor

    def test_the_page_shows_progress_and_files_and_no_markup_of_others(self, site: Site, ann: requests.Session) -> None:
        feed = site.open(owner(ann), title="<script>alert(1)</script>")
        site.journal.append(feed, Draft("counter", progress={"completed": 1, "total": 4, "fraction": 0.25}))
        page = self.page(site, ann, f"/petiole/tasks/{feed[5:]}")
        assert 'max="1" value="0.25"' in page
        assert "&lt;script&gt;" in page
        site.journal.append(feed, Draft("state", {"state": "running"}))
        files = [{"name": "a.csv", "url": "/files/a"}, {"name": "evil", "url": "javascript:alert(1)"}]
        site.journal.append(feed, Draft("state", {"state": "succeeded", "artifacts": files}))
        page = self.page(site, ann, f"/petiole/tasks/{feed[5:]}")
        assert '<a href="/files/a">' in page
        assert "javascript:" not in page

    def test_the_page_of_a_lost_task_says_it_once(self, site: Site, ann: requests.Session) -> None:
        feed = site.open(owner(ann))
        site.journal.append(feed, Draft("state", {"state": "lost", "reason": "The worker disappeared."}))
        assert '<p role="status">The worker disappeared.</p>' in self.page(site, ann, f"/petiole/tasks/{feed[5:]}")

    def test_a_refusal_is_a_page_as_well(self, site: Site, ann: requests.Session) -> None:
        response = ann.get(f"{site.url}/petiole/tasks/none", headers={"Accept": BROWSER}, timeout=5)
        assert response.status_code == 404
        assert "<h1>Not found</h1>" in response.text

    @pytest.mark.parametrize("accept", ["*/*", "application/json", "application/json, text/html", ""])
    def test_a_program_gets_json(self, site: Site, ann: requests.Session, accept: str) -> None:
        response = ann.post(f"{site.url}/start", json={}, headers={"Accept": accept}, timeout=5)
        assert response.status_code == 202
        assert response.json()["document"]["state"] == "queued"


class TestRetry:
    def retry(self, site: Site, session: requests.Session, feed: str, **headers: str) -> requests.Response:
        return session.post(site.tasks(feed, "/retry"), headers=headers, timeout=5)

    @pytest.mark.parametrize("state", ["failed", "cancelled", "lost"])
    def test_a_task_that_ended_badly_starts_again_under_a_new_id(
        self, site: Site, ann: requests.Session, state: str
    ) -> None:
        old = start(site, ann, rows=7).json()
        site.end(old["feed"], state)
        monitor = ann.get(site.tasks(old["feed"]), timeout=5).json()
        response = ann.post(site.url + monitor["links"]["retry"], timeout=5)
        assert response.status_code == 202
        new = response.json()
        assert new["id"] != old["id"]
        assert new["document"]["retry_of"] == old["id"]
        assert (new["document"]["title"], new["document"]["task"]) == ("A task", "a.task")
        assert json.loads(site.journal.message(new["feed"]))["args"] == [7]
        assert json.loads(site.journal.message(new["feed"]))["kwargs"] == {"now": True}

    def test_what_has_not_ended_or_has_succeeded_is_not_started_again(self, site: Site, ann: requests.Session) -> None:
        task = start(site, ann).json()
        assert "retry" not in task["links"]
        problem(self.retry(site, ann, task["feed"]), 409)
        site.journal.append(task["feed"], Draft("state", {"state": "running"}))
        site.end(task["feed"], "succeeded")
        problem(self.retry(site, ann, task["feed"]), 409)

    def test_arguments_that_were_not_kept_are_said_so(self, site: Site, ann: requests.Session) -> None:
        task = start(site, ann, rows="x" * 70_000).json()
        site.end(task["feed"])
        assert "weren't kept" in problem(self.retry(site, ann, task["feed"]), 409)["detail"]

    def test_nobody_else_starts_it_again(self, site: Site, ann: requests.Session) -> None:
        feed = site.open("user:bob")
        site.end(feed)
        problem(self.retry(site, ann, feed), 404)
        mine = start(site, ann).json()
        site.end(mine["feed"])
        problem(self.retry(site, ann, mine["feed"], Origin="https://evil.example"), 403)

    def test_a_key_makes_it_once(self, site: Site, ann: requests.Session) -> None:
        task = start(site, ann).json()
        site.end(task["feed"])
        answers = [self.retry(site, ann, task["feed"], **{"Idempotency-Key": "again"}).json() for _ in range(2)]
        assert answers[0] == answers[1]

    def test_over_the_socket_it_is_the_same(self, site: Site, ann: requests.Session) -> None:
        task = start(site, ann, rows=3).json()
        site.end(task["feed"])
        client = site.client(headers={"X-Person": str(ann.headers["X-Person"])})
        client.connect()
        answers = [client.call("retry", {"feed": task["feed"], "idempotency_key": "k"}) for _ in range(2)]
        assert answers[0] == answers[1]
        assert answers[0]["status"] == 202
        assert answers[0]["task"]["document"]["retry_of"] == task["id"]
        assert client.call("retry", {"feed": answers[0]["task"]["feed"]})["error"]["status"] == 409
        assert client.call("retry", {"feed": task["feed"], "idempotency_key": 7})["error"]["status"] == 400


class TestDelete:
    def delete(self, site: Site, session: requests.Session, feed: str, **headers: str) -> requests.Response:
        return session.delete(site.tasks(feed), headers=headers, timeout=5)

    def test_a_finished_task_goes_with_its_notice_and_what_it_made(self, site: Site, ann: requests.Session) -> None:
        task = start(site, ann).json()
        site.end(task["feed"])
        site.journal.notify(owner(ann), key=task["feed"], notice={"title": "A task"})
        response = self.delete(site, ann, task["feed"])
        assert (response.status_code, response.content) == (204, b"")
        assert site.deleted[-1].feed == task["feed"]
        problem(ann.get(site.tasks(task["feed"]), timeout=5), 404)
        problem(self.delete(site, ann, task["feed"]), 404)
        assert listed(site, ann) == []
        assert ann.get(f"{site.url}/petiole/inbox", timeout=5).json()["document"]["unread"] == 0

    def test_who_watches_it_is_told(self, site: Site, ann: requests.Session) -> None:
        feed = site.open(owner(ann))
        site.journal.claim(feed, Draft("state", {"state": "running"}), worker="w", delivery="d", retries=0, lease=60)
        view = site.client(headers={"X-Person": str(ann.headers["X-Person"])}).watch(feed)
        view.wait_until(lambda document: document.get("state") == "running", timeout=5)
        assert self.delete(site, ann, feed).status_code == 204
        with pytest.raises(Refused) as refused:
            view.wait(timeout=5)
        assert refused.value.problem["status"] == 404
        assert not site.journal.check(feed, 1).valid

    def test_who_watches_it_through_another_process_is_told_by_the_head_check(
        self, site: Site, ann: requests.Session
    ) -> None:
        feed = site.open(owner(ann))
        view = site.client(headers={"X-Person": str(ann.headers["X-Person"])}).watch(feed)
        view.wait_until(lambda document: document.get("state") == "queued", timeout=5)
        site.journal.remove(feed)  # like another process
        with pytest.raises(Refused) as refused:
            view.wait(timeout=10)
        assert refused.value.problem["status"] == 404

    def test_nobody_else_deletes_it(self, site: Site, ann: requests.Session) -> None:
        feed = site.open("user:bob")
        problem(self.delete(site, ann, feed), 404)
        mine = site.open(owner(ann))
        problem(self.delete(site, ann, mine, Origin="https://evil.example"), 403)
        assert listed(site, ann) == [mine]


def test_the_list_of_one_state_is_paged_without_gaps(site: Site, ann: requests.Session) -> None:
    failed = []
    for number in range(130):
        feed = site.open(owner(ann))
        if number % 3 == 0:
            site.end(feed)
            failed.append(feed)
    first = ann.get(f"{site.url}/petiole/tasks?state=failed", timeout=10)
    found = [task["feed"] for task in first.json()["tasks"]]
    assert found == failed[::-1]
    assert "Link" not in first.headers
    queued = ann.get(f"{site.url}/petiole/tasks?state=queued", timeout=10)
    assert len(queued.json()["tasks"]) == 50
    rest = ann.get(site.url + queued.links["next"]["url"], timeout=10)
    feeds = [task["feed"] for task in queued.json()["tasks"] + rest.json()["tasks"]]
    assert len(feeds) == len(set(feeds)) == 130 - len(failed)
    assert "Link" not in rest.headers


def test_the_list_of_a_name_goes_on_with_its_name_and_limit(site: Site, ann: requests.Session) -> None:
    reports = [site.open(owner(ann), task="report") for _ in range(3)]
    site.open(owner(ann), task="count")
    first = ann.get(f"{site.url}/petiole/tasks?name=report&state=queued&limit=2", timeout=5)
    second = ann.get(site.url + first.links["next"]["url"], timeout=5)
    assert [task["feed"] for answer in (first, second) for task in answer.json()["tasks"]] == reports[::-1]
    for limit in ("0", "101", "-1", "many"):
        assert "1 to 100" in problem(ann.get(f"{site.url}/petiole/tasks?limit={limit}", timeout=5), 422)["detail"]


def test_python_lists_the_same_of_an_owner_and_of_who_is_asking(site: Site, ann: requests.Session) -> None:
    feeds = [site.open(owner(ann), task="report") for _ in range(3)]
    with site.app.app_context():
        first = site.petiole.tasks(owner(ann), name="report", limit=2)
        second = site.petiole.tasks(owner(ann), name="report", limit=2, cursor=first.cursor)
        with pytest.raises(PetioleError, match="owner="):
            site.petiole.tasks()
    assert [snapshot.feed for snapshot in (*first, *second)] == feeds[::-1]
    assert second.cursor is None
    with site.app.test_request_context(headers={"X-Person": ann.headers["X-Person"]}):
        assert [snapshot.feed for snapshot in site.petiole.tasks()] == feeds[::-1]


class TestOpenAPI:
    def test_it_has_every_route_and_no_other(self, site: Site) -> None:
        document = requests.get(f"{site.url}/petiole/openapi.json", timeout=5).json()
        assert document["openapi"].startswith("3.1")
        assert document["servers"] == [{"url": "/petiole"}]
        said = {
            (path, verb.upper())
            for path, item in document["paths"].items()
            for verb in item
            if verb in ("get", "post", "put", "patch", "delete")
        }
        routes = {
            (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule.removeprefix("/petiole")), verb)
            for rule in site.app.url_map.iter_rules()
            if rule.endpoint.startswith("petiole.") and rule.endpoint != "petiole.static"
            for verb in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        }
        assert said == routes

    def test_every_reference_is_there(self) -> None:
        document = describe("/petiole")
        references = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document)))
        assert references <= set(document["components"]["schemas"])
        for path, item in document["paths"].items():
            assert ("{task_id}" in path) == ("parameters" in item)

    def test_what_the_routes_answer_is_what_it_says(self, site: Site, ann: requests.Session) -> None:
        document = describe("/petiole")
        task = start(site, ann).json()
        other = start(site, ann).json()
        site.end(other["feed"])
        writer = Writer(site.journal, owner=owner(ann))
        writer.text("an answer")
        writer.end()
        prefix = f"{site.url}/petiole"
        calls = [
            ("get", "/alive", "/alive", 200),
            ("get", "/ready", "/ready", 200),
            ("get", "/tasks", "/tasks", 200),
            ("get", "/tasks", "/tasks?state=none", 422),
            ("get", "/tasks", "/tasks?name=a.task&limit=1", 200),
            ("get", "/tasks", "/tasks?limit=0", 422),
            ("get", "/tasks", "/tasks?cursor=x", 400),
            ("get", "/tasks/{task_id}", f"/tasks/{task['id']}", 200),
            ("get", "/tasks/{task_id}", "/tasks/none", 404),
            ("get", "/tasks/{task_id}", f"/tasks/{writer.feed[5:]}", 200),
            ("get", "/tasks/{task_id}/text/{name}", f"/tasks/{writer.feed[5:]}/text/output", 200),
            ("get", "/tasks/{task_id}/text/{name}", f"/tasks/{task['id']}/text/output", 404),
            ("get", "/tasks/{task_id}/events", f"/tasks/{writer.feed[5:]}/events", 200),
            ("get", "/tasks/{task_id}/events", f"/tasks/{task['id']}/events", 200),
            ("get", "/tasks/{task_id}/events", f"/tasks/{task['id']}/events?after=x", 400),
            ("post", "/tasks/{task_id}/cancel", f"/tasks/{task['id']}/cancel", 202),
            ("post", "/tasks/{task_id}/cancel", f"/tasks/{task['id']}/cancel", 200),
            ("post", "/tasks/{task_id}/cancel", f"/tasks/{other['id']}/cancel", 409),
            ("post", "/tasks/{task_id}/retry", f"/tasks/{other['id']}/retry", 202),
            ("delete", "/tasks/{task_id}", f"/tasks/{task['id']}", 204),
            ("get", "/inbox", "/inbox", 200),
            ("get", "/inbox/events", "/inbox/events", 200),
            ("post", "/inbox/acknowledge", "/inbox/acknowledge", 422),
        ]
        for verb, path, url, status in calls:
            response = ann.request(verb, prefix + url, timeout=5)
            assert response.status_code == status, (verb, url, response.text)
            said = document["paths"][path][verb]["responses"][str(status)]
            content = said.get("content", {}).get(
                response.headers.get("Content-Type", "").removesuffix("; charset=utf-8")
            )
            assert (content is None) == (status == 204), (verb, url)
            if content is not None:
                plain = response.headers["Content-Type"].startswith("text/plain")
                conforms(response.text if plain else response.json(), content["schema"], document)

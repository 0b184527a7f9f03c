"""A canvas that is started over HTTP, and a group whose failed tasks run again: once for each key."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
import requests
from celery import chain, chord, group
from flask import Flask, Response, request

from petiole import Petiole
from petiole.dispatch.message import now_ms
from petiole.errors import PetioleError
from petiole.protocol.events import Cursor, Draft
from petiole.web.service.canvas import Description
from petiole.web.service.idempotency import IdempotentRequest, idempotent_request
from tests.support.browser import Browser
from tests.support.group_site import BROWSER, GroupSite, children_of, get, owner, problem, serving_groups, verify
from tests.support.open_group import MESSAGE, OpenGroup
from tests.support.waiting import wait_until


def add_routes(app: Flask, petiole: Petiole) -> None:
    celery_app = app.extensions["celery"]

    @celery_app.task(name="app.thumbnail")
    def thumbnail(photo: int) -> None: ...

    @celery_app.task(name="app.album")
    def album(made: object) -> None: ...

    @app.post("/start")
    def start() -> Response:
        asked = request.get_json()
        canvases = {
            "group": group(thumbnail.s(photo) for photo in range(asked.get("photos", 3))),
            "chain": chain(thumbnail.s(1), album.s()),
            "task": thumbnail.s(1),
            "number": 5,
        }
        arguments = {name: asked[name] for name in ("light", "args") if name in asked}
        return petiole.accepted(petiole.start(canvases[asked["canvas"]], title="Thumbnails", **arguments))


@pytest.fixture(scope="module")
def site(redis_url: str) -> Iterator[GroupSite]:
    with serving_groups(redis_url, add_routes) as site:
        yield site


@pytest.fixture
def ann() -> requests.Session:
    session = requests.Session()
    session.headers["X-Person"] = f"p-{uuid.uuid4().hex[:8]}"
    return session


def start(site: GroupSite, session: requests.Session, key: str | None = None, **body: Any) -> requests.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return session.post(f"{site.url}/start", json=body, headers=headers, timeout=10)


def published(site: GroupSite) -> list[dict[str, Any]]:
    """The messages that wait in the broker."""
    with redis.Redis.from_url(site.app.extensions["celery"].conf.broker_url) as client:
        return [json.loads(text) for text in client.lrange("celery", 0, -1)]


class TestStart:
    def test_a_canvas_is_accepted_as_one_group(self, site: GroupSite, ann: requests.Session) -> None:
        before = len(published(site))
        answer = start(site, ann, canvas="group", photos=4)
        assert answer.status_code == 202
        wire = answer.json()
        assert answer.headers["Location"] == wire["links"]["self"] == f"/petiole/tasks/{wire['id']}"
        assert (wire["id"][:6], wire["document"]["title"]) == ("group:", "Thumbnails")
        assert len(published(site)) - before == 4
        assert [child["state"] for child in children_of(site, ann, wire["feed"])] == ["queued"] * 4

    def test_a_chain_says_its_steps_and_publishes_the_first(self, site: GroupSite, ann: requests.Session) -> None:
        before = len(published(site))
        wire = start(site, ann, canvas="chain").json()
        assert wire["document"]["steps"] == ["Thumbnail", "Album"]
        assert len(published(site)) - before == 1

    def test_a_signature_of_one_task_is_a_task(self, site: GroupSite, ann: requests.Session) -> None:
        assert start(site, ann, canvas="task").json()["feed"].startswith("task:")

    def test_light_is_chosen(self, site: GroupSite, ann: requests.Session) -> None:
        light = start(site, ann, canvas="group", light=True).json()
        full = start(site, ann, canvas="group", light=False).json()
        assert (light["document"]["light"], full["document"]["light"]) == (True, False)

    @pytest.mark.parametrize("canvas", ["group", "chain", "task"])
    def test_a_key_starts_it_once(self, site: GroupSite, ann: requests.Session, canvas: str) -> None:
        first = start(site, ann, "k", canvas=canvas)
        before = len(published(site))
        again = start(site, ann, "k", canvas=canvas)
        assert (first.status_code, again.status_code, first.json()) == (202, 202, again.json())
        assert len(published(site)) == before
        problem(start(site, ann, "k", canvas=canvas, photos=9), 422)

    def test_a_key_outside_a_request_knows_the_canvas_by_what_it_asks_for(self, site: GroupSite) -> None:
        thumbnail = site.app.extensions["celery"].tasks["app.thumbnail"]

        def asked(*photos: int, **options: Any) -> str:
            canvas = group(thumbnail.s(photo).set(**options) for photo in photos)
            canvas.freeze()
            found = idempotent_request(Description(canvas), key="k")
            assert found is not None
            return found.fingerprint

        assert asked(1, 2) == asked(1, 2)
        assert len({asked(1, 2), asked(2, 1), asked(1), asked(1, 2, queue="photos"), asked(1, 2, countdown=3)}) == 5

    def test_what_can_not_be_started_is_one_sentence(self, site: GroupSite) -> None:
        with site.app.test_request_context(headers={"X-Person": "ann"}):
            for wrong in (5, None, [], {"task": "x"}, object()):
                with pytest.raises(
                    PetioleError, match=r"isn't a task\. Pass a Celery task, its name, or a signature\.$"
                ):
                    site.petiole.start(wrong)  # type: ignore[arg-type]
            with pytest.raises(PetioleError, match="chord without a body"):
                site.petiole.start(chord([site.app.extensions["celery"].tasks["app.thumbnail"].s(1)]))


class TestRetry:
    def failed(self, site: GroupSite, ann: requests.Session, **fields: Any) -> OpenGroup:
        group = OpenGroup(site.journal, 5, owner=owner(ann), voids={1: (3, 5)}, **fields)
        group.end(0)
        group.fail(1)
        group.end(2)
        return group

    def test_the_failed_tasks_alone_run_again_in_the_same_group(self, site: GroupSite, ann: requests.Session) -> None:
        group, before = self.failed(site, ann), len(published(site))
        answer = ann.post(site.tasks(group.feed, "/retry"), timeout=5)
        assert answer.status_code == 202, answer.text
        wire = answer.json()
        assert (wire["id"], answer.headers["Location"]) == (group.feed, f"/petiole/tasks/{group.feed}")
        assert Cursor.parse(wire["cursor"]).epoch != group.opened.epoch
        assert (wire["document"]["state"], wire["document"]["run"]) == ("queued", 1)
        assert len(published(site)) - before == 1
        counts = get(site, ann, group).json()["document"]["progress"]["children"]
        assert (counts["succeeded"], counts["queued"], counts["failed"], counts["skipped"]) == (2, 3, 0, 0)
        problem(ann.post(site.tasks(group.feed, "/retry"), timeout=5), 409)

    def test_a_key_retries_once(self, site: GroupSite, ann: requests.Session) -> None:
        group = self.failed(site, ann)

        def retry(key: str) -> requests.Response:
            return ann.post(site.tasks(group.feed, "/retry"), headers={"Idempotency-Key": key}, timeout=5)

        first, before = retry("a"), len(published(site))
        assert (retry("a").json(), len(published(site))) == (first.json(), before)
        problem(retry("b"), 409)
        group.run = 1
        group.fail(1)
        assert retry("a").json() == first.json()
        second = retry("c").json()
        assert second["cursor"] != first.json()["cursor"]
        assert second["document"]["run"] == 2

    def test_a_retry_whose_process_died_is_found_by_its_key(self, site: GroupSite, ann: requests.Session) -> None:
        group = self.failed(site, ann)
        asked = IdempotentRequest("k", f"retry {group.feed}", "")
        epoch, died = "0a0b0c0d", now_ms() - 60_000
        noted = json.dumps({"body": "", "id": epoch, "at": died})
        site.journal.note(asked.note(owner(ann)), noted, instead_of="", lasts=60)
        draft = Draft("state", {"state": "queued", "finished_at": None, "reason": None, "run": 1})
        site.journal.repeat_children(group.feed, [1], draft=draft, epoch=epoch, lease=60)

        def retry() -> requests.Response:
            return ann.post(site.tasks(group.feed, "/retry"), headers={"Idempotency-Key": "k"}, timeout=5)

        group.run = 1
        group.begin(1)
        answer = retry()
        assert answer.status_code == 202, answer.text
        assert Cursor.parse(answer.json()["cursor"]).epoch == epoch

    def test_pages_that_watch_it_see_it_begin_again(self, site: GroupSite, ann: requests.Session) -> None:
        group = self.failed(site, ann)
        page, other = (Browser(urlsplit(site.url).port or 0, str(ann.headers["X-Person"])) for _ in range(2))
        try:
            assert page.ask("watch", {"feed": group.feed})["document"]["state"] == "failed"
            # On a connection of its own: the page's events may come before the answer.
            answer = other.ask("retry", {"feed": group.feed})
            assert (answer["status"], answer["task"]["id"]) == (202, group.feed)
            reset = page.next("reset")
            assert (reset["document"]["state"], reset["recovered"]) == ("queued", False)
            group.run = 1
            group.begin(1)
            assert page.next("event")["patch"]["state"] == "running"
        finally:
            page.close()
            other.close()

    def test_a_task_whose_code_takes_other_arguments_by_now_keeps_no_other_back(
        self, site: GroupSite, ann: requests.Session
    ) -> None:
        group, before = OpenGroup(site.journal, 4, owner=owner(ann)), len(published(site))
        for number in range(4):
            changed = {"task": "app.thumbnail", "args": [1, 2], "kwargs": {}, "options": {}}
            group.fail(number, kept=json.dumps(changed) if number in (0, 2) else MESSAGE)
        assert ann.post(site.tasks(group.feed, "/retry"), timeout=5).status_code == 202
        assert len(published(site)) - before == 2
        found = children_of(site, ann, group.feed)
        assert [child["state"] for child in found] == ["failed", "queued", "failed", "queued"]
        assert found[0]["error"]["message"].startswith("The task couldn't be published again (thumbnail() takes 1 ")
        group.run = 1
        group.end(1, 3)
        refused = problem(ann.post(site.tasks(group.feed, "/retry"), timeout=5), 409)
        assert refused["detail"].startswith("No task that failed can be sent again (thumbnail() takes 1 ")
        assert get(site, ann, group).json()["document"]["reason"] == "2 of 4 tasks failed."

    def test_each_of_its_ends_has_a_notice(self, site: GroupSite, ann: requests.Session) -> None:
        group = self.failed(site, ann)

        def notices() -> dict[str, str]:
            document = ann.get(f"{site.url}/petiole/inbox", timeout=5).json()["document"]
            return {name: notice["state"] for name, notice in document.items() if name.startswith("group:")}

        wait_until(notices, what="the notice that it has failed", timeout=10)
        for run in (1, 2):
            assert ann.post(site.tasks(group.feed, "/retry"), timeout=5).status_code == 202
            assert notices() == {}
            group.run = run
            if run == 1:
                group.fail(1)
            else:
                group.end(1, 3, 4)
            wait_until(notices, what="the notice of its next end", timeout=10)
            assert notices() == {group.feed: "failed" if run == 1 else "succeeded"}
            ann.post(f"{site.url}/petiole/inbox/acknowledge", json={"tasks": [group.feed]}, timeout=5)

    def test_a_form_leads_back_to_the_same_page(self, site: GroupSite, ann: requests.Session) -> None:
        group = self.failed(site, ann)
        answer = ann.post(
            site.tasks(group.feed, "/retry"), headers={"Accept": BROWSER}, allow_redirects=False, timeout=5
        )
        assert (answer.status_code, answer.headers["Location"]) == (303, f"/petiole/tasks/{group.feed}")


def test_a_task_of_a_group_that_was_changed_in_the_journal_is_found(site: GroupSite, ann: requests.Session) -> None:
    group = OpenGroup(site.journal, 3, owner=owner(ann))
    group.end(0, 1, 2)
    with redis.Redis.from_url(site.app.extensions["celery"].conf.broker_url) as client:
        [key] = client.scan_iter(f"*{group.feed}*children", count=10_000)
        client.setrange(key, 16, b"\x04")
    done = verify(site, group.feed)
    assert done.exit_code == 1
    assert "other numbers than its tasks" in done.output


def test_a_group_whose_retry_the_broker_does_not_take_can_be_retried_later(
    redis_url: str, ann: requests.Session
) -> None:
    away = "redis://127.0.0.1:1/0"
    with serving_groups(away, PETIOLE_JOURNAL_URL=redis_url, PETIOLE_BUS_URL=redis_url) as site:
        group = OpenGroup(site.journal, 3, owner=owner(ann))
        group.fail(0, 2)
        group.end(1)

        def retry() -> requests.Response:
            return ann.post(site.tasks(group.feed, "/retry"), headers={"Idempotency-Key": "k"}, timeout=20)

        problem(retry(), 503)
        document = get(site, ann, group).json()["document"]
        assert (document["state"], document["reason"]) == ("failed", "2 of 3 tasks failed.")
        assert document["error1"]["message"] == "The task couldn't be published again."
        assert set(site.journal.child_messages(group.feed)) == {0, 2}
        problem(retry(), 503)

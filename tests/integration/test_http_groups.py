"""Groups over HTTP: the list of their tasks, cancel, delete, the page without JavaScript, events, and hostile requests."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import requests

from petiole.client import Refused, TaskClient
from petiole.errors import PetioleError
from petiole.journal.sql.server import upgrade
from petiole.protocol.events import Cursor
from petiole.web.http.openapi import describe
from tests.support.group_site import BROWSER, GroupSite, children, get, owner, problem, serving_groups, verify
from tests.support.open_group import OpenGroup
from tests.support.schemas import conforms
from tests.support.waiting import wait_until


@pytest.fixture(scope="module", params=["redis", "sqlite", "postgresql"])
def site(
    request: pytest.FixtureRequest, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GroupSite]:
    journal = redis_url
    if request.param == "sqlite":
        journal = f"sqlite:///{tmp_path_factory.mktemp('journal')}/journal.db"
    elif request.param == "postgresql":
        journal = request.getfixturevalue("postgres_server").url()
        upgrade(journal)
    with serving_groups(redis_url, PETIOLE_JOURNAL_URL=journal) as site:
        yield site


@pytest.fixture
def ann() -> requests.Session:
    session = requests.Session()
    session.headers["X-Person"] = f"p-{uuid.uuid4().hex[:8]}"
    return session


class TestChildren:
    def test_a_child_says_who_it_is_and_how_it_is(self, site: GroupSite, ann: requests.Session) -> None:
        group = OpenGroup(site.journal, 4, owner=owner(ann), voids={1: (2, 4)})
        group.begin(0, done=2500)
        group.fail(1)
        first, second, third, _ = children(site, ann, group)
        since = first.pop("since")
        assert isinstance(since, int)
        assert first == {
            **{"number": 0, "id": group.ids[0], "state": "running", "attempt": 0, "fraction": 0.25, "error": None},
            "links": {},
        }
        assert second["error"] == {"message": "The disk is full.", "reference": "r-1", "type": "OSError"}
        assert (second["state"], third["state"]) == ("failed", "skipped")

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("", list(range(40))),
            ("?limit=7", list(range(40))),
            ("?state=failed", list(range(0, 30, 3))),
            ("?state=failed&limit=1", list(range(0, 30, 3))),
            ("?state=failed,running&limit=4", sorted([*range(0, 30, 3), *range(30, 40)])),
            ("?state=running,failed,running&limit=500", sorted([*range(0, 30, 3), *range(30, 40)])),
            ("?state=lost", []),
            ("?state=lost,skipped&limit=3", []),
            ("?cursor=37", [38, 39]),
            ("?cursor=39", []),
            ("?cursor=999999999", []),
        ],
    )
    def test_pages_have_each_child_once_in_the_order_of_their_numbers(
        self, site: GroupSite, ann: requests.Session, query: str, expected: list[int]
    ) -> None:
        group = OpenGroup(site.journal, 40, owner=owner(ann))
        group.begin(*range(40))
        group.fail(*range(0, 30, 3))
        group.end(*(number for number in range(30) if number % 3))
        assert [child["number"] for child in children(site, ann, group, query)] == expected

    def test_a_full_child_links_to_its_page_and_that_to_the_group(self, site: GroupSite, ann: requests.Session) -> None:
        group = OpenGroup(site.journal, 2, owner=owner(ann), light=False)
        [first, _] = children(site, ann, group)
        task = ann.get(site.url + first["links"]["self"], timeout=5).json()
        assert (task["id"], task["document"]["group"]) == (group.ids[0], group.feed)
        assert ann.get(site.url + task["links"]["group"], timeout=5).json()["feed"] == group.feed

    def test_one_that_has_no_page_yet_or_somebody_elses_has_no_link(
        self, site: GroupSite, ann: requests.Session
    ) -> None:
        foreign, unopened = site.open("user:bob").removeprefix("task:"), str(uuid.uuid4())
        group = OpenGroup(site.journal, 3, owner=owner(ann), light=False, ids=[foreign, unopened, "no feed's name /"])
        group.fail(0, 1, 2)
        assert [child["links"] for child in children(site, ann, group)] == [{}] * 3
        assert (
            "<a href" not in get(site, ann, group, Accept=BROWSER).text.split("Failed tasks")[2].split("</section>")[0]
        )

    def test_an_answer_that_has_not_changed_is_a_304_and_is_nobody_elses(
        self, site: GroupSite, ann: requests.Session
    ) -> None:
        group = OpenGroup(site.journal, 3, owner=owner(ann))
        first = get(site, ann, group, "/children")
        assert first.headers["Cache-Control"] == "private, no-cache"
        assert first.headers["Retry-After"]
        same = get(site, ann, group, "/children", **{"If-None-Match": first.headers["ETag"]})
        assert (same.status_code, same.content) == (304, b"")
        for child in range(2):
            # The second isn't told by the group yet.
            before = get(site, ann, group, "/children").headers["ETag"]
            group.begin(child)
            assert get(site, ann, group, "/children", **{"If-None-Match": before}).status_code == 200
        group.end(0, 1, 2)
        assert "Retry-After" not in get(site, ann, group, "/children").headers

    def test_a_group_of_none_has_an_empty_list(self, site: GroupSite, ann: requests.Session) -> None:
        assert children(site, ann, OpenGroup(site.journal, 0, owner=owner(ann))) == []

    def test_what_waits_in_a_cancelled_group_is_cancelled(self, site: GroupSite, ann: requests.Session) -> None:
        group = OpenGroup(site.journal, 3, owner=owner(ann))
        group.begin(1)
        assert ann.post(site.tasks(group.feed, "/cancel"), timeout=5).status_code == 202
        assert [child["state"] for child in children(site, ann, group)] == ["cancelled", "running", "cancelled"]
        assert [child["number"] for child in children(site, ann, group, "?state=cancelled")] == [0, 2]

    def test_a_single_task_has_no_list(self, site: GroupSite, ann: requests.Session) -> None:
        assert problem(get(site, ann, site.open(owner(ann)), "/children"), 404)["title"] == "Not a group"


class TestHostile:
    @pytest.mark.parametrize(
        ("query", "status"),
        [
            *((f"?state={state}", 422) for state in ("", "none", "failed,", "failed,none", "stalled", "%00", "x" * 5000)),
            *((f"?limit={limit}", 422) for limit in ("", "0", "-1", "501", "1e2", "9" * 5000, "%D9%A1%D9%A2%D9%A3%D9%A4")),
            *((f"?cursor={cursor}", 400) for cursor in ("", "-1", "x", "1.5", "%D9%A1", "9" * 10, "9" * 5000, "%00")),
        ],
    )  # fmt: skip
    def test_wrong_parameters_are_refused_with_a_sentence(
        self, site: GroupSite, ann: requests.Session, query: str, status: int
    ) -> None:
        group = OpenGroup(site.journal, 1, owner=owner(ann))
        refused = problem(get(site, ann, group, f"/children{query}"), status)
        assert refused["detail"].endswith(".")
        assert len(refused["detail"]) < 300

    @pytest.mark.parametrize("call", ["", "/children", "/events", "/cancel", "/retry", "/text/output"])
    @pytest.mark.parametrize(
        "task_id",
        ["group:", "group:%00", "group:%2F", "group:..%2F..", "group:group:x", "group:" + "x" * 200, "group:ä",
         "Group:x", "group:x\\", "group:x%0A", "task:x", "user:x"],
    )  # fmt: skip
    def test_what_is_no_group_is_not_found(
        self, site: GroupSite, ann: requests.Session, task_id: str, call: str
    ) -> None:
        verb = "POST" if call in ("/cancel", "/retry") else "GET"
        problem(ann.request(verb, f"{site.url}/petiole/tasks/{task_id}{call}", timeout=5), 404)

    @pytest.mark.parametrize(
        ("verb", "call"),
        [("GET", ""), ("GET", "/children"), ("GET", "/children?state=none"), ("GET", "/events"), ("POST", "/cancel"),
         ("POST", "/retry"), ("DELETE", "")],
    )  # fmt: skip
    def test_somebody_elses_group_is_as_one_that_is_not_there(
        self, site: GroupSite, ann: requests.Session, verb: str, call: str
    ) -> None:
        theirs = OpenGroup(site.journal, 2, owner="user:bob")
        answers = [
            ann.request(verb, site.tasks(feed, call), timeout=5)
            for feed in (theirs.feed, f"group:{uuid.uuid4()}")
        ]  # fmt: skip
        assert {answer.status_code for answer in answers} == {404}
        assert answers[0].content == answers[1].content
        assert requests.request(verb, site.tasks(theirs.feed, call), timeout=5).content == answers[0].content

    def test_the_colon_may_be_quoted(self, site: GroupSite, ann: requests.Session) -> None:
        group = OpenGroup(site.journal, 2, owner=owner(ann))
        for call in ("", "/children", "/events"):
            quoted = ann.get(f"{site.url}/petiole/tasks/{quote(group.feed, safe='')}{call}", timeout=5)
            assert quoted.json() == get(site, ann, group, call).json()

    def test_only_groups_take_a_group_id(self, site: GroupSite, ann: requests.Session) -> None:
        """A task that is named as a group's id without its kind is another one."""
        group = OpenGroup(site.journal, 1, owner=owner(ann))
        problem(get(site, ann, group.feed.removeprefix("group:")), 404)


class TestMonitor:
    def test_its_snapshot_has_the_counts_and_the_links(self, site: GroupSite, ann: requests.Session) -> None:
        group = OpenGroup(site.journal, 3, owner=owner(ann))
        wire = get(site, ann, group).json()
        assert wire["id"] == wire["feed"] == group.feed
        assert wire["document"]["progress"]["children"]["queued"] == 3
        for name in ("self", "events", "cancel", "children"):
            assert wire["links"][name].startswith(f"/petiole/tasks/{group.feed}")
        assert "retry" not in wire["links"]
        group.fail(0, 1, 2)
        assert get(site, ann, group).json()["links"]["retry"].endswith("/retry")

    def test_polling_and_the_stream_tell_the_same(self, site: GroupSite, ann: requests.Session) -> None:
        group = OpenGroup(site.journal, 3, owner=owner(ann))
        group.begin(0)
        group.fail(1)
        group.end(0, 2)
        reading = get(site, ann, group, f"/events?after={group.opened}").json()
        with ann.get(
            site.tasks(group.feed, f"/events?after={group.opened}"),
            headers={"Accept": "text/event-stream"}, timeout=10, stream=True,
        ) as answer:  # fmt: skip
            lines = answer.text.splitlines()
        told = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
        assert [event["id"] for event in told if event["kind"] != "counter"] == [one["id"] for one in reading["events"]]
        assert told[-1]["progress"] == reading["document"]["progress"]
        assert reading["document"]["reason"] == "1 of 3 tasks failed."

    def test_a_group_is_one_entry_of_the_list_and_its_tasks_only_if_asked(
        self, site: GroupSite, ann: requests.Session
    ) -> None:
        def feeds(query: str) -> list[str]:
            return [task["feed"] for task in ann.get(f"{site.url}/petiole/tasks{query}", timeout=5).json()["tasks"]]

        before = site.open(owner(ann))
        group = OpenGroup(site.journal, 60, owner=owner(ann), light=False)
        after = site.open(owner(ann))
        assert feeds("") == feeds("?limit=3") == feeds("?children=0") == [after, group.feed, before]
        assert feeds("?children=1&limit=100") == [after, *reversed(group.tasks), group.feed, before]
        assert len(feeds("?state=queued&name=app.thumbnail&children=1")) == 50
        problem(ann.get(f"{site.url}/petiole/tasks?children=yes", timeout=5), 422)
        answer = ann.get(f"{site.url}/petiole/tasks?children=1&limit=2", timeout=5)
        assert "children=1" in answer.links["next"]["url"]


class TestClient:
    def test_it_lists_the_tasks_of_a_group_over_its_pages(self, site: GroupSite, ann: requests.Session) -> None:
        group = OpenGroup(site.journal, 1201, owner=owner(ann))
        group.begin(*range(1201))
        group.fail(3, 700, 1200)
        client = site.client(headers=dict(ann.headers))
        assert [child.number for child in client.children(group.feed)] == list(range(1201))
        failed = list(client.children(group.feed, state="failed"))
        assert [(child.number, child.id, child.url) for child in failed] == [
            (number, group.ids[number], None) for number in (3, 700, 1200)
        ]
        assert failed[0].error == {"message": "The disk is full.", "reference": "r-1", "type": "OSError"}
        full = OpenGroup(site.journal, 1, owner=owner(ann), light=False)
        assert [child.url for child in client.children(full.feed)] == [f"/petiole/tasks/{full.ids[0]}"]

    def test_its_refusals_are_sentences(self, site: GroupSite, ann: requests.Session) -> None:
        client = site.client(headers=dict(ann.headers))
        foreign = OpenGroup(site.journal, 1, owner="user:bob")
        for feed in (foreign.feed, f"group:{uuid.uuid4()}"):
            with pytest.raises(Refused, match="no such task here"):
                list(client.children(feed))
        own = OpenGroup(site.journal, 1, owner=owner(ann))
        with pytest.raises(Refused, match="There is no state 'none' of a child"):
            list(client.children(own.feed, state="none"))
        with pytest.raises(PetioleError, match="The server didn't answer"):
            list(TaskClient("http://127.0.0.1:1").children(own.feed))

    def test_it_sends_its_token_and_renews_it_once(self, site: GroupSite, ann: requests.Session) -> None:
        group = OpenGroup(site.journal, 2, owner=owner(ann))
        asked: list[int] = []

        def token() -> str:
            asked.append(1)
            if len(asked) == 1:
                return "petiole.spoiled"
            with site.app.app_context():
                return site.petiole.token(group.feed, owner=owner(ann))

        client = TaskClient(site.url, token=token)
        assert len(list(client.children(group.feed))) == 2
        assert len(asked) == 2

    def test_a_view_has_the_counts_and_a_complete_receipt(self, site: GroupSite, ann: requests.Session) -> None:
        group = OpenGroup(site.journal, 3, owner=owner(ann))
        view = site.client(headers=dict(ann.headers)).watch(group.feed)
        group.begin(0, 1, 2)
        group.fail(2)
        group.end(0, 1)
        document = view.wait(timeout=5)
        assert {state: number for state, number in document["progress"]["children"].items() if number} == {
            "succeeded": 2,
            "failed": 1,
        }
        assert view.receipt is not None
        assert view.receipt.complete


def test_verify_counts_the_tasks_of_a_group(site: GroupSite, ann: requests.Session) -> None:
    large, ended = (OpenGroup(site.journal, number, owner=owner(ann)) for number in (5200, 100))
    for group in (large, ended):
        group.fail(9)
        group.end(*(number for number in range(100) if number != 9))
        done = verify(site, group.feed)
        assert done.exit_code == 0, done.output
        queued = "5,100 queued, " if group is large else ""
        assert done.output.splitlines()[1] == f"{len(group.ids):,} tasks: {queued}99 succeeded, 1 failed"


class TestActions:
    def test_cancel_ends_what_waits_and_says_so_to_its_tasks(self, site: GroupSite, ann: requests.Session) -> None:
        group = OpenGroup(site.journal, 3, owner=owner(ann), light=False)
        group.begin(0)
        answer = ann.post(site.tasks(group.feed, "/cancel"), timeout=5)
        assert (answer.status_code, answer.json()["document"]["state"]) == (202, "cancelling")
        assert [site.journal.snapshot(feed).document["state"] for feed in group.tasks[1:]] == ["cancelled"] * 2
        assert ann.post(site.tasks(group.feed, "/cancel"), timeout=5).status_code == 200
        group.end(0, state="cancelled")
        assert get(site, ann, group).json()["document"]["state"] == "cancelled"

    def test_a_group_that_has_ended_is_not_cancelled(self, site: GroupSite, ann: requests.Session) -> None:
        group = OpenGroup(site.journal, 1, owner=owner(ann))
        group.end(0)
        refused = problem(ann.post(site.tasks(group.feed, "/cancel"), timeout=5), 409)
        assert refused["detail"] == "The group has succeeded already and can't be cancelled."

    def test_force_is_for_a_group_that_is_cancelling_and_forcible(self, site: GroupSite, ann: requests.Session) -> None:
        def force(group: OpenGroup) -> requests.Response:
            return ann.post(site.tasks(group.feed, "/cancel"), json={"force": True}, timeout=5)

        group = OpenGroup(site.journal, 2, owner=owner(ann), forcible=True)
        group.begin(0)
        problem(force(group), 409)
        assert ann.post(site.tasks(group.feed, "/cancel"), timeout=5).json()["document"]["force_after"]
        assert problem(force(group), 409)["retry_after"] > 0
        threads = OpenGroup(site.journal, 2, owner=owner(ann))
        threads.begin(0)
        ann.post(site.tasks(threads.feed, "/cancel"), timeout=5)
        assert problem(force(threads), 409)["title"] == "Can't be forced"

    def test_delete_takes_the_group_its_list_and_its_tasks_away(self, site: GroupSite, ann: requests.Session) -> None:
        group = OpenGroup(site.journal, 3, owner=owner(ann), light=False)
        group.begin(0)
        site.deleted.clear()
        assert ann.delete(site.tasks(group.feed), timeout=5).status_code == 204
        for feed in (group.feed, *group.tasks):
            problem(get(site, ann, feed), 404)
        problem(get(site, ann, group, "/children"), 404)
        assert [snapshot.feed for snapshot in site.deleted] == [*group.tasks, group.feed]
        assert ann.get(f"{site.url}/petiole/tasks?children=1", timeout=5).json()["tasks"] == []

    def test_a_task_that_only_has_the_id_of_a_child_is_left_alone(self, site: GroupSite, ann: requests.Session) -> None:
        foreign, own = site.open("user:bob"), site.open(owner(ann))
        group = OpenGroup(
            site.journal, 2, owner=owner(ann), light=False, ids=[feed.removeprefix("task:") for feed in (foreign, own)]
        )
        assert ann.post(site.tasks(group.feed, "/cancel"), timeout=5).status_code == 202
        assert ann.delete(site.tasks(group.feed), timeout=5).status_code == 204
        assert [site.journal.snapshot(feed).document["state"] for feed in (foreign, own)] == ["queued"] * 2

    def test_a_task_of_a_group_is_not_retried_alone(self, site: GroupSite, ann: requests.Session) -> None:
        group = OpenGroup(site.journal, 1, owner=owner(ann), light=False)
        site.end(group.tasks[0])
        assert "retry" not in get(site, ann, group.tasks[0]).json()["links"]
        refused = problem(ann.post(site.tasks(group.tasks[0], "/retry"), timeout=5), 409)
        assert "Retry the group" in refused["detail"]

    def test_a_group_that_can_not_be_retried_says_why(self, site: GroupSite, ann: requests.Session) -> None:
        running, unkept = (OpenGroup(site.journal, 1, owner=owner(ann)) for _ in range(2))
        running.begin(0)
        unkept.fail(0, kept="")
        refused = problem(ann.post(site.tasks(running.feed, "/retry"), timeout=5), 409)
        assert refused["detail"].startswith("The group is running.")
        refused = problem(ann.post(site.tasks(unkept.feed, "/retry"), timeout=5), 409)
        assert refused["detail"].startswith("What failed wasn't kept")

    def test_its_notice_is_acknowledged_by_its_id(self, site: GroupSite, ann: requests.Session) -> None:
        group = OpenGroup(site.journal, 1, owner=owner(ann))
        group.end(0)

        def notices() -> list[str]:
            document = ann.get(f"{site.url}/petiole/inbox", timeout=5).json()["document"]
            return [name for name in document if name.startswith("group:")]

        wait_until(notices, what="the notice of the group's end", timeout=10)
        assert notices() == [group.feed]
        answer = ann.post(f"{site.url}/petiole/inbox/acknowledge", json={"tasks": [group.feed]}, timeout=5)
        assert (answer.status_code, notices()) == (200, [])


class TestPage:
    def test_it_shows_counts_steps_failures_and_what_can_be_done(self, site: GroupSite, ann: requests.Session) -> None:
        group = OpenGroup(site.journal, 30, owner=owner(ann), steps=["Load", "Resize <b>"])
        group.begin(0, 1)
        group.fail(*range(5, 30), message="<script>alert(1)</script>")
        wait_until(
            lambda: group.tell().due is None, what="the group's numbers are told", timeout=5
        )  # fmt: skip
        page = get(site, ann, group, Accept=BROWSER).text
        assert "25 of 30 · 25 failed · 2 running" in page
        assert "<li>Resize &lt;b&gt;</li>" in page
        assert page.count("Reference r-1") == 20
        assert "And 5 more." in page
        assert "<script>" not in page
        assert f'action="/petiole/tasks/{group.feed}/cancel"' in page
        group.end(*range(5))
        page = get(site, ann, group, Accept=BROWSER).text
        assert "25 of 30 tasks failed." in page
        assert "Try the failed tasks again" in page
        assert 'http-equiv="refresh"' not in page

    def test_a_failed_task_with_a_page_is_a_link(self, site: GroupSite, ann: requests.Session) -> None:
        group = OpenGroup(site.journal, 2, owner=owner(ann), light=False)
        group.fail(1)
        page = get(site, ann, group, Accept=BROWSER).text
        assert f'<a href="/petiole/tasks/{group.ids[1]}">Task 2</a>: The disk is full.' in page

    def test_a_form_cancels_it_and_leads_back(self, site: GroupSite, ann: requests.Session) -> None:
        group = OpenGroup(site.journal, 1, owner=owner(ann))
        answer = ann.post(
            site.tasks(group.feed, "/cancel"), headers={"Accept": BROWSER}, allow_redirects=False, timeout=5
        )
        assert (answer.status_code, answer.headers["Location"]) == (303, f"/petiole/tasks/{group.feed}")


class TestTokens:
    def bearer(self, site: GroupSite, subject: str, ann: requests.Session, *actions: str) -> requests.Session:
        with site.app.app_context():
            token = site.petiole.token(subject, owner=owner(ann), actions=actions or ("watch",))
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {token}"
        return session

    def test_one_for_a_group_is_for_its_list_and_its_tasks_and_nothing_else(
        self, site: GroupSite, ann: requests.Session
    ) -> None:
        group = OpenGroup(site.journal, 2, owner=owner(ann), light=False)
        other = OpenGroup(site.journal, 1, owner=owner(ann), light=False)
        session = self.bearer(site, group.feed, ann)
        [first, _] = children(site, session, group)
        assert session.get(site.url + first["links"]["self"], timeout=5).status_code == 200
        for feed in (other.feed, *other.tasks):
            problem(get(site, session, feed), 404)
        problem(session.post(site.tasks(group.feed, "/cancel"), timeout=5), 403)
        problem(get(site, self.bearer(site, group.tasks[0], ann), group, "/children"), 404)

    def test_one_without_watch_does_not_list(self, site: GroupSite, ann: requests.Session) -> None:
        group = OpenGroup(site.journal, 1, owner=owner(ann))
        problem(get(site, self.bearer(site, group.feed, ann, "cancel"), group, "/children"), 403)


class TestSocket:
    def test_it_is_watched_cancelled_and_retried_by_its_feed(self, site: GroupSite, ann: requests.Session) -> None:
        group = OpenGroup(site.journal, 3, owner=owner(ann))
        client = site.client(headers=dict(ann.headers))
        view = client.watch(group.feed)
        group.begin(0)
        wait_until(lambda: view.document.get("state") == "running", what="the page sees it run", timeout=5)
        refused = client.call("retry", {"feed": group.feed})
        assert refused["error"]["status"] == 409
        assert client.call("cancel", {"feed": group.feed})["status"] == 202
        group.fail(0)
        document = view.wait(timeout=5)
        assert (document["state"], document["progress"]["children"]["failed"]) == ("cancelled", 1)
        assert view.receipt is not None
        assert view.receipt.complete
        foreign = OpenGroup(site.journal, 1, owner="user:bob")
        for call in ("watch", "cancel", "retry"):
            assert client.call(call, {"feed": foreign.feed})["error"]["status"] == 404

    def test_it_gets_ten_events_a_second_however_often_tasks_say_something(
        self, site: GroupSite, ann: requests.Session
    ) -> None:
        group = OpenGroup(site.journal, 10, owner=owner(ann))
        counters: list[int] = []
        view = site.client(headers=dict(ann.headers)).watch(
            group.feed, on_event=lambda event: counters.append(event.seq) if not event.is_fact else None
        )
        view.wait_until(bool, timeout=5)
        journal = site.journal
        reads, read = [], journal.read
        began = time.monotonic()
        try:
            journal.read = lambda *args, **options: reads.append(args) or read(*args, **options)  # type: ignore
            said = 0
            while time.monotonic() - began < 1.5:
                group.begin(said % 10, done=said // 10 + 1)
                said += 1
            group.end(*range(10))
            document = view.wait(timeout=5)
        finally:
            del journal.read
        took = time.monotonic() - began
        assert document["progress"]["completed"] == 10
        assert said > len(counters)
        assert len(counters) <= 10 * took + 1
        # What the page sees comes with the rings. It is read when one was lost, not for each task.
        assert len(reads) <= took + 2

    def test_who_may_see_it_is_asked_of_the_application(self, site: GroupSite, ann: requests.Session) -> None:
        asked: list[tuple[str, str]] = []
        before = site.petiole._authorize

        def rule(action: str, feed: str, user: str, of: str) -> bool:
            asked.append((action, feed))
            return before(action, feed, user, of)

        group = OpenGroup(site.journal, 1, owner=owner(ann))
        site.petiole.authorizer(rule)
        try:
            get(site, ann, group, "/children")
        finally:
            site.petiole.authorizer(before)
        assert asked == [("watch", group.feed)]


def test_what_the_list_answers_is_what_its_description_says(site: GroupSite, ann: requests.Session) -> None:
    document = describe("/petiole")
    group = OpenGroup(site.journal, 4, owner=owner(ann), light=False)
    group.begin(0, 1, done=1)
    group.fail(1)
    answer = get(site, ann, group, "/children?limit=3")
    said = document["paths"]["/tasks/{task_id}/children"]["get"]["responses"]["200"]
    conforms(answer.json(), said["content"]["application/json"]["schema"], document)
    assert answer.json()["next"] == "2"


def test_a_cursor_of_a_group_is_one_of_its_feed(site: GroupSite, ann: requests.Session) -> None:
    group = OpenGroup(site.journal, 2, owner=owner(ann))
    assert Cursor.parse(get(site, ann, group).json()["cursor"]) == group.opened

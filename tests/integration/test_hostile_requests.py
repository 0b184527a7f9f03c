"""Hostile requests against real servers: bodies, headers and query strings of every shape, and their traces."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
import redis
import requests

from tests.support.site import SERVERS, Site, serving

MEGABYTE = 1024 * 1024
PROBLEM = "application/problem+json"
JSON = {"Content-Type": "application/json"}
ROUTES = [
    ("POST", "/petiole/tasks/unknown/cancel"),
    ("POST", "/petiole/tasks/unknown/retry"),
    ("POST", "/petiole/inbox/acknowledge"),
    ("DELETE", "/petiole/tasks/unknown"),
    ("GET", "/petiole/tasks/unknown"),
    ("GET", "/petiole/tasks/group:unknown/children"),
    ("GET", "/petiole/tasks"),
    ("GET", "/petiole/inbox"),
]
TAKE_BODIES = [("cancel", "/petiole/tasks/{task}/cancel"), ("acknowledge", "/petiole/inbox/acknowledge")]


@pytest.fixture(scope="module", params=sorted(SERVERS))
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving(tmp_path_factory.mktemp(request.param), server=request.param) as site:
        yield site


@pytest.fixture
def lines(site: Site) -> Iterator[None]:
    """No request of the test has left a traceback in the server's log."""
    before = len(site.log)
    yield
    assert not [line for line in site.log[before:] if "Traceback" in line], site.log[before:]


pytestmark = pytest.mark.usefixtures("lines")


class Large:
    """A file of so many spaces, generated while it is sent."""

    def __init__(self, size: int) -> None:
        self.size = self.left = size

    def __len__(self) -> int:
        return self.size

    def read(self, size: int) -> bytes:
        size = min(size, self.left)
        self.left -= size
        return b" " * size


def large(size: int, *, said: bool) -> Large | Iterator[bytes]:
    """A body with a length, or in chunks."""
    file = Large(size)
    return file if said else iter(lambda: file.read(65536), b"")


def keys(site: Site) -> set[bytes]:
    with redis.Redis(port=site.redis_port) as client:
        return set(client.keys("*"))


def send(site: Site, method: str, path: str, **options: Any) -> requests.Response:
    headers = {"X-Person": "ann", **options.pop("headers", {})}
    return requests.request(method, site.url + path, headers=headers, timeout=60, **options)


def is_problem(response: requests.Response, *statuses: int) -> None:
    assert response.status_code in statuses, response.text
    assert response.headers["Content-Type"] == PROBLEM
    assert len(response.content) < 600
    assert response.json()["detail"].endswith(".")


@pytest.mark.parametrize("said", [True, False], ids=["length", "chunks"])
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_body_of_100_megabytes_is_never_held(site: Site, method: str, path: str, said: bool) -> None:
    before = site.resident()
    try:
        response = send(site, method, path, data=large(100 * MEGABYTE, said=said), headers=JSON)
    except requests.ConnectionError:
        pass  # refused before all of it was sent
    else:
        # A route without a body, or for a missing task, doesn't read a body without a length at all.
        assert response.status_code == 413 or not said
    assert site.resident() - before < 20 * MEGABYTE


@pytest.mark.parametrize(("call", "path"), TAKE_BODIES)
def test_a_body_over_the_limit_is_refused_whether_its_length_is_said_or_not(site: Site, call: str, path: str) -> None:
    path = path.format(task=site.open(f"task:{uuid.uuid4()}", owner="user:ann")[5:])
    is_problem(send(site, "POST", path, data=b" " * 65_537, headers=JSON), 413)
    # The answer may come before the whole body.
    is_problem(send(site, "POST", path, data=iter([b'{"all":true}', b" " * 70_000]), headers=JSON), 413)
    assert send(site, "GET", "/petiole/tasks").ok


@pytest.mark.parametrize(
    "body",
    [b"[" * 50_000, b'{"a":' * 10_000, b"{", b"\xff\xfe", b"NaN", b'{"all":NaN}', b'{"force":-Infinity}',
     b'{"all":' + b"9" * 5_000 + b"}", b"nul", b"\x00", b'"\\ud800'],
    ids=lambda body: repr(body[:16]),
)  # fmt: skip
@pytest.mark.parametrize(("call", "path"), TAKE_BODIES)
def test_what_is_no_json_is_a_bad_request(site: Site, call: str, path: str, body: bytes) -> None:
    path = path.format(task=site.open(f"task:{uuid.uuid4()}", owner="user:ann")[5:])
    is_problem(send(site, "POST", path, data=body, headers=JSON), 400)


@pytest.mark.parametrize(
    "message",
    [None, 0, 7, 1e308, "all", True, [], [[]], [{"all": True}], {}, {"tasks": None}, {"tasks": [None]}, {"tasks": [1]},
     {"tasks": [True]}, {"tasks": [["a"]]}, {"tasks": [{}]}, {"tasks": {"0": "a"}}, {"tasks": "a"}, {"tasks": [1.5]},
     {"tasks": [10**30]}, {"tasks": [""]}, {"tasks": ["\ud800"]}, {"tasks": ["a\n"]}, {"tasks": ["a" * 200]},
     {"tasks": ["a"] * 101}, {"all": 1}, {"all": "true"}, {"all": [True]}, {"all": False}],
    ids=lambda message: repr(message)[:24],
)  # fmt: skip
def test_an_acknowledgement_of_another_shape_is_invalid_over_http_and_on_the_socket(site: Site, message: Any) -> None:
    is_problem(send(site, "POST", "/petiole/inbox/acknowledge", json=message), 422)
    # The user is unknown here: the body is checked all the same.
    is_problem(requests.post(f"{site.url}/petiole/inbox/acknowledge", json=message, timeout=5), 422)
    browser = site.browser("ann")
    assert browser.ask("acknowledge", message)["error"]["status"] in (400, 422)
    browser.close()


CHUNKED = "Transfer-Encoding: chunked"
FORM = "Content-Type: multipart/form-data; boundary=b"


@pytest.mark.parametrize(
    ("head", "body"),
    [("Content-Length: 50", b'{"all":true}'), ("Content-Length: -5", b"x"), ("Content-Length: abc", b"x"),
     (CHUNKED, b"ZZ\r\n{}\r\n0\r\n\r\n"), (CHUNKED, b"50\r\n{}"), (CHUNKED, b"c\r\n{\"all\":true}x\r\n0\r\n\r\n"),
     (f"{FORM}\r\n{CHUNKED}", b"ZZ\r\n--b")],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("path", ["/petiole/inbox/acknowledge", "/start"])
def test_a_body_that_is_not_what_its_head_says_is_a_mistake_of_its_sender(
    site: Site, path: str, head: str, body: bytes
) -> None:
    kind = "" if "Content-Type" in head else "Content-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", site.port), timeout=5) as connection:
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\nX-Person: ann\r\nConnection: close\r\n"
            f"Idempotency-Key: {uuid.uuid4()}\r\n{kind}{head}\r\n\r\n".encode()
            + body
        )
        connection.shutdown(socket.SHUT_WR)
        status = connection.recv(65536).split(b" ")[1]
    # An acknowledgement doesn't read forms, so it has no content.
    assert status == (b"422" if kind == "" and path != "/start" else b"400")


@pytest.mark.parametrize("force", [1, "true", [], {}, 0, [True]])
def test_force_is_true_or_false_and_a_task_is_not_cancelled_by_anything_else(site: Site, force: Any) -> None:
    feed = site.open(f"task:{uuid.uuid4()}", owner="user:ann")
    is_problem(send(site, "POST", f"/petiole/tasks/{feed[5:]}/cancel", json={"force": force}), 422)
    browser = site.browser("ann")
    assert browser.ask("cancel", {"feed": feed, "force": force})["error"]["status"] == 422
    browser.close()
    assert send(site, "GET", f"/petiole/tasks/{feed[5:]}").json()["document"]["state"] == "queued"


@pytest.mark.parametrize(
    ("body", "headers"),
    [(b"", {}), (b"", JSON), (b"{}", JSON), (b"null", JSON), (b'{"force":false}', JSON), (b"go=1", {"Content-Type":
     "application/x-www-form-urlencoded"}), (b"[" * 50_000, {"Content-Type": "text/plain"})],
)  # fmt: skip
def test_a_cancel_needs_no_body(site: Site, body: bytes, headers: dict[str, str]) -> None:
    feed = site.open(f"task:{uuid.uuid4()}", owner="user:ann")
    assert send(site, "POST", f"/petiole/tasks/{feed[5:]}/cancel", data=body, headers=headers).status_code == 202


@pytest.mark.parametrize("origin", ["http://[", "http://]", "http://[::1", "null", "//", "http://a:b", "x" * 4_000])
def test_an_origin_that_is_none_is_a_foreign_one(site: Site, origin: str) -> None:
    for method, path in ROUTES[:4]:
        is_problem(send(site, method, path, headers={"Origin": origin}), 403)


@pytest.mark.parametrize(
    ("name", "value"),
    [("Accept", "text/html;q=nan"), ("Accept", "," * 4_000), ("If-None-Match", '"' * 500), ("Range", "bytes=x"),
     ("Authorization", "Bearer petiole." + "x" * 3_000), ("Authorization", "Bearer petiole.\xff"),
     ("Last-Event-ID", "\xff"), ("Cookie", "session=" + "." * 3_000), ("Idempotency-Key", "\xff"),
     ("Sec-Fetch-Site", "\xff"), ("Content-Type", "application/json; charset=\xff")],
)  # fmt: skip
def test_headers_of_any_shape_are_no_error_of_the_server(site: Site, name: str, value: str) -> None:
    for method, path in ROUTES:
        for each in (path, f"{path}/events") if path.endswith(("inbox", "unknown")) else (path,):
            response = requests.request(method, site.url + each, headers={name: value}, timeout=5)
            assert response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR, (method, each)


@pytest.mark.parametrize(
    "query",
    [
        "state=" + "x" * 3_000,
        "cursor=" + "9" * 3_000,
        "cursor=-1",
        "cursor=%C2%B2",
        "after=%ff",
        "after=%00",
        "state=%ff",
    ],
)
def test_query_strings_of_any_shape_get_a_bounded_answer(site: Site, query: str) -> None:
    for path in ("/petiole/tasks", "/petiole/inbox/events", "/petiole/tasks/unknown/events"):
        response = send(site, "GET", f"{path}?{query}", headers={"X-Person": "nobody"})
        assert response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR, path
        assert len(response.content) < 1000


def test_who_has_started_nothing_leaves_nothing(site: Site) -> None:
    before = keys(site)
    for _ in range(5):
        for with_cookies in (False, True):
            somebody = requests.Session()
            if with_cookies:
                somebody.get(site.url, timeout=5)
            for path in (
                "/tasks",
                "/inbox",
                "/inbox/events",
                "/tasks/unknown",
                "/tasks/unknown/events",
                "/tasks/group:unknown/children",
                "/openapi.json",
            ):
                somebody.get(f"{site.url}/petiole{path}", timeout=5)
            somebody.post(f"{site.url}/petiole/inbox/acknowledge", json={"all": True}, timeout=5)
            named = {"tasks": [f"{number}" for number in range(100)]}
            assert somebody.post(f"{site.url}/petiole/inbox/acknowledge", json=named, timeout=5).status_code == 200
            headers = {"Idempotency-Key": "a"}
            for task in ("unknown", "group:unknown"):
                somebody.post(f"{site.url}/petiole/tasks/{task}/retry", headers=headers, timeout=5)
    person = f"p{uuid.uuid4().hex}"
    browser = site.browser(person)
    inbox = send(site, "GET", "/petiole/inbox", headers={"X-Person": person}).json()
    assert browser.ask("watch", {"feed": inbox["feed"], "cursor": inbox["cursor"]})["recovered"]
    assert browser.ask("acknowledge", {"tasks": ["1", "2"]}) == {}
    assert browser.ask("acknowledge", {"all": True}) == {}
    assert browser.ask("watch", {"feed": "user:" + "0" * 32})["error"]["status"] == 404
    browser.close()
    made = keys(site) - before
    # A notice of another test's task may come at any time into its inbox.
    told = {key.rsplit(b":", 1)[0] for key in made if key.endswith(b":unread")}
    assert {key for key in made if key.rsplit(b":", 1)[0] not in told} == set()


def test_an_inbox_that_is_not_there_yet_is_watched_until_its_first_notice_comes(site: Site) -> None:
    person = f"p{uuid.uuid4().hex}"
    browser = site.browser(person)
    inbox = send(site, "GET", "/petiole/inbox", headers={"X-Person": person}).json()
    assert inbox["document"] == {"unread": 0, "earlier": 0}
    assert browser.ask("watch", {"feed": inbox["feed"], "cursor": inbox["cursor"]})["recovered"]
    site.journal.notify(f"user:{person}", key="task:first", notice={"title": "First"})
    assert browser.next("event")["kind"] == "notice"
    browser.close()


def test_a_task_of_ones_own_can_be_acknowledged_before_any_notice_has_come(site: Site) -> None:
    person = f"p{uuid.uuid4().hex}"
    feed = site.open(f"task:{uuid.uuid4()}", owner=f"user:{person}")
    foreign = site.open(f"task:{uuid.uuid4()}", owner="user:somebody")
    answer = send(
        site,
        "POST",
        "/petiole/inbox/acknowledge",
        json={"tasks": [feed[5:], foreign[5:]]},
        headers={"X-Person": person},
    )
    assert answer.status_code == 200
    site.journal.notify(f"user:{person}", key=feed, notice={"title": "Seen"})
    site.journal.notify(f"user:{person}", key=foreign, notice={"title": "New"})
    document = send(site, "GET", "/petiole/inbox", headers={"X-Person": person}).json()["document"]
    assert set(document) == {"unread", "earlier", foreign}


def test_the_empty_inbox_of_somebody_else_is_not_the_one_that_a_browser_has(site: Site) -> None:
    first = send(site, "GET", "/petiole/inbox", headers={"X-Person": f"p{uuid.uuid4().hex}"})
    other = {"X-Person": f"p{uuid.uuid4().hex}", "If-None-Match": first.headers["ETag"]}
    again = send(site, "GET", "/petiole/inbox", headers=other)
    assert again.status_code == 200
    assert again.json()["feed"] != first.json()["feed"]


def test_a_key_is_for_one_query_string_and_one_body(site: Site) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}

    def start(query: str = "", **options: Any) -> requests.Response:
        return send(site, "POST", f"/start{query}", headers=key, **options)

    first = start("?table=flights")
    assert first.status_code == 202
    assert start("?table=flights").json()["id"] == first.json()["id"]
    for other in ("", "?table=airlines", "?table=flights&table=airlines"):
        is_problem(start(other), 422)
    is_problem(start("?table=flights", json={}), 422)


def test_a_key_is_for_one_content_of_a_file(site: Site) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}

    def start(content: bytes) -> requests.Response:
        return send(site, "POST", "/start", headers=key, files={"rows": ("rows.csv", content)}, data={"a": "b"})

    first = start(b"1,2\n" * 300_000)
    assert first.status_code == 202, first.text
    assert start(b"1,2\n" * 300_000).json()["id"] == first.json()["id"]
    is_problem(start(b"1,3\n" * 300_000), 422)


def test_a_body_that_is_read_for_its_fingerprint_only_has_a_limit(site: Site) -> None:
    before = site.resident()
    key = {"Idempotency-Key": uuid.uuid4().hex}
    try:
        response = send(site, "POST", "/start", data=Large(100 * MEGABYTE), headers=key)
    except requests.ConnectionError:
        pass  # refused before all of it was sent
    else:
        is_problem(response, 413)
    assert site.resident() - before < 20 * MEGABYTE

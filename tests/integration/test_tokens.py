"""Tokens: the holder's rights, their duration and origin; and a watch outlives the token that it began with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from flask import Flask, Response
from flask_socketio import SocketIO

from petiole import Petiole
from petiole.client import Refused, TaskClient
from petiole.errors import PetioleError
from petiole.protocol.events import Event
from petiole.web.access.tokens import Tokens
from petiole.web.problems import Problem
from tests.support.nearby import Nearby, make_app, served
from tests.support.waiting import wait_until

ELSEWHERE = "https://pages.example"
RIGHTS_CHECK = 0.2


class Site(Nearby):
    petiole: Petiole
    suspended: set[str]

    def mint(self, feed: str | None = None, **options: Any) -> str:
        with self.app.app_context():
            return self.petiole.token(feed, **options)


@contextmanager
def served_site(redis_url: str, *, own_rule: bool) -> Iterator[Site]:
    """Serve a site; its own rule denies everything to suspended users, without it Petiole's rule applies."""
    petiole = Petiole()
    suspended: set[str] = set()
    socketio = SocketIO(async_mode="threading", cors_allowed_origins=[ELSEWHERE])
    app = make_app(
        redis_url,
        petiole,
        socketio=socketio,
        PETIOLE_RIGHTS_CHECK=RIGHTS_CHECK,
        PETIOLE_TOKEN_LEEWAY=0,
        PETIOLE_LINGER=0.1,
    )

    if own_rule:
        petiole.authorizer(lambda _action, _feed, user, owner: user == owner and user not in suspended)

    @app.get("/file/<task_id>")
    def file(task_id: str) -> str:
        petiole.authorize("download", f"task:{task_id}")
        return "the file"

    @app.post("/tokens/<task_id>")
    def token(task_id: str) -> Response:
        return app.json.response(petiole.token(f"task:{task_id}", actions=("watch", "cancel")))

    with served(app) as nearby:
        nearby.__class__ = Site
        assert isinstance(nearby, Site)
        nearby.petiole, nearby.suspended = petiole, suspended
        yield nearby


@pytest.fixture(scope="module")
def site(redis_url: str) -> Iterator[Site]:
    with served_site(redis_url, own_rule=True) as served:
        yield served


@pytest.fixture(params=["its own rule", "Petiole's rule"])
def either(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Site]:
    with served_site(redis_url, own_rule=request.param == "its own rule") as served:
        yield served


def get(url: str, token: str, method: str = "GET", **headers: str) -> requests.Response:
    return requests.request(method, url, headers={"Authorization": f"Bearer {token}", **headers}, timeout=5)


def refusal(response: requests.Response) -> tuple[int, str]:
    assert response.headers["Content-Type"] == "application/problem+json"
    return response.status_code, response.json()["title"]


def watched(site: Site, feed: str, events: list[Event] | None = None, **options: Any) -> Any:
    client = site.client(**options)
    view = client.watch(feed, on_event=None if events is None else events.append)
    view.wait_until(bool, timeout=5)
    return view


def messages(events: list[Event]) -> list[str]:
    return [event.data["message"] for event in events if event.kind == "log"]


def test_a_token_opens_its_feed_over_http_and_no_other(site: Site) -> None:
    feed, other = site.open(), site.open()
    token = site.mint(feed)
    assert get(site.tasks(feed), token).json()["feed"] == feed
    assert get(site.tasks(feed, "/events"), token).json()["recovered"]
    assert refusal(get(site.tasks(other), token)) == refusal(get(site.tasks("task:none"), token)) == (404, "Not found")


def test_a_token_may_do_what_it_names_and_nothing_else(site: Site) -> None:
    feed = site.open()
    assert refusal(get(site.tasks(feed, "/cancel"), site.mint(feed), "POST"))[0] == 403
    cancel = site.mint(feed, actions=("cancel",))
    assert refusal(get(site.tasks(feed), cancel)) == (403, "Beyond the token's scope")
    assert get(site.tasks(feed, "/cancel"), cancel, "POST").status_code == 202


def test_an_owners_token_opens_all_their_feeds_their_list_and_their_inbox(site: Site) -> None:
    mine, foreign = site.open("user:cid"), site.open("user:dan")
    token = site.mint(owner="user:cid")
    assert get(site.tasks(mine), token).status_code == 200
    assert get(site.tasks(foreign), token).status_code == 404
    listed = get(f"{site.url}/petiole/tasks", token).json()["tasks"]
    assert [task["feed"] for task in listed] == [mine]
    inbox = get(f"{site.url}/petiole/inbox", token).json()["feed"]
    assert inbox == requests.get(f"{site.url}/petiole/inbox", headers={"X-Person": "cid"}, timeout=5).json()["feed"]
    assert watched(site, inbox, token=token).document["unread"] == 0


def test_a_feeds_token_opens_no_list(site: Site) -> None:
    token = site.mint(site.open())
    assert refusal(get(f"{site.url}/petiole/tasks", token))[0] == 403
    assert refusal(get(f"{site.url}/petiole/inbox", token))[0] == 403


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-3] + "abc",
        lambda text: "petiole.",
        lambda text: "petiole.x.y",
        lambda text: "petiole." + "é" * 9,
    ],
)
def test_a_token_that_is_none_is_a_401(site: Site, spoil: Callable[[str], str]) -> None:
    feed = site.open()
    text = spoil(site.mint(feed))
    response = requests.get(site.tasks(feed), headers={"Authorization": f"Bearer {text}".encode()}, timeout=5)
    assert refusal(response) == (401, "Invalid token")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_another_applications_bearer_is_not_ours_to_judge(site: Site) -> None:
    feed = site.open()
    assert get(site.tasks(feed), "theirs").status_code == 404
    assert get(site.tasks(feed), "theirs", **{"X-Person": "ann"}).status_code == 200


def test_a_token_signed_with_another_key_is_a_401_and_an_older_key_still_counts(site: Site) -> None:
    feed = site.open()
    token = site.mint(feed)
    site.app.secret_key = "the next one"
    try:
        assert refusal(get(site.tasks(feed), token)) == (401, "Invalid token")
        site.app.config["SECRET_KEY_FALLBACKS"] = ["nearby"]
        assert get(site.tasks(feed), token).status_code == 200
    finally:
        site.app.secret_key = "nearby"
        site.app.config["SECRET_KEY_FALLBACKS"] = None


def test_an_expired_token_is_a_401_that_says_so(site: Site) -> None:
    feed = site.open()
    token = site.mint(feed, expires_in=0.05)
    wait_until(lambda: get(site.tasks(feed), token).status_code == 401, what="it has expired")
    assert refusal(get(site.tasks(feed), token)) == (401, "Token expired")


def test_a_revoked_token_is_a_401_and_a_new_one_holds(site: Site) -> None:
    feed = site.open("user:eve")
    tokens = [site.mint(feed), site.mint(owner="user:eve")]
    others = site.mint(owner="user:ann")
    with site.app.app_context():
        site.petiole.revoke_tokens(feed)
    assert [refusal(get(site.tasks(feed), token)) for token in tokens] == [(401, "Token revoked")] * 2
    assert get(site.tasks(feed), site.mint(feed)).status_code == 200
    assert get(f"{site.url}/petiole/tasks", others).status_code == 200


def test_who_loses_the_right_loses_it_for_the_token_as_well(site: Site) -> None:
    feed = site.open("user:fay")
    token = site.mint(feed)
    site.suspended.add("user:fay")
    assert get(site.tasks(feed), token).status_code == 404


@pytest.mark.parametrize(
    "options", [{"actions": ("everything",)}, {"actions": ()}, {"expires_in": 1e6}, {"expires_in": 0}]
)
def test_what_no_token_can_be_is_refused_when_it_is_minted(site: Site, options: dict[str, Any]) -> None:
    with pytest.raises(PetioleError, match="Use "):
        site.mint(site.open(), **options)


def test_a_view_mints_for_whom_the_feed_belongs_to(site: Site) -> None:
    feed = site.open()
    url = f"{site.url}/tokens/{feed[5:]}"
    assert requests.post(url, headers={"X-Person": "bob"}, timeout=5).status_code == 404
    token = requests.post(url, headers={"X-Person": "ann"}, timeout=5).json()
    assert get(site.tasks(feed), token).status_code == 200
    # A token doesn't renew itself: that needs a login.
    assert get(url, token, "POST").status_code == 404


def test_a_download_link_may_carry_a_token_for_downloads_alone(site: Site) -> None:
    feed = site.open()
    link = f"{site.url}/file/{feed[5:]}"
    narrow, wide = site.mint(feed, actions=("download",)), site.mint(feed, actions=("download", "watch"))
    assert requests.get(link, params={"token": narrow}, timeout=5).text == "the file"
    assert refusal(requests.get(link, params={"token": wide}, timeout=5))[0] == 403
    assert get(link, wide).text == "the file"
    assert requests.get(site.tasks(feed), params={"token": site.mint(feed)}, timeout=5).status_code == 404


@pytest.mark.parametrize("where", ["handshake", "message"])
def test_a_page_of_another_site_follows_and_cancels_by_its_token(site: Site, where: str) -> None:
    feed = site.open()
    token = site.mint(feed, actions=("watch", "cancel"))
    client = site.client(headers={"Origin": ELSEWHERE}, token=token if where == "message" else None)
    if where == "handshake":
        client.connect(auth={"token": token})
    events: list[Event] = []
    view = client.watch(feed, on_event=events.append)
    view.wait_until(lambda document: document.get("state") == "queued", timeout=5)
    site.say(feed, "hello")
    wait_until(lambda: messages(events) == ["hello"], what="the event arrived")
    assert view.cancel()["status"] == 202
    assert view.wait(timeout=5)["state"] == "cancelled"
    assert view.receipt.complete
    assert not client.session.cookies


def test_a_page_of_a_site_that_is_not_named_gets_no_socket(site: Site) -> None:
    client = site.client(headers={"Origin": "https://evil.example"}, token=site.mint(site.open()))
    with pytest.raises(PetioleError):
        client.connect()


def test_a_socket_with_a_bad_token_is_refused(site: Site) -> None:
    with pytest.raises(Refused, match="not a token of this application"):
        site.client().connect(auth={"token": "petiole.nothing"})
    for message in ({"token": 7}, {"token": "petiole.x"}, {"token": "x"}):
        client = site.client()
        client.connect()
        assert client.call("watch", {"feed": site.open(), **message})["error"]["status"] == 401


def test_a_browser_on_a_named_origin_may_read_the_answers_and_others_may_not(site: Site) -> None:
    feed = site.open()
    token = site.mint(feed, actions=("watch", "cancel"))
    named = get(site.tasks(feed), token, Origin=ELSEWHERE)
    assert named.headers["Access-Control-Allow-Origin"] == ELSEWHERE
    assert "Access-Control-Allow-Credentials" not in named.headers
    assert "Origin" in named.headers["Vary"]
    assert "Access-Control-Allow-Origin" not in get(site.tasks(feed), token, Origin="https://evil.example").headers
    preflight = requests.options(site.tasks(feed, "/cancel"), headers={"Origin": ELSEWHERE}, timeout=5)
    assert preflight.status_code == 200
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    assert get(site.tasks("task:none"), token, Origin=ELSEWHERE).headers["Access-Control-Allow-Origin"] == ELSEWHERE
    # The token proves more than a cookie would: with it another origin may make changes.
    assert get(site.tasks(feed, "/cancel"), token, "POST", Origin=ELSEWHERE).status_code == 202
    with_cookie = requests.post(
        site.tasks(feed, "/cancel"), headers={"Origin": ELSEWHERE, "X-Person": "ann"}, timeout=5
    )
    assert with_cookie.status_code == 403


def test_a_running_watch_ends_with_its_token(either: Site) -> None:
    feed = either.open()
    view = watched(either, feed, token=either.mint(feed, expires_in=1.0))
    began = time.monotonic()
    with pytest.raises(Refused) as refused:
        view.wait(timeout=6)
    assert time.monotonic() - began < 5
    assert (refused.value.problem["status"], refused.value.problem["title"]) == (401, "Token expired")
    either.say(feed, "after the end")
    assert view.document["state"] == "queued"
    assert "error" in view._client.call("watch", {"feed": feed})


def test_a_running_watch_ends_when_its_token_is_revoked(either: Site) -> None:
    feed = either.open("user:gil")
    view = watched(either, feed, token=either.mint(feed))
    with either.app.app_context():
        either.petiole.revoke_tokens(owner="user:gil")
    with pytest.raises(Refused, match="revoked"):
        view.wait(timeout=5)


def test_a_watch_is_renewed_before_its_token_ends_and_loses_nothing(site: Site) -> None:
    feed = site.open()
    minted: list[str] = []

    def renew() -> str:
        minted.append(site.mint(feed, expires_in=1.5))
        return minted[-1]

    events: list[Event] = []
    view = watched(site, feed, events, token=renew)
    said = 0
    deadline = time.monotonic() + 20
    while len(minted) < 3:
        assert time.monotonic() < deadline, "the token is not renewed"
        site.say(feed, str(said))
        said += 1
        wait_until(lambda sent=said: len(messages(events)) == sent, what="the line arrived")  # type: ignore[misc]
    site.end(feed)
    view.wait(timeout=5)
    assert messages(events) == [str(number) for number in range(said)]
    assert view.receipt.complete
    assert view.resets == 0


def test_a_watch_goes_on_from_its_cursor_after_a_401(site: Site) -> None:
    feed = site.open()
    waiting = threading.Event()
    minted: list[str] = []

    def renew() -> str:
        if minted:
            assert waiting.wait(5)
        minted.append(site.mint(feed))
        return minted[-1]

    events: list[Event] = []
    view = watched(site, feed, events, token=renew)
    with site.app.app_context():
        site.petiole.revoke_tokens(feed)
    socket = site.app.extensions["socketio"].server.manager
    wait_until(lambda: not list(socket.get_participants("/petiole", feed)), what="the watch has ended")
    site.say(feed, "said meanwhile")
    assert messages(events) == []
    waiting.set()
    wait_until(lambda: messages(events) == ["said meanwhile"], what="the missed events are read")
    site.end(feed)
    view.wait(timeout=5)
    assert view.receipt.complete
    assert view.resets == 0
    assert len(minted) == 2


def test_a_new_token_that_is_refused_as_well_is_the_end(site: Site) -> None:
    feed = site.open()
    asked: list[int] = []

    def renew() -> str:
        asked.append(1)
        return "petiole.nothing"

    with pytest.raises(Refused, match="not a token of this application"):
        site.client(token=renew).watch(feed).wait(timeout=5)
    assert len(asked) == 2


def test_an_event_stream_ends_with_its_token(site: Site) -> None:
    feed = site.open()
    began = time.monotonic()
    with requests.get(
        site.tasks(feed, "/events"),
        headers={"Authorization": f"Bearer {site.mint(feed, expires_in=0.5)}", "Accept": "text/event-stream"},
        stream=True,
        timeout=10,
    ) as response:
        assert response.status_code == 200
        assert list(response.iter_lines())
    assert time.monotonic() - began < 5


def test_the_leeway_keeps_a_token_alive_for_clocks_that_differ(redis_url: str) -> None:
    petiole = Petiole()
    app: Flask = make_app(redis_url, petiole, TESTING=True)
    feed = Nearby(app, "").open()
    with app.app_context():
        text = petiole.token(feed, expires_in=0.001)
        clock = [time.time()]
        state = app.extensions["petiole"]
        tokens = Tokens(state.journal, state.settings, clock=lambda: clock[0])
        token = tokens.read(text)
        clock[0] += 29
        tokens.check(token)
        clock[0] += 2
        with pytest.raises(Problem, match="expired"):
            tokens.check(token)


def test_the_inbox_takes_an_owners_token(site: Site) -> None:
    client: TaskClient = site.client(token=site.mint(owner="user:ann"))
    client.connect()
    assert client.call_with_token("acknowledge", {"all": True}) == {}
    narrow = site.client(token=site.mint(site.open()))
    narrow.connect()
    assert narrow.call_with_token("acknowledge", {"all": True})["error"]["status"] == 403

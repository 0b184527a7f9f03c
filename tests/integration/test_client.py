"""The Python client against a misbehaving server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import socketio
from werkzeug.serving import make_server

from petiole.client import Refused, TaskClient, connection, followed, reconnecting
from petiole.errors import PetioleError
from petiole.protocol.events import ZERO_CHAIN
from petiole.servers.redis import free_port
from tests.support.waiting import wait_until

FEED = "task:silent"


@pytest.fixture
def silent_once() -> Iterator[tuple[str, list[Any]]]:
    """A server that doesn't answer the first watch; its address and the received calls."""
    asked: list[Any] = []
    ended = threading.Event()
    server = socketio.Server(async_mode="threading")

    @server.on("watch", namespace="/petiole")
    def watch(_sid: str, message: Any) -> dict[str, Any]:
        asked.append(message)
        if len(asked) == 1:
            ended.wait(30)
        document = {"state": "succeeded"}
        cursor = f"0000000a.1.0.{ZERO_CHAIN}"
        return {"feed": FEED, "document": document, "events": [], "cursor": cursor, "recovered": True, "more": False}

    http = make_server("127.0.0.1", 0, socketio.WSGIApp(server), threaded=True)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}", asked
    ended.set()
    http.shutdown()
    thread.join(5)


def test_a_read_that_is_never_answered_is_asked_again(
    silent_once: tuple[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followed, "ANSWER_TIMEOUT", 1.0)
    url, asked = silent_once
    client = TaskClient(url)
    try:
        assert client.watch(FEED).wait(timeout=10)["state"] == "succeeded"
    finally:
        client.close()
    assert len(asked) == 2


def test_a_connection_of_whose_end_nobody_is_told_is_made_again(
    silent_once: tuple[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Like a connection that ends while it is being opened: python-socketio has no event for that.
    monkeypatch.setattr(connection, "LOOK_EVERY", 0.1)
    monkeypatch.setattr(followed, "ANSWER_TIMEOUT", 60.0)
    url, asked = silent_once
    client = TaskClient(url)
    try:
        watching = client.watch(FEED)
        wait_until(lambda: len(asked) == 1, what="it has made one request in vain")
        del client._connection.socket.handlers["/petiole"]["disconnect"]
        client.cut()
        assert watching.wait(timeout=10)["state"] == "succeeded"
    finally:
        client.close()
    assert len(asked) == 2


def test_a_client_that_is_closed_while_it_connects_again_does_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnecting, "FIRST_DELAY", 0.05)
    monkeypatch.setattr(reconnecting, "LONGEST_DELAY", 0.1)
    came: list[str] = []
    turned_away: list[str] = []
    is_open = threading.Event()
    is_open.set()
    server = socketio.Server(async_mode="threading")

    @server.on("connect", namespace="/petiole")
    def connect(_sid: str, _environ: dict[str, Any], auth: dict[str, str]) -> bool:
        (came if is_open.is_set() else turned_away).append(auth["token"])
        return is_open.is_set()

    http = make_server("127.0.0.1", 0, socketio.WSGIApp(server), threaded=True)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    clients = {name: TaskClient(f"http://127.0.0.1:{http.server_port}") for name in ("closed", "other")}
    try:
        for name, client in clients.items():
            client.connect(auth={"token": name})
        is_open.clear()
        for client in clients.values():
            client.cut()
        wait_until(lambda: set(turned_away) == set(clients), what="both try to reconnect")
        clients["closed"].close()
        came.clear()
        is_open.set()
        # The other client's reconnects are the clock: each takes as long as one of the closed client's would.
        for times in range(1, 4):
            wait_until(lambda times=times: came.count("other") == times, what="the other is back")  # type: ignore[misc]
            wait_until(lambda: clients["other"].connected, what="the other has been told")
            clients["other"].cut()
        assert "closed" not in came
    finally:
        for client in clients.values():
            client.close()
        http.shutdown()
        thread.join(5)


@pytest.fixture
def stubborn(request: pytest.FixtureRequest) -> Iterator[tuple[str, list[Any], set[Any]]]:
    """A server that fails three times, and allows 100 watches at once; its address, its refusals, the watched feeds."""
    refused: list[Any] = []
    watched: set[Any] = set()
    server = socketio.Server(async_mode="threading")

    @server.on("watch", namespace="/petiole")
    def watch(_sid: str, message: Any) -> dict[str, Any]:
        if len(refused) < 3:
            refused.append(message)
            return {"error": {"status": request.param, "title": "A trouble of the server's own"}}
        feed = message["feed"]
        watched.add(feed)
        if len(watched) > 100:
            return {"error": {"status": 409, "title": "Too many"}}
        cursor = f"0000000a.1.0.{ZERO_CHAIN}"
        document = {"state": "succeeded"}
        return {"feed": feed, "document": document, "events": [], "cursor": cursor, "recovered": True, "more": False}

    @server.on("unwatch", namespace="/petiole")
    def unwatch(_sid: str, message: Any) -> dict[str, Any]:
        watched.discard(message["feed"])
        return {}

    http = make_server("127.0.0.1", 0, socketio.WSGIApp(server), threaded=True)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}", refused, watched
    http.shutdown()
    thread.join(5)


@pytest.mark.parametrize(
    ("stubborn", "feeds"), [(500, 120), (502, 4), (503, 4), (504, 4), (507, 4), (408, 4)], indirect=["stubborn"]
)
def test_a_trouble_of_the_servers_own_is_asked_about_again_and_what_has_ended_is_let_go(
    stubborn: tuple[str, list[Any], set[Any]], feeds: int
) -> None:
    url, refused, watched = stubborn
    client = TaskClient(url)
    try:
        for number in range(feeds):
            assert client.watch(f"task:{number}").wait(timeout=15)["state"] == "succeeded"
        assert len(refused) == 3
        wait_until(lambda: not watched, what="no ended feed is watched")
    finally:
        client.close()


@pytest.mark.parametrize("stubborn", [400, 403, 404, 409, 410, 422], indirect=True)
def test_a_refusal_of_what_was_asked_is_final(stubborn: tuple[str, list[Any], set[Any]]) -> None:
    client = TaskClient(stubborn[0])
    try:
        with pytest.raises(Refused):
            client.watch("task:1").wait(timeout=15)
    finally:
        client.close()


def test_a_start_at_a_server_that_is_away_says_what_to_do() -> None:
    client = TaskClient(f"http://127.0.0.1:{free_port()}")
    try:
        with pytest.raises(PetioleError, match=r"The server didn't answer \(.*\)\. Try again\."):
            client.start("/start/count", {})
    finally:
        client.close()

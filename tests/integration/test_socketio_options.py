"""Options of Flask-SocketIO, and its test client: every event arrives, or Petiole refuses the option at setup."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import engineio as python_engineio
import flask.json
import pytest
import socketio as python_socketio
from flask_socketio import SocketIO

from petiole import Petiole
from petiole.errors import SetupError
from petiole.protocol.events import Draft, task_feed
from tests.support.nearby import make_app, served
from tests.support.waiting import wait_until

PERSON = {"X-Person": "ann"}


class Spaced:
    """An application's own JSON module, with another output format."""

    @staticmethod
    def dumps(value: Any, **_options: Any) -> str:
        return json.dumps(value, indent=1, ensure_ascii=False)

    @staticmethod
    def loads(text: str | bytes, **_options: Any) -> Any:
        return json.loads(text)


class Packed(python_socketio.packet.Packet):
    def encode(self) -> bytes:
        return str(self._to_dict()).encode()


@pytest.fixture
def own_json() -> Iterator[None]:
    """Socket.IO's option `json` is global to the process: restore it."""
    kept = python_socketio.packet.Packet.json, python_engineio.packet.Packet.json
    yield
    python_socketio.packet.Packet.json, python_engineio.packet.Packet.json = kept


@pytest.mark.usefixtures("own_json")
@pytest.mark.parametrize(
    "options",
    [{"always_connect": True}, {"async_handlers": False}, {"json": flask.json}, {"json": Spaced},
     {"engineio_logger": True, "logger": True}, {"namespaces": "*"}, {"monitor_clients": False}, {"path": "/sockets"},
     {"allow_upgrades": False}, {"http_compression": False}, {"cookie": "io"}, {"manage_session": False}],
    ids=",".join,
)  # fmt: skip
@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_with_an_option_of_socketio_every_event_arrives(
    redis_url: str, options: dict[str, Any], transport: str
) -> None:
    if options.get("allow_upgrades") is False and transport == "websocket":
        transport = "polling"
    socketio = SocketIO(async_mode="threading", **options)
    with served(make_app(redis_url, Petiole(), socketio=socketio)) as nearby:
        feed = nearby.open()
        path = options.get("path", "/socket.io")
        client = nearby.client(headers=PERSON, transports=[transport], path=path)
        view = client.watch(feed)
        view.wait_until(lambda document: document.get("state") == "queued", timeout=10)
        seen: list[str] = []
        again = nearby.client(headers=PERSON, transports=[transport], path=path)
        again.watch(feed, on_event=lambda event: seen.append(event.kind))
        nearby.say(feed, "hello")
        wait_until(lambda: "log" in seen, what="the line has arrived", timeout=10)
        assert client.call("cancel", {"feed": feed})["status"] == 202
        assert view.wait(timeout=10)["state"] == "cancelled"


@pytest.mark.parametrize("order", ["Petiole first", "Socket.IO first"])
def test_a_serializer_that_no_client_of_petiole_reads_is_refused_at_set_up(redis_url: str, order: str) -> None:
    socketio = SocketIO(async_mode="threading", serializer=Packed)
    if order == "Socket.IO first":
        socketio.init_app(flask.Flask("own"))
    with pytest.raises(SetupError, match="serializer is Packed here"):
        make_app(redis_url, Petiole(), socketio=socketio)


class TestClient:
    """Flask-SocketIO's test client: an application's own tests see the same as a page."""

    @pytest.fixture
    def site(self, redis_url: str) -> Iterator[tuple[flask.Flask, Petiole, SocketIO]]:
        petiole, socketio = Petiole(), SocketIO(async_mode="threading")
        app = make_app(redis_url, petiole, socketio=socketio, TESTING=True)
        yield app, petiole, socketio
        app.extensions["petiole"].relay.close()

    def open(self, app: flask.Flask) -> str:
        feed = task_feed(str(uuid.uuid4()))
        app.extensions["petiole"].tracking.journal.open(
            feed, owner="user:ann", draft=Draft("state", {"state": "queued"})
        )
        return feed

    def test_it_gets_every_event_of_what_it_watches(self, site: tuple[flask.Flask, Petiole, SocketIO]) -> None:
        app, _, socketio = site
        journal = app.extensions["petiole"].tracking.journal
        pages = [socketio.test_client(app, namespace="/petiole", headers=PERSON) for _ in range(2)]
        feed = self.open(app)
        for page in pages:
            reading = page.emit("watch", {"feed": feed}, namespace="/petiole", callback=True)
            assert reading["document"]["state"] == "queued"
        for number in range(3):
            journal.append(feed, Draft("log", data={"level": "info", "message": f"line {number}"}))
        for page in pages:
            seen: list[Any] = []

            def all_came(page: Any = page, seen: list[Any] = seen) -> bool:
                seen.extend(page.get_received("/petiole"))
                return len(seen) >= 3

            wait_until(all_came, what="all lines have arrived", timeout=10)
            assert [each["name"] for each in seen] == ["event"] * 3
            assert [each["args"][0]["data"]["message"] for each in seen] == ["line 0", "line 1", "line 2"]

    def test_it_is_refused_what_is_not_its_own_and_hears_nothing_of_it(
        self, site: tuple[flask.Flask, Petiole, SocketIO]
    ) -> None:
        app, _, socketio = site
        mallory = socketio.test_client(app, namespace="/petiole", headers={"X-Person": "mallory"})
        answer = mallory.emit("watch", {"feed": self.open(app)}, namespace="/petiole", callback=True)
        assert answer["error"]["status"] == 404

    def test_it_is_sent_away_as_a_page_is(self, site: tuple[flask.Flask, Petiole, SocketIO]) -> None:
        app, petiole, socketio = site
        page = socketio.test_client(app, namespace="/petiole", headers=PERSON)
        with app.app_context():
            petiole.depart()
        wait_until(lambda: not page.is_connected("/petiole"), what="it was disconnected", timeout=10)
        page.connected["/petiole"] = True  # events from before that are read
        assert [each["name"] for each in page.get_received("/petiole")] == ["reconnect"]

"""Unknown versions of python-engineio and python-socketio: a protection is off, and every socket works."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import websocket
from flask_socketio import Namespace, SocketIO

from petiole import Petiole
from petiole.web.engineio.compat import KNOWN
from petiole.web.engineio.guard import Guard
from petiole.web.socket import namespace as petiole_socket
from tests.support.nearby import Nearby, make_app, served

# The expected message, by the missing attribute.
MISSING = {
    "packet_class": "against malformed packets",
    "_binary_packet": "against hostile connections",
    "eio.handlers": "against hostile connections",
    "eio.sockets": "against hostile connections",
    "eio.max_http_buffer_size": "against hostile connections",
    "manager.eio_sid_from_sid": "against hostile connections",
    "manager.get_namespaces": "against hostile connections",
    "eio._async": "against large frames and silent sockets",
    "socket.handle_post_request": "against malformed long polling",
    "socket.schedule_ping": "against a thread for each socket's pings",
    "socket.last_ping": "against a thread for each socket's pings",
}
# Distinguishes the server's sockets from other objects.
SOCKET = ("eio.sockets", "socket")


class Without:
    """Replaces `thing` by a version without one attribute, named by a dotted path."""

    def __init__(self, thing: Any, path: str, at: str = "") -> None:
        self.__dict__.update(_thing=thing, _path=path, _at=at)

    def __getattr__(self, name: str) -> Any:
        path = f"{self._at}{name}"
        if path == self._path:
            raise AttributeError(f"there is no {name} in this version")
        found = getattr(self._thing, name)
        if path == SOCKET[0] and self._path.startswith(SOCKET[1]):
            return Sockets(found, self._path)
        if self._path.startswith(f"{path}.") or (path == "eio" and self._path.startswith(SOCKET[1])):
            return Without(found, self._path, f"{path}.")
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._thing, name, value)


class Sockets(dict):  # type: ignore[type-arg]
    """The server's table of sockets, each without an attribute."""

    def __init__(self, sockets: dict[str, Any], path: str) -> None:
        super().__init__({sid: Without(socket, path, "socket.") for sid, socket in sockets.items()})
        self._sockets = sockets

    def pop(self, sid: str, *default: Any) -> Any:
        return self._sockets.pop(sid, *default)


class Echo(Namespace):  # type: ignore[misc]
    def on_echo(self, value: object) -> object:
        return value


@contextmanager
def lacking(path: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nearby]:
    monkeypatch.setattr(petiole_socket, "Guard", lambda server, **options: Guard(Without(server, path), **options))
    socketio = SocketIO(async_mode="threading", ping_interval=1, ping_timeout=3)
    app = make_app(redis_url, Petiole(), socketio=socketio)
    socketio.on_namespace(Echo("/own"))
    with served(app) as nearby:
        yield nearby


@pytest.mark.parametrize("path", MISSING)
def test_without_an_internal_its_protection_is_off_and_sockets_work(
    path: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="petiole")
    with lacking(path, redis_url, monkeypatch) as nearby:
        sockets: list[websocket.WebSocket] = []
        for _ in range(2):
            own = websocket.create_connection(
                f"{nearby.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket",
                timeout=5,
                suppress_origin=True,
            )
            sockets.append(own)
            assert own.recv().startswith("0")
            own.send("40/own,")
            assert own.recv().startswith("40/own,")
            own.send('42/own,7["echo","hello"]')
            assert own.recv() == '43/own,7["hello"]'
        feed = nearby.open()
        view = nearby.client(headers={"X-Person": "ann"}).watch(feed)
        view.wait_until(lambda document: document.get("state") == "queued", timeout=5)
        if path.startswith("socket.") or path == "eio._async":
            # The guard sends pings: without it Engine.IO must send them again.
            assert own.recv() == "2"
            own.send("3")
        nearby.say(feed, "hello")
        nearby.end(feed)
        assert view.wait(timeout=5)["state"] == "failed"
        for own in sockets:
            own.close(timeout=0)
    said = [record.getMessage() for record in caplog.records if "is off" in record.getMessage()]
    assert len(said) == 1, said
    assert MISSING[path] in said[0]
    assert f"python-socketio {KNOWN['python-socketio'][0]}" in said[0]
    assert not [record for record in caplog.records if record.exc_info], caplog.text


def test_where_nobody_tells_the_namespace_of_its_server_the_first_connection_does(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Guard] = []

    def guard(server: Any, **options: Any) -> Guard:
        made.append(Guard(server, **options))
        return made[-1]

    monkeypatch.setattr(petiole_socket, "Guard", guard)
    monkeypatch.delattr(petiole_socket.PetioleNamespace, "_set_server")
    with served(make_app(redis_url, Petiole())) as nearby:
        assert made == []
        view = nearby.client(headers={"X-Person": "ann"}).watch(nearby.open())
        view.wait_until(lambda document: document.get("state") == "queued", timeout=5)
        assert len(made) == 1


def test_with_all_internals_nothing_is_off(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with lacking("nothing", redis_url, monkeypatch) as nearby:
        feed = nearby.open()
        view = nearby.client(headers={"X-Person": "ann"}).watch(feed)
        view.wait_until(lambda document: document.get("state") == "queued", timeout=5)
        assert json.loads(json.dumps(view.document))["title"] == "A task"
    assert "is off" not in caplog.text

"""A pytest plugin: every server and every socket that a test of python-engineio creates has Petiole's guard.

Normally the guard sits between Engine.IO and Socket.IO; here between Engine.IO and the handlers that a test registers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import engineio
import engineio.socket
from socketio.packet import Packet

from suites.plugins.construction import after
from suites.plugins.guard import install


class Above:
    """Takes the place of Socket.IO on top of an Engine.IO server; every client has joined its only namespace."""

    packet_class = Packet

    def __init__(self, eio: Any) -> None:
        self.eio = eio
        self.manager = self
        self._binary_packet: dict[str, Any] = {}

    def sleep(self, seconds: float = 0) -> None:
        self.eio.sleep(seconds)

    def start_background_task(self, target: Callable[..., Any], *args: Any) -> Any:
        return self.eio.start_background_task(target, *args)

    def get_namespaces(self) -> list[str]:
        return ["/"]

    def get_participants(self, _namespace: str, _room: str | None) -> Iterator[tuple[str, str]]:
        return iter([(sid, sid) for sid in list(self.eio.sockets)])

    def eio_sid_from_sid(self, sid: str, _namespace: str) -> str:
        return sid


def guard_server(eio: Any) -> None:
    eio.handlers = dict.fromkeys(("connect", "message", "disconnect"), _nothing)
    install(Above(eio))


def look_after_socket(socket: Any) -> None:
    """Guard a socket that a test creates with a mock as its server; other sockets are guarded when they connect."""
    eio = socket.server
    if isinstance(eio, mock.NonCallableMock):
        eio.handlers = dict.fromkeys(("connect", "message", "disconnect"), _nothing)
        install(Above(eio)).look_after(socket)


def _nothing(*_: object) -> None:
    """Replace the handlers of a Socket.IO server until the test registers its own."""


after(engineio.Server, guard_server)
after(engineio.socket.Socket, look_after_socket)

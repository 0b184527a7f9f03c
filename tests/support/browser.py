"""A Socket.IO connection by hand: it sends and reads only on request."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

import websocket


class Browser:
    """An Engine.IO connection over WebSocket, by hand: it sends only on request."""

    def __init__(
        self, port: int, person: str | None = "ann", *, join: bool = True, headers: Mapping[str, str] | None = None
    ) -> None:
        head = dict(headers or {})
        if person is not None:
            head["X-Person"] = person
        self.socket = websocket.create_connection(
            f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket", header=head, timeout=15, suppress_origin=True
        )
        self.opened = self.receive()
        self._asked = 0
        if join:
            self.send("40/petiole,")
            self.joined = self.receive()

    def send(self, text: str | bytes) -> None:
        if isinstance(text, bytes):
            self.socket.send_binary(text)
        else:
            self.socket.send(text)

    def receive(self) -> str:
        while (text := self.socket.recv()) == "2":
            self.socket.send("3")
        return text

    def ask(self, name: str, *values: Any, namespace: str = "/petiole") -> Any:
        """Send an event and return its acknowledgement; events in between are skipped."""
        self._asked += 1
        self.send(f"42{namespace},{self._asked}" + json.dumps([name, *values]))
        while not (text := self.receive()).startswith(begins := f"43{namespace},{self._asked}["):
            assert text, "the server closed the connection"
        return json.loads(text.removeprefix(begins[:-1]))[0]

    def next(self, name: str) -> Any:
        """Wait for the next event of this name and return its payload."""
        while True:
            text = self.receive()
            assert text, f"the server closed the connection before {name}"
            if text.startswith("42/petiole,"):
                found, payload = json.loads(text.removeprefix("42/petiole,"))
                if found == name:
                    return payload

    def ends_within(self, seconds: float) -> bool:
        """Whether the server ends the TCP connection in time; pings are not answered."""
        self.socket.settimeout(seconds)
        try:
            while self.socket.sock is not None and self.socket.sock.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True

    def close(self) -> None:
        self.socket.close(timeout=0)


def reset(connection: socket.socket) -> None:
    """Close a connection as a crash does, without a closing handshake."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()

"""Engine.IO's WebSockets with bounds: messages while they arrive, and a hard end. Made for both libraries below it."""

from __future__ import annotations

import socket as sockets
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

from petiole.web.engineio.frames import Unsent, write_text
from petiole.web.engineio.packets import Malformed

# What is used of gevent-websocket beyond what Engine.IO uses.
NEEDED_OF_GEVENT: Final = ("handler.socket", "raw_read", "utf8validator")


class Watcher(Protocol):
    """Who says which frames Engine.IO can take, and is told of those that it can't."""

    wires: dict[str, Any]

    def finds(self, websocket: Any, *names: str) -> bool: ...

    def admits(self, eio_socket: Any, frame: str | bytes) -> bool: ...

    def malformed(self, eio_sid: str) -> None: ...


def checked_websocket(base: Any, guard: Watcher) -> Any:
    """Return Engine.IO's WebSocket class of this driver, with its messages bounded while they arrive, and a hard end."""

    class WebSocket(base):  # type: ignore[misc]
        def __init__(self, handler: Any, server: Any) -> None:
            super().__init__(handler, server)
            self.engine = handler.__self__
            self._limit = server.max_http_buffer_size
            self._left = self._limit
            self._connection: Any = None
            self.writes = False
            if hasattr(self, "server_args"):  # simple-websocket, which bounds by itself what it is told to
                self.server_args["max_message_size"] = self._limit

        def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
            # Compression costs memory for each connection, and a small message may hide a large one.
            environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
            websocket = environ.get("wsgi.websocket")
            # gevent-websocket, which reads whatever a frame says it has, and any number of them.
            if websocket is not None and guard.finds(websocket, *NEEDED_OF_GEVENT):
                self._connection = websocket.handler.socket
                # Not past TLS, which has something of its own to say now and then.
                self.writes = not hasattr(self._connection, "pending")
                read = websocket.raw_read
                websocket.raw_read = lambda size: self._read(read, size)
                _hasten(websocket)
            guard.wires[self.engine.sid] = self
            try:
                return super().__call__(environ, start_response)
            finally:
                guard.wires.pop(self.engine.sid, None)

        def send(self, message: str | bytes | Unsent) -> None:
            if isinstance(message, Unsent):
                self._connection.sendall(message.frame)
            else:
                super().send(message)

        def write(self, text: str) -> Unsent | None:
            return write_text(self._connection, text)

        def wait(self) -> Any:
            while True:
                self._left = self._limit
                frame = super().wait()
                if self.engine.closed:
                    return None
                if frame is None or guard.admits(self.engine, frame):
                    return frame
                guard.malformed(self.engine.sid)

        def close(self) -> None:
            try:
                with suppress(OSError):
                    super().close()
            finally:
                # Both libraries go on reading until the client closes; one that doesn't would stay for ever.
                self.cut()

        def cut(self) -> None:
            """End the connection below WebSocket, so that no thread waits for it any more."""
            connection = self._connection or getattr(getattr(self, "ws", None), "sock", None)
            if connection is not None:
                with suppress(OSError):
                    connection.shutdown(sockets.SHUT_RDWR)

        def _read(self, read: Callable[[int], bytes], size: int) -> bytes:
            self._left -= size
            if self._left < 0:
                raise Malformed("A message over the limit.")
            return read(size)

    def websocket(handler: Any, server: Any) -> Any:
        # Whose method it is says whose WebSocket this is. Who has put a function of their own there gets the library's.
        return WebSocket(handler, server) if hasattr(handler, "__self__") else base(handler, server)

    return websocket


class _Decoded:
    """Stands in for gevent-websocket's UTF-8 validator: each message is decoded as a whole anyway, which says the same."""

    def reset(self) -> None:
        """There is nothing to begin anew."""

    def validate(self, data: bytes) -> tuple[bool, bool, int, int]:
        return True, True, len(data), len(data)


def _hasten(websocket: Any) -> None:
    """Spare the process two loops in Python over every byte: a text of 1 MB held up everybody for a third of a second."""
    websocket.utf8validator = _Decoded()
    header = sys.modules[type(websocket).__module__].Header
    header.unmask_payload = unmask


def unmask(header: Any, payload: bytes) -> bytearray:
    size = len(payload)
    mask = (header.mask * (size // 4 + 1))[:size]
    return bytearray((int.from_bytes(payload, "little") ^ int.from_bytes(mask, "little")).to_bytes(size, "little"))

"""A cable between a browser and a server that a test can cut, or restrict to plain HTTP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

HEAD_LIMIT = 64 * 1024
CHUNK = 64 * 1024
REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass
class Cable:
    """Forwards every request to `target` on its own connection, so that it can decide by each request's head.

    `websockets`, `sockets`: whether upgrades, and Socket.IO as a whole, pass.
    """

    target: tuple[str, int]
    websockets: bool = True
    sockets: bool = True
    whole: bool = True
    upgraded: int = 0
    heads: list[str] = field(default_factory=list)
    _open: set[socket.socket] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        """Drop every connection, and accept none until `mend`."""
        self.whole = False
        self.drop()

    def mend(self) -> None:
        self.whole = True

    def drop(self) -> None:
        """Drop every open connection."""
        with self._lock:
            open_now, self._open = self._open, set()
        for each in open_now:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def block(self, *, websockets: bool = True, sockets: bool = True) -> None:
        """Pass or block these from now on; open connections are dropped."""
        self.websockets, self.sockets = websockets, sockets
        self.drop()

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, browser: socket.socket) -> None:
        with self._lock:
            self._open.add(browser)
        with suppress(OSError), browser:
            head, rest = _read_head(browser)
            if not head or not self.whole:
                return
            upgrade = b"upgrade: websocket" in head.lower()
            self.heads.append(head.split(b"\r\n", 1)[0].decode("latin-1"))
            is_socket = b" /socket.io/" in head
            if (upgrade and not self.websockets) or (is_socket and not self.sockets):
                browser.sendall(REFUSED)
                return
            self.upgraded += upgrade
            with socket.create_connection(self.target, timeout=10) as server:
                server.settimeout(None)
                with self._lock:
                    self._open.add(server)
                server.sendall((head if upgrade else _closing(head)) + rest)
                back = threading.Thread(target=_pour, args=(server, browser), daemon=True)
                back.start()
                _pour(browser, server)
                back.join()
                with self._lock:
                    self._open.discard(server)
        with self._lock:
            self._open.discard(browser)


@contextmanager
def cable_to(url: str) -> Iterator[Cable]:
    """A cable to the server at this address, removed at the end."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    cable = Cable((parts.hostname, parts.port))
    try:
        yield cable
    finally:
        cable.close()


def _read_head(connection: socket.socket) -> tuple[bytes, bytes]:
    read = b""
    while b"\r\n\r\n" not in read and len(read) < HEAD_LIMIT:
        chunk = connection.recv(CHUNK)
        if not chunk:
            return b"", b""
        read += chunk
    head, _, rest = read.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


def _closing(head: bytes) -> bytes:
    """Ask the server to close after its answer, so that the next request comes on another connection."""
    lines = [line for line in head.split(b"\r\n") if line and not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*lines, b"Connection: close", b"", b""])


def _pour(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(CHUNK):
            sink.sendall(chunk)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)

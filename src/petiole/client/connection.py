"""One Socket.IO connection that reconnects whenever it ends."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import requests
import socketio
from websocket import WebSocket, WebSocketException

from petiole.client.reconnecting import ANSWER_TIMEOUT, LOOK_EVERY, NAMESPACE, Reconnecting
from petiole.errors import PetioleError
from petiole.logs import logger

log = logger(__name__)


class Connection:
    """A connection to Petiole's namespace of one server. `on_connect` is called after each connect.

    `handlers`: by the message's name. `session` has the cookies and headers that are sent along.
    """

    def __init__(
        self,
        url: str,
        *,
        session: requests.Session,
        path: str,
        transports: Sequence[str],
        on_connect: Callable[[], None],
        handlers: Mapping[str, Callable[[dict[str, Any]], None]],
    ) -> None:
        self._url = url
        self._session = session
        self._path = path
        self._transports = transports
        self._when_connected = on_connect
        self._handlers = handlers
        self._closing = threading.Event()
        self._reconnecting = Reconnecting()
        # Sent with each handshake.
        self.auth: dict[str, Any] | None = None
        self._keeper: threading.Thread | None = None
        self._look = threading.Event()
        self._connecting = threading.Lock()
        self._tried = False
        self.socket = self._make_socket()

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as this side knows."""
        return bool(self.socket.connected and self.socket.eio.state == "connected")

    @property
    def closed(self) -> bool:
        return self._closing.is_set()

    def open(self) -> None:
        """Connect, and stay connected.

        Raises:
            Refused: the server refuses this token, or every connection at present.
            PetioleError: no server answers at this URL.
        """
        with self._connecting:
            self._connect()
            if self._keeper is None:
                self._keeper = threading.Thread(target=self._keep_connected, name="petiole-client", daemon=True)
                self._keeper.start()

    def cut(self) -> None:
        """Drop the connection as a network does, without a close frame; it reconnects by itself."""
        websocket = self.socket.eio.ws
        if websocket is not None:
            # Not `close`, which may close the descriptor while the reading thread waits for it: that thread then hangs.
            websocket.abort()

    def close(self) -> None:
        """End the connection for good."""
        self._closing.set()
        self._look.set()
        # Under the lock: a connection that is being made would be left open.
        with self._connecting:
            if self.socket.connected:
                websocket = self.socket.eio.ws
                if websocket is not None:
                    # Its own would wait 3 s for an answer that the reading thread may have taken.
                    websocket.close = functools.partial(_end, websocket)
                self.socket.disconnect()

    def send(self, name: str, message: dict[str, Any], *, callback: Callable[[Any], None]) -> None:
        """Send a message; without a connection it is dropped."""
        try:
            self.socket.emit(name, message, namespace=NAMESPACE, callback=callback)
        except socketio.exceptions.SocketIOError as error:
            log.info("not_sent", extra={"message_name": name, "error": str(error)})

    def call(self, name: str, message: dict[str, Any]) -> dict[str, Any]:
        """Send a message and return its acknowledgement.

        Raises:
            PetioleError: there is no connection, or no answer within 5 s.
        """
        try:
            answer: dict[str, Any] = self.socket.call(name, message, namespace=NAMESPACE, timeout=ANSWER_TIMEOUT)
        except socketio.exceptions.SocketIOError as error:
            raise PetioleError(f"The server didn't answer ({error}). Try again.") from None
        return answer

    def _make_socket(self) -> socketio.Client:
        made = socketio.Client(
            http_session=self._session,
            # Done here: socketio.Client doesn't reconnect where a connection ends while it is being made.
            reconnection=False,
            websocket_extra_options={
                # A program isn't a page: it has an origin only if its session sets one.
                "suppress_origin": True,
                # It is decoded in any case; without wsaccel this check in Python takes 0.1 s for 256 KiB.
                "skip_utf8_validation": True,
                # A session that ignores the environment's proxies does so for its socket too.
                **({} if self._session.trust_env else {"http_no_proxy": ["*"]}),
            },
        )
        own = {
            "connect": self._on_connect,
            "connect_error": self._reconnecting.on_connect_error,
            "disconnect": self._on_disconnect,
            "reconnect": self._reconnecting.on_reconnect,
        }
        for name, handler in {**own, **self._handlers}.items():
            made.on(name, handler, namespace=NAMESPACE)
        return made

    def _connect(self) -> None:
        if self.connected:
            return
        if self._tried:
            # A new one each time: the old one may hold stale state of its connection.
            self.socket = self._make_socket()
        self._tried = True
        self._reconnecting.begin()
        # The socket takes the session's cookies by itself, and none of its headers.
        usual = requests.utils.default_headers()
        headers = {name: str(value) for name, value in self._session.headers.items() if name not in usual}
        try:
            self.socket.connect(
                self._url,
                headers=headers,
                auth=self.auth,
                namespaces=[NAMESPACE],
                transports=list(self._transports),
                socketio_path=self._path,
                wait_timeout=ANSWER_TIMEOUT,
            )
        except (socketio.exceptions.ConnectionError, OSError, ValueError) as error:
            raise self._reconnecting.error_of(self._url, error) from None

    def _keep_connected(self) -> None:
        """Reconnect whenever the connection has ended, until it is closed."""
        while not self.closed:
            self._look.wait(LOOK_EVERY)
            self._look.clear()
            for pause in self._reconnecting.pauses():
                if self.closed or self.connected:
                    break
                self._closing.wait(pause)
                with self._connecting, suppress(PetioleError):
                    if not self.closed:
                        self._connect()

    def _on_connect(self) -> None:
        self._reconnecting.on_connect()
        self._when_connected()

    def _on_disconnect(self, _reason: object = None) -> None:
        self._look.set()


def _end(websocket: WebSocket) -> None:
    """End a WebSocket connection without waiting for the server's answer."""
    with suppress(OSError, WebSocketException):
        websocket.send_close()
    websocket.abort()  # type: ignore[no-untyped-call]

"""One Socket.IO connection of an event loop, which reconnects whenever it ends: the twin of `connection.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

import aiohttp
import socketio

from petiole.client.reconnecting import ANSWER_TIMEOUT, LOOK_EVERY, NAMESPACE, Reconnecting
from petiole.errors import PetioleError
from petiole.logs import logger

log = logger(__name__)


class AsyncConnection:
    """A connection to Petiole's namespace of one server. `on_connect` is called after each connect.

    `handlers`: by the message's name. All of it is called in one event loop.
    """

    def __init__(
        self,
        url: str,
        *,
        session: aiohttp.ClientSession,
        headers: Mapping[str, str],
        path: str,
        transports: Sequence[str],
        on_connect: Callable[[], None],
        handlers: Mapping[str, Callable[[dict[str, Any]], None]],
    ) -> None:
        self._url = url
        self._session = session
        self._headers = dict(headers)
        self._path = path
        self._transports = transports
        self._when_connected = on_connect
        self._handlers = handlers
        self._reconnecting = Reconnecting()
        self._connecting = asyncio.Lock()
        self._look = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._tried = False
        self.closed = False
        self.socket = self._make_socket()

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as this side knows."""
        return bool(self.socket.connected and self.socket.eio.state == "connected")

    async def open(self) -> None:
        """Connect, and stay connected.

        Raises:
            Refused: the server refuses this token, or every connection at present.
            PetioleError: no server answers at this URL.
        """
        async with self._connecting:
            await self._connect()
            if self._keeper is None:
                self._keeper = asyncio.create_task(self._keep_connected(), name="petiole-client")

    async def cut(self) -> None:
        """Drop the connection as a network does; it reconnects by itself."""
        if self.socket.eio.ws is not None:
            await self.socket.eio.ws.close()

    async def close(self) -> None:
        """End the connection for good."""
        self.closed = True
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        # Under the lock: a connection that is being made would be left open.
        async with self._connecting:
            if self.socket.connected:
                await self.socket.disconnect()

    def send(self, name: str, message: dict[str, Any], *, callback: Callable[[Any], None]) -> None:
        """Send a message; without a connection it is dropped."""
        self._begin(self._emit(name, message, callback), self._sending)

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Have a coroutine run beside its caller."""
        self._begin(coroutine, self._running)

    def _begin(self, coroutine: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
        # The loop itself doesn't keep a task from being collected.
        task = asyncio.get_running_loop().create_task(coroutine)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def call(self, name: str, message: dict[str, Any]) -> dict[str, Any]:
        """Send a message and return its acknowledgement.

        Raises:
            PetioleError: there is no connection, or no answer within 5 s.
        """
        try:
            answer: dict[str, Any] = await self.socket.call(name, message, namespace=NAMESPACE, timeout=ANSWER_TIMEOUT)
        except socketio.exceptions.SocketIOError as error:
            raise PetioleError(f"The server didn't answer ({error}). Try again.") from None
        return answer

    async def _emit(self, name: str, message: dict[str, Any], callback: Callable[[Any], None]) -> None:
        try:
            await self.socket.emit(name, message, namespace=NAMESPACE, callback=callback)
        except socketio.exceptions.SocketIOError as error:
            log.info("not_sent", extra={"message_name": name, "error": str(error)})

    def _make_socket(self) -> socketio.AsyncClient:
        # It reconnects here, as with threads; and Ctrl-C is the program's.
        made = socketio.AsyncClient(http_session=self._session, reconnection=False, handle_sigint=False)
        own = {
            "connect": self._on_connect,
            "connect_error": self._reconnecting.on_connect_error,
            "disconnect": self._on_disconnect,
            "reconnect": self._reconnecting.on_reconnect,
        }
        for name, handler in {
            **own,
            **{name: self._sent_after(handler) for name, handler in self._handlers.items()},
        }.items():
            made.on(name, handler, namespace=NAMESPACE)
        return made

    def _sent_after(self, handler: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], Any]:
        async def handle(wire: dict[str, Any]) -> None:
            handler(wire)
            # What it sends goes out before the message is acknowledged, as with threads.
            if self._sending:
                await asyncio.wait(tuple(self._sending))

        return handle

    async def _connect(self, *, auth: dict[str, Any] | None = None) -> None:
        if self.connected:
            return
        if self._tried:
            # A new one each time: the old one may hold stale state of its connection.
            self.socket = self._make_socket()
        self._tried = True
        self._reconnecting.begin()
        try:
            await self.socket.connect(
                self._url,
                headers=self._headers,
                auth=auth,
                namespaces=[NAMESPACE],
                transports=list(self._transports),
                socketio_path=self._path,
                wait_timeout=ANSWER_TIMEOUT,
            )
        except (socketio.exceptions.ConnectionError, aiohttp.ClientError, OSError, ValueError) as error:
            raise self._reconnecting.error_of(self._url, error) from None

    async def _keep_connected(self) -> None:
        """Reconnect whenever the connection has ended, until it is closed."""
        while not self.closed:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), LOOK_EVERY)
            self._look.clear()
            for pause in self._reconnecting.pauses():
                if self.closed or self.connected:
                    break
                await asyncio.sleep(pause)
                async with self._connecting:
                    with suppress(PetioleError):
                        await self._connect()

    def _on_connect(self) -> None:
        self._reconnecting.on_connect()
        self._when_connected()

    def _on_disconnect(self, _reason: object = None) -> None:
        self._look.set()

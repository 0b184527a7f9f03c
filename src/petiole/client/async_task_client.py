"""One application's tasks, followed over one connection by coroutines: the twin of `task_client.py`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin

from petiole.extras import require

require("Petiole's async client", "async", "aiohttp")

import aiohttp  # noqa: E402 (after the look at what it needs)

from petiole.client.async_connection import AsyncConnection  # noqa: E402
from petiole.client.async_view import AsyncTaskView  # noqa: E402
from petiole.client.followed import Followed, OnEvent, OnReset, feed_named  # noqa: E402
from petiole.client.refused import Refused  # noqa: E402
from petiole.client.renewal import Renewal  # noqa: E402
from petiole.client.task_client import HTTP_TIMEOUT, RENEW_AT  # noqa: E402
from petiole.client.views import Views, Waiting  # noqa: E402
from petiole.errors import PetioleError  # noqa: E402
from petiole.protocol.events import Cursor, Document, Event  # noqa: E402
from petiole.protocol.reader import Reader  # noqa: E402


class AsyncTaskClient:
    """One connection to one web application; follows many tasks. Reconnects by itself and goes on from its cursors.

    Make it within the event loop, and close it, or use it as `async with`. `session` is closed by whoever has given it, and
    `headers` are sent along. `token` is sent instead of a session cookie: a text, or a callable that returns a new one, which
    may be a coroutine function. `path` and `transports` are those of `TaskClient`.
    """

    def __init__(
        self,
        url: str,
        *,
        session: aiohttp.ClientSession | None = None,
        headers: Mapping[str, str] | None = None,
        token: Callable[[], Awaitable[str]] | Callable[[], str] | str | None = None,
        path: str = "/socket.io",
        transports: Sequence[str] = ("websocket",),
    ) -> None:
        self.url = url
        self._loop = asyncio.get_running_loop()
        self._own_session = session is None
        self.session = session or aiohttp.ClientSession()
        self._headers = dict(headers or {})
        self.renewal = Renewal(_called_in_thread(token, self._loop))
        self._timer: asyncio.TimerHandle | None = None
        self._views: Views[AsyncTaskView] = Views()
        self._connection = AsyncConnection(
            url,
            session=self.session,
            headers=self._headers,
            path=path,
            transports=transports,
            on_connect=self._views.read_all,
            handlers={
                "event": self._views.on_event,
                "reset": self._views.on_reset,
                "refused": self._views.on_refused,
            },
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def start(
        self, path: str, body: dict[str, Any], *, on_event: OnEvent = None, on_reset: OnReset = None
    ) -> AsyncTaskView:
        """Post JSON to a route that starts a task, and follow it from the cursor of the 202.

        Raises:
            Refused: the answer isn't a 202.
            PetioleError: the server didn't answer.
        """
        try:
            async with self.session.post(
                urljoin(self.url, path),
                json=body,
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=HTTP_TIMEOUT),
            ) as response:
                status, answer = response.status, await _json_of(response)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise PetioleError(f"The server didn't answer ({error}). Try again.") from None
        if status != 202 or not isinstance(answer, dict):
            problem = answer if isinstance(answer, dict) else {"detail": f"The server answered {status}."}
            raise Refused({"status": status, **problem})
        return await self.watch(
            answer["feed"], cursor=answer["cursor"], document=answer["document"], on_event=on_event, on_reset=on_reset
        )

    async def watch(
        self,
        task: str,
        *,
        cursor: str | None = None,
        document: Document | None = None,
        on_event: OnEvent = None,
        on_reset: OnReset = None,
        texts: bool = True,
    ) -> AsyncTaskView:
        """Follow a task, by its id or feed: from `cursor` with its document, or from its first fact.

        Without `texts` it reads none of them.
        """
        held = None if cursor is None else Cursor.parse(cursor)
        reader = Reader(feed_named(task), cursor=held, document=document, keep_texts=texts)
        view = AsyncTaskView(self, reader, on_event, on_reset)
        self._views.add(view)
        if self.connected:
            view.read()
        else:
            await self._connection.open()
        return view

    async def follow(self, task: str, *, timeout: float | None = None) -> AsyncIterator[Event]:
        """Yield every fact of a task, by its id or feed, and its counters as they come, until it has ended.

        Raises:
            Refused: there is no such task, or it isn't ours.
            TimeoutError: nothing came for `timeout` seconds, and the task goes on.
        """
        came = Waiting()
        view = await self.watch(task, on_event=came.take)
        async for event in view.events(came, timeout=timeout):
            yield event

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as this side knows."""
        return self._connection.connected

    @property
    def closed(self) -> bool:
        return self._connection.closed

    async def cut(self) -> None:
        """Drop the connection as a network does; it reconnects by itself."""
        await self._connection.cut()

    async def close(self) -> None:
        """Close the connection; the tasks go on."""
        if self._timer is not None:
            self._timer.cancel()
        await self._connection.close()
        if self._own_session:
            await self.session.close()

    def send(self, name: str, message: dict[str, Any], *, callback: Callable[[Any], None]) -> None:
        """Send a message; without a connection it is dropped, because every view reads anew after the reconnect."""
        self._connection.send(name, message, callback=callback)

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Have a coroutine run beside its caller."""
        self._connection.run(coroutine)

    async def call_with_token(self, name: str, message: dict[str, Any]) -> dict[str, Any]:
        """Send a message with the client's token and return its answer; repeated once with a new token after a 401.

        Raises:
            PetioleError: there is no connection, or no answer within 5 s.
        """
        token = await asyncio.to_thread(self.renewal.get)
        answer = await self._connection.call(name, message if token is None else {**message, "token": token})
        if self.renewal.renews and (answer.get("error") or {}).get("status") == 401:
            self.renewal.forget(token)
            renewed = await asyncio.to_thread(self.renewal.get)
            answer = await self._connection.call(name, {**message, "token": renewed})
        return answer

    def release(self, view: Followed) -> None:
        """Stop watching a task that has ended; its document and its receipt stay as they are."""
        if self._views.remove(view):
            self._connection.send("unwatch", {"feed": view.feed}, callback=lambda *_answer: None)

    def renew_in(self, seconds: object) -> None:
        """Watch everything with a new token before the current one expires in `seconds`."""
        if not self.renewal.renews or not isinstance(seconds, int | float):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds * RENEW_AT, self._renew, self.renewal.held)

    def _renew(self, text: str | None) -> None:
        self.renewal.forget(text)
        if self.connected:
            self._views.read_live()


def _called_in_thread(
    token: Callable[[], Awaitable[str]] | Callable[[], str] | str | None, loop: asyncio.AbstractEventLoop
) -> Callable[[], str] | str | None:
    """Return a source that a thread may ask: a coroutine function runs in the loop meanwhile."""
    if not inspect.iscoroutinefunction(token):
        return token  # type: ignore[return-value]
    return lambda: asyncio.run_coroutine_threadsafe(token(), loop).result()


async def _json_of(response: aiohttp.ClientResponse) -> Any:
    try:
        return await response.json(content_type=None)
    except ValueError:
        return None

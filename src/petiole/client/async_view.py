"""One followed task, for coroutines that wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from typing import Any, Protocol

from petiole.client.chunks import GivenText
from petiole.client.followed import Asking, Followed, OnEvent, OnReset
from petiole.client.refused import Refused
from petiole.client.views import Waiting
from petiole.logs import logger
from petiole.protocol.events import Document, Event
from petiole.protocol.reader import Reader
from petiole.protocol.states import is_terminal

log = logger(__name__)


class AsyncCalling(Asking, Protocol):
    """What a view needs of its client."""

    def run(self, coroutine: Any) -> None: ...

    async def call_with_token(self, name: str, message: dict[str, Any]) -> dict[str, Any]: ...


class AsyncTaskView(Followed):
    """One followed task. `on_event` is called with every event, in order, and `on_reset` with the cursor of every reset.

    Everything happens in the event loop in which it was made.
    """

    def __init__(self, client: AsyncCalling, reader: Reader, on_event: OnEvent, on_reset: OnReset) -> None:
        super().__init__(client, reader, on_event, on_reset, lock=nullcontext())
        self._caller = client
        self._loop = asyncio.get_running_loop()
        # Set with the next change, and replaced by another then.
        self._changed = asyncio.Event()

    async def events(self, came: Waiting, *, timeout: float | None) -> AsyncIterator[Event]:
        """Yield what has come and what comes, until the task has ended.

        Raises:
            Refused: there is no such task, or it isn't ours.
            TimeoutError: nothing came for `timeout` seconds, and the task goes on.
        """
        while True:
            if not await self._until(lambda: bool(came) or self.has_ended or self._refused is not None, timeout):
                raise self._nothing_came(timeout)
            if not came:
                self._raise_refusal()
                return
            while came:
                yield came.popleft()

    async def chunks(self, name: str = "output", *, timeout: float) -> AsyncIterator[str]:
        """Yield a text from its start, piece by piece as it comes, until the task has ended.

        Raises:
            Refused: there is no such task, or it isn't ours.
            TextVoided: what was yielded is void, because a later run of the task writes the text anew. Call this again.
            TimeoutError: nothing came for `timeout` seconds, and the task goes on.
        """
        given = GivenText(name)
        while True:
            came = await self._until(lambda: self._refused is not None or self._look(given), timeout)
            self._raise_refusal()
            if not came:
                raise self._nothing_came(timeout, f"the text {name!r}")
            if not given.fresh:
                return
            yield given.fresh

    async def wait_until(self, condition: Callable[[Document], bool], *, timeout: float) -> Document:
        """Wait until the document meets `condition`, at most `timeout` seconds, and return it.

        Raises:
            Refused: there is no such task, or it isn't ours.
            TimeoutError: it didn't.
        """
        met = await self._until(
            lambda: self._refused is not None or (not self._reader.reading and condition(self.document)), timeout
        )
        self._raise_refusal()
        if not met:
            raise self._not_met(timeout)
        return self.document

    async def wait(self, *, timeout: float) -> Document:
        """Wait until the task has ended and return its document.

        Raises:
            Refused: there is no such task, or it isn't ours.
            TimeoutError: it hasn't within `timeout` seconds.
        """
        return await self.wait_until(lambda document: is_terminal(document.get("state")), timeout=timeout)

    async def cancel(self) -> dict[str, Any]:
        """Ask the task to stop; returns the server's answer.

        Raises:
            Refused: it has finished already, or isn't ours.
        """
        answer = await self._caller.call_with_token("cancel", {"feed": self.feed})
        if "error" in answer:
            raise Refused(answer["error"])
        return answer

    async def _until(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    await self._changed.wait()
        except TimeoutError:
            return condition()
        return True

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _later(self, seconds: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_later(seconds, call)

    def _send_once_renewed(self, asking: int, message: dict[str, Any]) -> None:
        self._caller.run(self._renew_and_send(asking, message))

    async def _renew_and_send(self, asking: int, message: dict[str, Any]) -> None:
        try:
            await asyncio.to_thread(self._client.renewal.get)
        except Exception as error:
            # Whatever the application's own source of tokens raises.
            log.exception("token_not_renewed", extra={"feed": self.feed})
            self._answered(asking, None, {"error": {"status": 503, "detail": f"There is no token ({error})."}})
        else:
            self._send(asking, message)

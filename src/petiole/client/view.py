"""One followed task, for threads that wait for it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from petiole.client.chunks import GivenText
from petiole.client.followed import Asking, Followed, OnEvent, OnReset, Receipt
from petiole.client.refused import Refused
from petiole.protocol.events import Document, Event
from petiole.protocol.reader import Reader
from petiole.protocol.states import is_terminal

__all__ = ["Calling", "OnEvent", "OnReset", "Receipt", "TaskView"]


class Calling(Asking, Protocol):
    """What a view needs of its client."""

    def call_with_token(self, name: str, message: dict[str, Any]) -> dict[str, Any]: ...


class TaskView(Followed):
    """One followed task. `on_event` is called with every event, in order, and `on_reset` with the cursor of every reset."""

    def __init__(self, client: Calling, reader: Reader, on_event: OnEvent, on_reset: OnReset) -> None:
        self._changed = threading.Condition(threading.RLock())
        super().__init__(client, reader, on_event, on_reset, lock=self._changed)
        self._caller = client

    def events(self, came: deque[Event], *, timeout: float | None) -> Iterator[Event]:
        """Yield what has come and what comes, until the task has ended.

        Raises:
            Refused: there is no such task, or it isn't ours.
            TimeoutError: nothing came for `timeout` seconds, and the task goes on.
        """
        while True:
            with self._changed:
                met = self._changed.wait_for(lambda: bool(came) or self.has_ended or self._refused is not None, timeout)
                if not met:
                    raise self._nothing_came(timeout)
                if not came:
                    self._raise_refusal()
                    return
            while came:
                yield came.popleft()

    def chunks(self, name: str = "output", *, timeout: float) -> Iterator[str]:
        """Yield a text from its start, piece by piece as it comes, until the task has ended.

        Raises:
            Refused: there is no such task, or it isn't ours.
            TextVoided: what was yielded is void, because a later run of the task writes the text anew. Call this again.
            TimeoutError: nothing came for `timeout` seconds, and the task goes on.
        """
        given = GivenText(name)
        while True:
            with self._changed:
                came = self._changed.wait_for(lambda: self._refused is not None or self._look(given), timeout)
                self._raise_refusal()
            if not came:
                raise self._nothing_came(timeout, f"the text {name!r}")
            if not given.fresh:
                return
            yield given.fresh

    def wait_until(self, condition: Callable[[Document], bool], *, timeout: float) -> Document:
        """Wait until the document meets `condition`, at most `timeout` seconds, and return it.

        Raises:
            Refused: there is no such task, or it isn't ours.
            TimeoutError: it didn't.
        """
        with self._changed:
            met = self._changed.wait_for(
                lambda: self._refused is not None or (not self._reader.reading and condition(self.document)), timeout
            )
            self._raise_refusal()
            if not met:
                raise self._not_met(timeout)
            return self.document

    def wait(self, *, timeout: float) -> Document:
        """Wait until the task has ended and return its document.

        Raises:
            Refused: there is no such task, or it isn't ours.
            TimeoutError: it hasn't within `timeout` seconds.
        """
        return self.wait_until(lambda document: is_terminal(document.get("state")), timeout=timeout)

    def cancel(self) -> dict[str, Any]:
        """Ask the task to stop; returns the server's answer.

        Raises:
            Refused: it has finished already, or isn't ours.
        """
        answer = self._caller.call_with_token("cancel", {"feed": self.feed})
        if "error" in answer:
            raise Refused(answer["error"])
        return answer

    def _tell(self) -> None:
        self._changed.notify_all()

    def _later(self, seconds: float, call: Callable[[], None]) -> threading.Timer:
        timer = threading.Timer(seconds, call)
        timer.daemon = True
        timer.start()
        return timer

    def _send_once_renewed(self, asking: int, message: dict[str, Any]) -> None:
        threading.Thread(target=self._send, args=(asking, message), daemon=True).start()

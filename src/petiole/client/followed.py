"""One followed task, read by the reader's rule, whoever waits for it: a thread, or an event loop."""

from __future__ import annotations

import functools
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

from petiole.client.chunks import GivenText
from petiole.client.notebook import NotebookBar, bundle_of
from petiole.client.reconnecting import ANSWER_TIMEOUT
from petiole.client.refused import Refused
from petiole.client.renewal import Renewal
from petiole.logs import logger
from petiole.protocol.events import Cursor, Document, Event, check_feed, task_feed
from petiole.protocol.reader import Action, Read, Reader, Reading, Reset, Show
from petiole.protocol.receipts import TextReceipt, text_receipts
from petiole.protocol.states import is_terminal

log = logger(__name__)

RETRY_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 10.0
# How long it waits for an answer that takes its time: a part of a long text over a slow link.
LONGEST_ANSWER: Final = 60.0
# The 4xx statuses that are temporary.
PASSING: Final = (408, 425, 429)

OnEvent: TypeAlias = Callable[[Event], None] | None
OnReset: TypeAlias = Callable[[Cursor], None] | None


class Asking(Protocol):
    """What a followed task needs of its client."""

    renewal: Renewal

    @property
    def closed(self) -> bool: ...

    def send(self, name: str, message: dict[str, Any], *, callback: Callable[[Any], None]) -> None: ...

    def renew_in(self, seconds: object) -> None: ...

    def release(self, followed: Followed) -> None: ...


class Timer(Protocol):
    """A call that is to come."""

    def cancel(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the feed's last event counts, and what this reader has shown.

    `texts` is what it says of each text. `complete`: this reader has shown every fact, and has every text.
    """

    facts: int
    chain: str
    shown: int
    complete: bool
    texts: Mapping[str, TextReceipt] = field(default_factory=dict)


class Followed(ABC):
    """One followed task. `on_event` is called with every event, in order, and `on_reset` with the cursor of every reset.

    A subclass says how to wait. `lock` is held by whoever calls it.
    """

    def __init__(
        self,
        client: Asking,
        reader: Reader,
        on_event: OnEvent,
        on_reset: OnReset,
        *,
        lock: AbstractContextManager[Any],
    ) -> None:
        self._client = client
        self._reader = reader
        self._on_event = on_event
        self._on_reset = on_reset
        self._lock = lock
        self._asking = 0
        self._asked_at = 0.0
        # How long to wait for an answer. Over a slow link an answer that is asked for too soon again would never be in time.
        self._patience = ANSWER_TIMEOUT
        self._timer: Timer | None = None
        self._renewed = False
        self._refused: dict[str, Any] | None = None
        # Consecutive failures of the server.
        self._failures = 0
        self._released = False
        self._bars: list[NotebookBar] = []
        self.resets = 0

    @property
    def feed(self) -> str:
        return self._reader.feed

    @property
    def cursor(self) -> Cursor | None:
        return self._reader.cursor

    @property
    def document(self) -> Document:
        """The newest document that this reader knows."""
        return self._reader.document

    @property
    def has_ended(self) -> bool:
        """Whether the task has ended, and everything of it was shown."""
        return self._released

    @property
    def reading(self) -> bool:
        """Whether it waits for an answer to a read."""
        return self._reader.reading

    @property
    def refused(self) -> Refused | None:
        """Why the server refuses to show the task, if it does for good."""
        problem = self._refused
        return None if problem is None else Refused(problem)

    @property
    def receipt(self) -> Receipt | None:
        """The receipt, once the task has ended."""
        with self._lock:
            cursor = self._reader.cursor
            if cursor is None or not self._is_terminal:
                return None
            # A view without texts can't say anything of them.
            texts = text_receipts(self.document, self._reader.texts) if self._reader.keep_texts else {}
            complete = self._reader.complete and self._reader.shown == cursor.facts
            complete = complete and all(text.complete for text in texts.values())
            return Receipt(cursor.facts, cursor.chain, self._reader.shown, complete, texts)

    @property
    def texts(self) -> dict[str, str]:
        """The task's texts by their names, as far as this reader has them."""
        with self._lock:
            return self._reader.texts

    def text(self, name: str = "output") -> str:
        """Return a text as far as this reader has it; empty if there is none."""
        with self._lock:
            return self._reader.text(name)

    def offer(self, event: Event) -> None:
        """Take an event from the socket."""
        with self._lock:
            self._act(self._reader.offer(event))

    def take(self, reading: Reading) -> None:
        """Take a reading that the relay sent unasked."""
        with self._lock:
            # The answer to a read that is still pending is older than this.
            self._asking += 1
            self._act(self._reader.reset(reading))

    def refuse(self, problem: dict[str, Any], *, used: str | None = None) -> None:
        """Take a refusal: of a read, or of a watch that is no longer allowed; a temporary one is retried.

        `used`: the token that was refused, where that is known.
        """
        with self._lock:
            if problem.get("status") == 401 and self._client.renewal.renews and not self._renewed:
                # Once: a refusal of the new token is final.
                self._renewed = True
                self._client.renewal.forget(self._client.renewal.held if used is None else used)
                self.read()
            elif _passes(problem.get("status")):
                asked = float(problem.get("retry_after") or 0) if problem["status"] == 429 else 0.0
                pause = min(RETRY_PAUSE * 2 ** min(self._failures, 10), LONGEST_PAUSE)
                self._failures += 1
                self._timer = self._later(max(pause * random.uniform(0.5, 1.0), asked), self.read)
            else:
                self._refused = problem
                self._note_change()

    def read(self) -> None:
        """Ask for what follows this reader's cursor: at the start, and after every reconnect."""
        with self._lock:
            self._act(self._reader.start())

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Show the task as it is, in a notebook."""
        return bundle_of(self.document, refused=None if self.refused is None else str(self.refused))

    def _ipython_display_(self) -> None:
        """Show the task in a notebook, and move its bar until it has ended."""
        bar = NotebookBar(self._repr_mimebundle_, self._later)
        with self._lock:
            self._bars.append(bar)
            bar.change()

    def _note_change(self) -> None:
        self._tell()
        for bar in self._bars:
            bar.change()

    @abstractmethod
    def _tell(self) -> None:
        """Tell whoever waits that something has changed; the lock is held."""

    @abstractmethod
    def _later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Have `call` be called in so many seconds."""

    @abstractmethod
    def _send_once_renewed(self, asking: int, message: dict[str, Any]) -> None:
        """Call `_send` where fetching a token keeps nobody waiting."""

    def _raise_refusal(self) -> None:
        if self._refused is not None:
            raise Refused(self._refused)

    def _nothing_came(self, timeout: float | None, what: str = "") -> TimeoutError:
        return TimeoutError(f"Nothing of {what or self.feed} came for {timeout} s. Look into the worker's log.")

    def _not_met(self, timeout: float) -> TimeoutError:
        state = self.document.get("state")
        return TimeoutError(f"{self.feed} is {state} after {timeout} s. Look into the worker's log.")

    def _look(self, given: GivenText) -> bool:
        cursor = self._reader.cursor
        ended = self._is_terminal and not self._reader.reading
        return given.look(self._reader.text(given.name), run=cursor.texts.run if cursor else 0, ended=ended)

    @property
    def _is_terminal(self) -> bool:
        return is_terminal(self.document.get("state"))

    def _ask(self, cursor: Cursor | None) -> None:
        self._asking += 1
        asking = self._asking
        message: dict[str, Any] = {"feed": self.feed}
        if not self._reader.keep_texts:
            message["texts"] = False
        if cursor is not None:
            message["cursor"] = str(cursor.place)
            if cursor.texts:
                message["texts"] = str(cursor.texts)
        if self._client.renewal.ready:
            self._send(asking, message)
        else:
            self._send_once_renewed(asking, message)
        # The answer may never come: its handler failed, or the connection is lost and that isn't noticed yet.
        self._asked_at = time.monotonic()
        self._ask_again(asking, self._patience)

    def _ask_again(self, asking: int, pause: float) -> None:
        """Read again after `pause` seconds, unless a newer read was sent or answered by then."""

        def ask() -> None:
            with self._lock:
                if asking == self._asking and self._reader.reading and not self._client.closed:
                    self._patience = min(2 * self._patience, LONGEST_ANSWER)
                    self._act(self._reader.start())

        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._later(pause, ask)

    def _send(self, asking: int, message: dict[str, Any]) -> None:
        try:
            token = self._client.renewal.get()
        except Exception as error:
            log.exception("token_not_renewed", extra={"feed": self.feed})
            self._answered(asking, None, {"error": {"status": 503, "detail": f"There is no token ({error})."}})
            return
        sent = message if token is None else {**message, "token": token}
        self._client.send("watch", sent, callback=functools.partial(self._answered, asking, token))

    def _answered(self, asking: int, token: str | None, answer: Any = None) -> None:
        with self._lock:
            if asking != self._asking:
                return
            error = answer.get("error") if isinstance(answer, dict) else {"status": 502, "detail": "No answer."}
            if self._timer is not None:
                self._timer.cancel()
            if error is None:
                self._renewed, self._failures = False, 0
                self._patience = min(max(2 * (time.monotonic() - self._asked_at), ANSWER_TIMEOUT), LONGEST_ANSWER)
                self._client.renew_in(answer.get("token_expires_in"))
                self._act(self._reader.answer(Reading.from_wire(answer)))
            else:
                self.refuse(error, used=token)

    def _act(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Show(event):
                    if self._on_event is not None:
                        self._on_event(event)
                case Reset(cursor):
                    self.resets += 1
                    if self._on_reset is not None:
                        self._on_reset(cursor)
                case Read(cursor):
                    self._ask(cursor)
        if self._is_terminal and not self._reader.reading and not self._released:
            # It has ended, and everything of it was shown: the server counts how much one connection watches.
            self._released = True
            self._client.release(self)
        self._note_change()


def feed_named(task: str) -> str:
    """Return the feed of a task that is named by its id, or by its feed.

    Raises:
        InvalidName: it can't be either.
    """
    return check_feed(task) if ":" in task else task_feed(task)


def _passes(status: object) -> bool:
    """Say whether a refusal is to be asked about again: the server's own troubles are, as the protocol has it."""
    return isinstance(status, int) and (status >= 500 or status in PASSING)

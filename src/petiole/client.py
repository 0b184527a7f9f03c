"""The Python client: follows a task over Socket.IO by the reader's rule, as a browser does; for scripts and tests."""

from __future__ import annotations

import functools
import logging
import random
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import urljoin

import requests
import socketio

from petiole.errors import PetioleError
from petiole.events import Cursor, Document, Event, check_feed
from petiole.feed import Action, Read, Reader, Reading, Reset, Show
from petiole.state import is_terminal

log = logging.getLogger(__name__)

NAMESPACE: Final = "/petiole"
ANSWER_TIMEOUT: Final = 5.0
RETRY_PAUSE: Final = 0.5
FIRST_DELAY: Final = 0.2
LONGEST_DELAY: Final = 2.0
# How often the connection is looked at: where it ends while it is being made, nobody says so.
LOOK_EVERY: Final = 1.0
LONGEST_ASKED: Final = 60.0
# At which part of its time a token is renewed.
RENEW_AT: Final = 0.8

OnEvent: TypeAlias = Callable[[Event], None] | None
OnReset: TypeAlias = Callable[[Cursor], None] | None


class Refused(PetioleError):
    """The server answered with a problem object, which is in `problem`."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(str(problem.get("detail") or problem.get("title") or "The server refused."))
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the feed's last event says there was, and what this reader has shown of it."""

    facts: int
    chain: str
    shown: int
    complete: bool


class Renewal:
    """The token that a client sends. `source` returns a new one; it may ask a server, so no socket's thread calls it."""

    def __init__(self, source: Callable[[], str] | str | None) -> None:
        self._source = source if callable(source) else None
        self._text = None if callable(source) else source
        self._lock = threading.Lock()
        self._asking = threading.Lock()

    @property
    def renews(self) -> bool:
        return self._source is not None

    @property
    def held(self) -> str | None:
        return self._text

    @property
    def ready(self) -> bool:
        """Whether `get` returns at once."""
        return self._source is None or self._text is not None

    def get(self) -> str | None:
        """Return the token, a new one if there is none; whatever the source raises."""
        with self._asking:
            if self._text is None and self._source is not None:
                found = self._source()
                with self._lock:
                    self._text = found
            return self._text

    def forget(self, text: str | None) -> None:
        """Have a new one asked for, unless that has happened since `text`."""
        with self._lock:
            if self._source is not None and self._text == text:
                self._text = None


class TaskView:
    """One followed task. `on_event` is called with every event, in order, and `on_reset` with the cursor of every reset."""

    def __init__(
        self,
        client: TaskClient,
        reader: Reader,
        on_event: OnEvent,
        on_reset: OnReset,
    ) -> None:
        self._client = client
        self._reader = reader
        self._on_event = on_event
        self._on_reset = on_reset
        self._changed = threading.Condition(threading.RLock())
        self._asking = 0
        self._timer: threading.Timer | None = None
        self._renewed = False
        self._refused: dict[str, Any] | None = None
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
    def receipt(self) -> Receipt | None:
        """The receipt, once the task has ended."""
        cursor = self._reader.cursor
        if cursor is None or not is_terminal(self.document.get("state")):
            return None
        complete = self._reader.complete and self._reader.shown == cursor.facts
        return Receipt(cursor.facts, cursor.chain, self._reader.shown, complete)

    def wait_until(self, condition: Callable[[Document], bool], *, timeout: float) -> Document:
        """Wait until the document meets `condition`, at most `timeout` seconds, and return it.

        Raises:
            Refused: the task isn't there or isn't ours.
            TimeoutError: it didn't.
        """
        with self._changed:
            met = self._changed.wait_for(
                lambda: self._refused is not None or (not self._reader.reading and condition(self.document)), timeout
            )
            if self._refused is not None:
                raise Refused(self._refused)
            if not met:
                state = self.document.get("state")
                raise TimeoutError(f"{self.feed} is {state} after {timeout} s. Look into its worker's log.")
            return self.document

    def wait(self, *, timeout: float) -> Document:
        """Wait until the task has ended and return its document.

        Raises:
            Refused: the task isn't there or isn't ours.
            TimeoutError: it hasn't within `timeout` seconds.
        """
        return self.wait_until(lambda document: is_terminal(document.get("state")), timeout=timeout)

    def cancel(self) -> dict[str, Any]:
        """Ask the task to stop; returns the server's answer.

        Raises:
            Refused: it has finished already, or isn't ours.
        """
        answer = self._client.call_with_token("cancel", {"feed": self.feed})
        if "error" in answer:
            raise Refused(answer["error"])
        return answer

    def offer(self, event: Event) -> None:
        """Take an event from the socket."""
        with self._changed:
            self._act(self._reader.offer(event))

    def take(self, reading: Reading) -> None:
        """Take a reading that the relay sent by itself."""
        with self._changed:
            # The answer to a read that is still under way is older than this.
            self._asking += 1
            self._act(self._reader.answer(reading))

    def refuse(self, problem: dict[str, Any], *, used: str | None = None) -> None:
        """Take a refusal: of a read, or of a watch that is allowed no more; one that passes is asked about again.

        `used`: the token that was refused, where that is known.
        """
        with self._changed:
            if problem.get("status") == 401 and self._client.renewal.renews and not self._renewed:
                # Once: a new token that is refused as well is an answer.
                self._renewed = True
                self._client.renewal.forget(self._client.renewal.held if used is None else used)
                self.read()
            elif problem.get("status") in (429, 502, 503):
                asked = float(problem.get("retry_after") or 0) if problem["status"] == 429 else 0.0
                self._timer = threading.Timer(max(RETRY_PAUSE, asked), self.read)
                self._timer.daemon = True
                self._timer.start()
            else:
                self._refused = problem
                self._changed.notify_all()

    def read(self) -> None:
        """Ask for what follows this reader's cursor: at the start, and after every reconnect."""
        with self._changed:
            self._act(self._reader.start())

    def _ask(self, cursor: Cursor | None) -> None:
        self._asking += 1
        asking = self._asking
        message = {"feed": self.feed} | ({} if cursor is None else {"cursor": str(cursor)})
        if self._client.renewal.ready:
            self._send(asking, message)
        else:
            threading.Thread(target=self._send, args=(asking, message), daemon=True).start()
        # An answer may never come: its handler failed, or the connection is lost and nobody has noticed yet.
        self._ask_again(asking, ANSWER_TIMEOUT)

    def _ask_again(self, asking: int, pause: float) -> None:
        """Read once more after `pause` seconds, unless something else has been asked or answered by then."""

        def ask() -> None:
            with self._changed:
                if asking == self._asking and self._reader.reading and not self._client.closed:
                    self._act(self._reader.start())

        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(pause, ask)
        self._timer.daemon = True
        self._timer.start()

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
        with self._changed:
            if asking != self._asking:
                return
            error = answer.get("error") if isinstance(answer, dict) else {"status": 502, "detail": "No answer."}
            if self._timer is not None:
                self._timer.cancel()
            if error is None:
                self._renewed = False
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
        self._changed.notify_all()


class TaskClient:
    """One connection to one web application; follows many tasks. Reconnects by itself and goes on from its cursors.

    `path` is where Socket.IO is on that server. `token` is sent instead of a session's cookie: a text, or a callable that
    returns a new one, before the present one ends and after a 401. `transports`: `["polling"]` where a proxy lets no WebSocket
    through.
    """

    def __init__(
        self,
        url: str,
        *,
        session: requests.Session | None = None,
        token: Callable[[], str] | str | None = None,
        path: str = "/socket.io",
        transports: Sequence[str] = ("websocket",),
    ) -> None:
        self.url = url
        self.path = path
        self.transports = transports
        self.renewal = Renewal(token)
        self._timer: threading.Timer | None = None
        self.session = session or requests.Session()
        self._closing = threading.Event()
        self._views: dict[str, TaskView] = {}
        self._turned_away: dict[str, Any] | None = None
        self._auth: dict[str, Any] | None = None
        # How long the next connection waits to be made, and the later ones at most.
        self._delays = FIRST_DELAY, LONGEST_DELAY
        self._keeper: threading.Thread | None = None
        self._look = threading.Event()
        self._connecting = threading.Lock()
        self._tried = False
        self._socket = self._make_socket()

    def _make_socket(self) -> socketio.Client:
        made = socketio.Client(
            http_session=self.session,
            # This client does that itself: a connection that ends while it is being made is never made again.
            reconnection=False,
            websocket_extra_options={
                # A program is no page: it has an origin only if its session says so.
                "suppress_origin": True,
                # A session that leaves the environment's proxies alone means it for its socket, too.
                **({} if self.session.trust_env else {"http_no_proxy": ["*"]}),
            },
        )
        for name, handler in (
            ("connect", self._on_connect),
            ("connect_error", self._on_connect_error),
            ("disconnect", self._on_disconnect),
            ("event", self._on_event),
            ("reset", self._on_reset),
            ("refused", self._on_refused),
            ("reconnect", self._on_reconnect),
        ):
            made.on(name, handler, namespace=NAMESPACE)
        return made

    def start(self, path: str, body: dict[str, Any], *, on_event: OnEvent = None, on_reset: OnReset = None) -> TaskView:
        """Post JSON to a route that starts a task, and follow it from the cursor of the 202.

        Raises:
            Refused: the answer isn't a 202.
        """
        response = self.session.post(urljoin(self.url, path), json=body, timeout=10)
        if response.status_code != 202:
            raise Refused(_problem(response))
        accepted = response.json()
        return self.watch(
            accepted["feed"],
            cursor=accepted["cursor"],
            document=accepted["document"],
            on_event=on_event,
            on_reset=on_reset,
        )

    def watch(
        self,
        feed: str,
        *,
        cursor: str | None = None,
        document: Document | None = None,
        on_event: OnEvent = None,
        on_reset: OnReset = None,
    ) -> TaskView:
        """Follow a feed: from `cursor` with its document, or from its first fact."""
        held = None if cursor is None else Cursor.parse(cursor)
        view = self.make_view(Reader(check_feed(feed), cursor=held, document=document), on_event, on_reset)
        self._views[feed] = view
        if self.connected:
            view.read()
        else:
            self.connect(auth=self._auth)
        return view

    def make_view(self, reader: Reader, on_event: OnEvent, on_reset: OnReset) -> TaskView:
        """Return the view of a feed; a subclass may give it another reader."""
        return TaskView(self, reader, on_event, on_reset)

    def connect(self, *, auth: dict[str, Any] | None = None) -> None:
        """Open the socket; every view reads once it is connected. `auth`: what its handshake says, such as `{"token": …}`.

        Raises:
            Refused: the server lets nobody in with this token, or nobody at all just now.
            PetioleError: nobody answers at this address.
        """
        with self._connecting:
            self._auth = auth
            self._connect()
            if self._keeper is None:
                self._keeper = threading.Thread(target=self._keep_connected, name="petiole-client", daemon=True)
                self._keeper.start()

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as this side knows."""
        return bool(self._socket.connected and self._socket.eio.state == "connected")

    def _connect(self) -> None:
        if self.connected:
            return
        if self._tried:
            # A new one each time: what the old one still believes of its connection is nobody's.
            self._socket = self._make_socket()
        self._tried = True
        self._turned_away = None
        # The socket takes the session's cookies by itself, and none of its headers.
        usual = requests.utils.default_headers()
        headers = {name: str(value) for name, value in self.session.headers.items() if name not in usual}
        try:
            self._socket.connect(
                self.url,
                headers=headers,
                auth=self._auth,
                namespaces=[NAMESPACE],
                transports=list(self.transports),
                socketio_path=self.path,
                wait_timeout=ANSWER_TIMEOUT,
            )
        except (socketio.exceptions.ConnectionError, OSError, ValueError) as error:
            if self._turned_away is not None:
                raise Refused(self._turned_away) from None
            raise PetioleError(
                f"No Socket.IO server answers at {self.url} ({error}). Start it, or mend the address."
            ) from None

    def _keep_connected(self) -> None:
        """Make the connection again whenever it has ended, until the client is closed."""
        while not self.closed:
            self._look.wait(LOOK_EVERY)
            self._look.clear()
            delay, longest = self._delays
            while not self.closed and not self.connected:
                # Spread, so that a server's many clients don't come back in the same moment.
                self._closing.wait(delay * random.uniform(0.5, 1.5))
                delay = min(2 * delay, longest)
                with self._connecting, suppress(PetioleError):
                    if not self.closed:
                        self._connect()

    def cut(self) -> None:
        """Drop the connection as a network does, without a word; it is made again by itself."""
        websocket = self._socket.eio.ws
        if websocket is not None:
            websocket.close()

    @property
    def closed(self) -> bool:
        return self._closing.is_set()

    def close(self) -> None:
        """Leave; the tasks go on."""
        self._closing.set()
        self._look.set()
        if self._timer is not None:
            self._timer.cancel()
        # Not while a connection is being made: that would be left open.
        with self._connecting:
            if self._socket.connected:
                self._socket.disconnect()

    def send(self, name: str, message: dict[str, Any], *, callback: Callable[[Any], None]) -> None:
        """Send a message; without a connection it is dropped, because every view reads anew after the reconnect."""
        try:
            self._socket.emit(name, message, namespace=NAMESPACE, callback=callback)
        except socketio.exceptions.SocketIOError as error:
            log.info("not_sent", extra={"message_name": name, "error": str(error)})

    def call(self, name: str, message: dict[str, Any]) -> dict[str, Any]:
        """Send a message and return its acknowledgement.

        Raises:
            PetioleError: there is no connection, or no answer within 5 s.
        """
        try:
            answer: dict[str, Any] = self._socket.call(name, message, namespace=NAMESPACE, timeout=ANSWER_TIMEOUT)
        except socketio.exceptions.SocketIOError as error:
            raise PetioleError(f"The server didn't answer ({error}). Try again.") from None
        return answer

    def call_with_token(self, name: str, message: dict[str, Any]) -> dict[str, Any]:
        """As `call`, with the client's token; once more with a new one where that has ended.

        Raises:
            PetioleError: there is no connection, or no answer within 5 s.
        """
        token = self.renewal.get()
        answer = self.call(name, message if token is None else {**message, "token": token})
        if self.renewal.renews and (answer.get("error") or {}).get("status") == 401:
            self.renewal.forget(token)
            answer = self.call(name, {**message, "token": self.renewal.get()})
        return answer

    def renew_in(self, seconds: object) -> None:
        """Watch everything with a new token before the present one ends in so many seconds."""
        if not self.renewal.renews or not isinstance(seconds, int | float):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(seconds * RENEW_AT, self._renew, args=(self.renewal.held,))
        self._timer.daemon = True
        self._timer.start()

    def _renew(self, text: str | None) -> None:
        self.renewal.forget(text)
        for view in list(self._views.values()):
            if view.receipt is None and self.connected:
                view.read()

    def _on_connect(self) -> None:
        self._delays = FIRST_DELAY, LONGEST_DELAY
        for view in list(self._views.values()):
            view.read()

    def _on_disconnect(self, _reason: object = None) -> None:
        self._look.set()

    def _on_connect_error(self, error: Any = None) -> None:
        problem = error.get("data") if isinstance(error, dict) else None
        self._turned_away = problem if isinstance(problem, dict) else None

    def _on_event(self, wire: dict[str, Any]) -> None:
        view = self._views.get(wire.get("feed", ""))
        if view is not None:
            view.offer(Event.from_wire(wire))

    def _on_reset(self, wire: dict[str, Any]) -> None:
        view = self._views.get(wire.get("feed", ""))
        if view is not None:
            view.take(Reading.from_wire(wire))

    def _on_refused(self, wire: dict[str, Any]) -> None:
        view = self._views.get(wire.get("feed", ""))
        if view is not None:
            view.refuse(wire.get("error") or {})

    def _on_reconnect(self, wire: dict[str, Any]) -> None:
        # The server closes the connection after this; the next one is made after the time that it names.
        after = wire.get("after")
        if isinstance(after, int | float) and 0 <= after <= LONGEST_ASKED:
            self._delays = after, max(after, LONGEST_DELAY)


def _problem(response: requests.Response) -> dict[str, Any]:
    try:
        problem = response.json()
    except requests.JSONDecodeError:
        problem = None
    if isinstance(problem, dict):
        return problem
    return {"status": response.status_code, "detail": f"The server answered {response.status_code}."}

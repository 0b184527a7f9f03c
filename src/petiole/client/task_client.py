"""One application's tasks, followed over one connection."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final
from urllib.parse import urljoin

import requests

from petiole.client.children import Child, children_of
from petiole.client.connection import Connection
from petiole.client.followed import Followed, feed_named
from petiole.client.refused import Refused, problem_of
from petiole.client.renewal import Renewal
from petiole.client.view import OnEvent, OnReset, TaskView
from petiole.client.views import Views, Waiting
from petiole.errors import PetioleError
from petiole.protocol.events import Cursor, Document, Event, check_feed
from petiole.protocol.reader import Reader

# The share of its lifetime after which a token is renewed.
RENEW_AT: Final = 0.8
HTTP_TIMEOUT: Final = 10.0


class TaskClient:
    """One connection to one web application; follows many tasks. Reconnects by itself and goes on from its cursors.

    `path`: Socket.IO's path on that server, and `prefix` that of Petiole's routes. `token` is sent instead of a session cookie:
    a text, or a callable that returns a new one, before the current one expires and after a 401. `transports`: `["polling"]`
    where a proxy blocks WebSockets.
    """

    def __init__(
        self,
        url: str,
        *,
        session: requests.Session | None = None,
        token: Callable[[], str] | str | None = None,
        path: str = "/socket.io",
        transports: Sequence[str] = ("websocket",),
        prefix: str = "/petiole",
    ) -> None:
        self.url = url
        self._prefix = prefix.rstrip("/")
        self.session = session or requests.Session()
        self.renewal = Renewal(token)
        self._timer: threading.Timer | None = None
        self._views: Views[TaskView] = Views()
        self._connection = Connection(
            url,
            session=self.session,
            path=path,
            transports=transports,
            on_connect=self._views.read_all,
            handlers={
                "event": self._views.on_event,
                "reset": self._views.on_reset,
                "refused": self._views.on_refused,
            },
        )

    def start(self, path: str, body: dict[str, Any], *, on_event: OnEvent = None, on_reset: OnReset = None) -> TaskView:
        """Post JSON to a route that starts a task, and follow it from the cursor of the 202.

        Raises:
            Refused: the answer isn't a 202.
            PetioleError: the server didn't answer.
        """
        try:
            response = self.session.post(urljoin(self.url, path), json=body, timeout=HTTP_TIMEOUT)
        except requests.RequestException as error:
            raise PetioleError(f"The server didn't answer ({error}). Try again.") from None
        if response.status_code != 202:
            raise Refused(problem_of(response))
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
        task: str,
        *,
        cursor: str | None = None,
        document: Document | None = None,
        on_event: OnEvent = None,
        on_reset: OnReset = None,
        texts: bool = True,
    ) -> TaskView:
        """Follow a task, by its id or feed: from `cursor` with its document, or from its first fact.

        Without `texts` it reads none of them.
        """
        held = None if cursor is None else Cursor.parse(cursor)
        reader = Reader(feed_named(task), cursor=held, document=document, keep_texts=texts)
        view = self.make_view(reader, on_event, on_reset)
        self._views.add(view)
        if self.connected:
            view.read()
        else:
            self._connection.open()
        return view

    def follow(self, task: str, *, timeout: float | None = None) -> Iterator[Event]:
        """Yield every fact of a task, by its id or feed, and its counters as they come, until it has ended.

        Raises:
            Refused: there is no such task, or it isn't ours.
            TimeoutError: nothing came for `timeout` seconds, and the task goes on.
        """
        came = Waiting()
        view = self.watch(task, on_event=came.take)
        return view.events(came, timeout=timeout)

    def children(self, group: str, *, state: str | None = None) -> Iterator[Child]:
        """Yield the tasks of a group, by its id, in the order in which they may begin; only those in `state`.

        `state` may be several, as in `failed,lost`. They are read page by page, each page as of when it was read.

        Raises:
            Refused: there is no such group, it isn't ours, or there is no such state.
            PetioleError: the server didn't answer.
        """
        return children_of(self._get, check_feed(group), state=state)

    def _get(self, path: str, parameters: dict[str, str]) -> requests.Response:
        """Read a path below the prefix, with the client's token; again with a new token after a 401."""
        url = urljoin(self.url, f"{self._prefix}{path}")
        token = self.renewal.get()
        response = self._request(url, parameters, token)
        if response.status_code == 401 and self.renewal.renews:
            self.renewal.forget(token)
            response = self._request(url, parameters, self.renewal.get())
        return response

    def _request(self, url: str, parameters: dict[str, str], token: str | None) -> requests.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            return self.session.get(url, params=parameters, headers=headers, timeout=HTTP_TIMEOUT)
        except requests.RequestException as error:
            raise PetioleError(f"The server didn't answer ({error}). Try again.") from None

    def make_view(self, reader: Reader, on_event: OnEvent, on_reset: OnReset) -> TaskView:
        """Return the view of a feed; a subclass may give it another reader."""
        return TaskView(self, reader, on_event, on_reset)

    def connect(self, *, auth: dict[str, Any] | None = None) -> None:
        """Open the socket; every view reads once it is connected. `auth` is sent with the handshake, such as `{"token": …}`.

        Raises:
            Refused: the server refuses this token, or every connection at present.
            PetioleError: no server answers at this URL.
        """
        self._connection.auth = auth
        self._connection.open()

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as this side knows."""
        return self._connection.connected

    @property
    def closed(self) -> bool:
        return self._connection.closed

    def cut(self) -> None:
        """Drop the connection as a network does, without a close frame; it reconnects by itself."""
        self._connection.cut()

    def close(self) -> None:
        """Close the connection; the tasks go on."""
        if self._timer is not None:
            self._timer.cancel()
        self._connection.close()

    def send(self, name: str, message: dict[str, Any], *, callback: Callable[[Any], None]) -> None:
        """Send a message; without a connection it is dropped, because every view reads anew after the reconnect."""
        self._connection.send(name, message, callback=callback)

    def call(self, name: str, message: dict[str, Any]) -> dict[str, Any]:
        """Send a message and return its acknowledgement.

        Raises:
            PetioleError: there is no connection, or no answer within 5 s.
        """
        return self._connection.call(name, message)

    def call_with_token(self, name: str, message: dict[str, Any]) -> dict[str, Any]:
        """As `call`, with the client's token; repeated once with a new token after a 401.

        Raises:
            PetioleError: there is no connection, or no answer within 5 s.
        """
        token = self.renewal.get()
        answer = self.call(name, message if token is None else {**message, "token": token})
        if self.renewal.renews and (answer.get("error") or {}).get("status") == 401:
            self.renewal.forget(token)
            answer = self.call(name, {**message, "token": self.renewal.get()})
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
        self._timer = threading.Timer(seconds * RENEW_AT, self._renew, args=(self.renewal.held,))
        self._timer.daemon = True
        self._timer.start()

    def _renew(self, text: str | None) -> None:
        self.renewal.forget(text)
        if self.connected:
            self._views.read_live()

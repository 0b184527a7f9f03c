"""The Socket.IO namespace `/petiole`: watch, unwatch, cancel, retry, acknowledge.

Rooms are named by the server, and nothing that a browser sends is relayed to another.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, TypeVar

from flask import request
from flask_socketio import ConnectionRefusedError, Namespace, join_room

from petiole.errors import InvalidName, Unavailable
from petiole.protocol.events import Cursor, check_feed
from petiole.protocol.reader import Reading
from petiole.settings import Settings
from petiole.web.access.origins import check_origins
from petiole.web.access.rights import Watched
from petiole.web.access.tokens import Principal
from petiole.web.background.shutdown import spread
from petiole.web.budget import Bucket, Tally
from petiole.web.engineio.answer import Answer
from petiole.web.engineio.guard import Guard
from petiole.web.engineio.packets import RESERVED, check_serializer
from petiole.web.engineio.server import check_server
from petiole.web.problems import Problem, not_found, outages_as_problems, too_many, unavailable
from petiole.web.service.actions import wants_force
from petiole.web.service.inbox import acknowledge
from petiole.web.service.service import Service
from petiole.web.state import current_state

T = TypeVar("T")

NAMESPACE: Final = "/petiole"
# How long an ending process waits until its last messages are sent.
LAST_WORDS_WITHIN: Final = 0.3


@dataclass(slots=True, eq=False)
class Watch:
    """One feed that a browser watches: as whom, whose it is, and whether the relay counts it already."""

    principal: Principal
    owner: str
    counted: bool = False


class Connection:
    """One browser tab: who it is, what it watches, and how much it asks for. `counted_as`: in whose name it is counted."""

    def __init__(self, principal: Principal, settings: Settings, *, counted_as: str | None) -> None:
        self.principal = principal
        self.counted_as = counted_as
        # The caller that removes a feed from here gives its count back, and no other.
        self.watched: dict[str, Watch] = {}
        self.lock = threading.Lock()
        self.calls = Bucket(burst=settings.calls_burst, rate=settings.calls_per_second)
        self.refused = 0


class PetioleNamespace(Namespace):  # type: ignore[misc]
    """Handlers of the namespace. Each answers in its acknowledgement, a refusal as `{"error": problem}`."""

    def __init__(self, service: Service, settings: Settings) -> None:
        super().__init__(NAMESPACE)
        self._service = service
        self._settings = settings
        self._connections: dict[str, Connection] = {}
        # Open connections that have shown a token.
        self._by_token: set[str] = set()
        self._owners = Tally(settings.connections_per_owner)
        self._guard: Guard | None = None

    def _set_server(self, server: Any) -> None:
        # python-socketio calls this when it has a server, whether that was made before or after Petiole was set up.
        super()._set_server(server)
        self._guard_server(server)

    def _guard_server(self, server: Any) -> None:
        if not self._settings.allow_any_origin:
            check_origins(getattr(server.eio, "cors_allowed_origins", None))
        check_serializer(getattr(server, "packet_class", None))
        check_server(getattr(server.eio, "async_mode", None))
        events = {name.removeprefix("on_") for name in dir(self) if name.startswith("on_")}
        self._guard = Guard(server, text_only=NAMESPACE, events=events.difference(RESERVED))

    def on_connect(self, auth: object = None) -> None:
        state = current_state()
        state.begin()
        if self._guard is None:
            # A python-socketio that calls something else than `_set_server`.
            self._guard_server(state.socketio.server)
        principal = self._principal_of(auth)
        closed = state.readiness.closed()
        if closed is not None:
            raise ConnectionRefusedError(closed, unavailable(Unavailable(closed)).to_wire())
        # A token's holder must not use up the pages of its owner.
        counted_as = principal.user if principal.token is None else f"token:{principal.user}"
        if counted_as is not None and not self._owners.take(counted_as):
            raise ConnectionRefusedError(
                "Too many open pages", too_many("Close a page of this application.", 30).to_wire()
            )
        connection = Connection(principal, self._settings, counted_as=counted_as)
        self._connections[request.sid] = connection  # type: ignore[attr-defined]

    def on_disconnect(self, *_reason: object) -> None:
        sid: str = request.sid  # type: ignore[attr-defined]
        connection = self._connections.pop(sid, None)
        self._by_token.discard(sid)
        if connection is None:
            return
        if connection.counted_as is not None:
            self._owners.give_back(connection.counted_as)
        for feed in list(connection.watched):
            self._leave(sid, connection, feed)

    def on_watch(self, message: object = None) -> Answer | dict[str, Any]:
        return self._answer(self._watch, message)

    def on_unwatch(self, message: object = None) -> dict[str, Any]:
        return self._answer(self._unwatch, message)

    def on_cancel(self, message: object = None) -> dict[str, Any]:
        return self._answer(self._cancel, message)

    def on_retry(self, message: object = None) -> dict[str, Any]:
        return self._answer(self._retry, message)

    def on_acknowledge(self, message: object = None) -> dict[str, Any]:
        return self._answer(self._acknowledge, message)

    def watches(self, *, by_token: bool = False) -> Iterator[Watched]:
        """Every watch of this process; `by_token`: of those connections only that have shown a token."""
        for sid in list(self._by_token if by_token else self._connections):
            connection = self._connections.get(sid)
            if connection is not None:
                for feed, watch in list(connection.watched.items()):
                    yield Watched(sid, watch.principal, feed, watch.owner)

    def refuse(self, sid: str, feed: str, problem: Problem) -> None:
        """End a watch that is allowed no more, and say so to its browser."""
        connection = self._connections.get(sid)
        if connection is not None and self._leave(sid, connection, feed):
            self._tell(sid, "refused", {"feed": feed, "error": problem.to_wire()})

    def depart(self) -> None:
        """Send every browser away, each with its own time to come back, and close its connection."""
        leaving = list(self._connections)
        for sid in leaving:
            self._tell(sid, "reconnect", spread(self._settings.reconnect_spread))
        self.socketio.sleep(LAST_WORDS_WITHIN)
        for sid in leaving:
            self._close(sid, None)

    def watching(self, sid: str, feed: str) -> bool:
        """Whether this connection watches the feed."""
        connection = self._connections.get(sid)
        return connection is not None and feed in connection.watched

    def _watch(self, connection: Connection, message: dict[str, Any]) -> Answer | dict[str, Any]:
        feed = check_feed(message.get("feed"))
        texts = message.get("texts")
        cursor = None if message.get("cursor") is None else Cursor.parse(message["cursor"], texts)
        principal = self._principal(connection, message)
        if principal.token is not None:
            self._by_token.add(request.sid)  # type: ignore[attr-defined]
        owner = self._service.authorize("watch", feed, principal=principal).owner
        watch = connection.watched.get(feed)
        # Until the first of a page's views is counted the feed may not be followed yet: a mere read would be of before that.
        if watch is not None and watch.counted:
            watch.principal = principal
            reading = current_state().relay.read(feed, cursor, texts=texts is not False)
        else:
            reading = self._begin(connection, feed, cursor, Watch(principal, owner), texts=texts is not False)
        if reading is None:
            self._leave(request.sid, connection, feed)  # type: ignore[attr-defined]
            raise not_found()
        # In seconds from here, because the browser's clock may say anything.
        more = (
            {} if principal.token is None else {"token_expires_in": current_state().tokens.expires_in(principal.token)}
        )
        if self._guard is not None and self._guard.takes_answers:
            return Answer(reading.to_text()).with_fields(more)
        return {**reading.to_wire(), **more}

    def _begin(
        self, connection: Connection, feed: str, cursor: Cursor | None, begun: Watch, *, texts: bool
    ) -> Reading | None:
        sid: str = request.sid  # type: ignore[attr-defined]
        limit = self._settings.watches_per_connection
        if feed not in connection.watched and len(connection.watched) >= limit:
            raise Problem(409, "Too many", f"One page can watch {limit} tasks. Stop watching one first.")
        try:
            join_room(feed)
        except (KeyError, ValueError):
            raise Problem(410, "Gone", "The connection has ended.") from None
        watch = connection.watched.setdefault(feed, begun)
        watch.principal = begun.principal
        try:
            reading = current_state().relay.watch(feed, cursor, texts=texts)
        except Unavailable:
            # A page may have asked twice: what one question began, the other one's failure doesn't end.
            if not watch.counted:
                self._leave(sid, connection, feed)
            raise
        if reading is None:
            return None
        with connection.lock:
            left = connection.watched.get(feed) is not watch
            kept = not left and not watch.counted
            if kept:
                watch.counted = True
        if not kept:
            current_state().relay.unwatch(feed)
        if left:
            raise Unavailable("The watch was ended while it began. Ask again.")
        if self._connections.get(sid) is not connection:
            # The connection has ended meanwhile, and nothing else would end its watch.
            self._by_token.discard(sid)
            self._leave(sid, connection, feed)
        return reading

    def _unwatch(self, connection: Connection, message: dict[str, Any]) -> dict[str, Any]:
        self._leave(request.sid, connection, check_feed(message.get("feed")))  # type: ignore[attr-defined]
        return {}

    def _acknowledge(self, connection: Connection, message: dict[str, Any]) -> dict[str, Any]:
        acknowledge(self._service.journal, self._service.owner_asking(self._principal(connection, message)), message)
        return {}

    def _cancel(self, connection: Connection, message: dict[str, Any]) -> dict[str, Any]:
        feed = check_feed(message.get("feed"))
        snapshot = self._service.authorize("cancel", feed, principal=self._principal(connection, message))
        status, snapshot = self._service.cancel(snapshot, force=wants_force(message))
        return {"status": status, "document": snapshot.document}

    def _retry(self, connection: Connection, message: dict[str, Any]) -> dict[str, Any]:
        feed = check_feed(message.get("feed"))
        snapshot = self._service.authorize("retry", feed, principal=self._principal(connection, message))
        handle = self._service.retry(snapshot, idempotency_key=message.get("idempotency_key"))
        return {"status": int(HTTPStatus.ACCEPTED), "task": self._service.wire_of(handle, owner=snapshot.owner)}

    def _leave(self, sid: str, connection: Connection, feed: str) -> bool:
        """End a watch; false where there was none. May be called from anywhere, more than once."""
        with connection.lock:
            watch = connection.watched.pop(feed, None)
        if watch is None:
            return False
        self.socketio.server.leave_room(sid, feed, namespace=NAMESPACE)
        current_state().send_limit.forget(sid, feed)
        if watch.counted:
            current_state().relay.unwatch(feed)
        return True

    def _principal(self, connection: Connection, message: dict[str, Any]) -> Principal:
        """Who asks in this message: the holder of its token, or who the connection is."""
        if message.get("token") is None:
            return connection.principal
        token = current_state().tokens.read(message["token"])
        return Principal(token.owner, token)

    def _principal_of(self, auth: object) -> Principal:
        """Who connects: the holder of the token in `auth`, or who the handshake's request came from.

        Raises:
            ConnectionRefusedError: the token isn't good.
        """
        text = auth.get("token") if isinstance(auth, dict) else None
        if text is None:
            return Principal(self._service.user(create=False))
        state = current_state()
        try:
            token = state.tokens.read(text)
            with outages_as_problems():
                state.tokens.check(token)
        except Problem as problem:
            state.refusals.explain(problem, call="connect")
            raise ConnectionRefusedError(problem.title, problem.to_wire()) from problem
        return Principal(token.owner, token)

    def _tell(self, sid: str, name: str, payload: dict[str, Any]) -> None:
        # This process's browsers only: the application's own message queue has nothing to do with it.
        self.socketio.emit(name, payload, to=sid, namespace=NAMESPACE, ignore_queue=True)

    def _close(self, sid: str, reason: str | None) -> None:
        if self._guard is not None:
            self._guard.close_of(sid, NAMESPACE, reason)

    def _spend(self, connection: Connection) -> None:
        wait = connection.calls.take()
        if not wait:
            connection.refused = 0
            return
        connection.refused += 1
        if connection.refused > self._settings.calls_burst:
            self._close(request.sid, "too many calls")  # type: ignore[attr-defined]
        raise too_many("This page asks too much at once.", math.ceil(wait))

    def _answer(self, handler: Callable[[Connection, dict[str, Any]], T], message: object) -> T | dict[str, Any]:
        try:
            connection = self._connections.get(request.sid)  # type: ignore[attr-defined]
            if connection is None:
                raise Problem(400, "Bad request", "This connection has ended.")
            self._spend(connection)
            if not isinstance(message, dict):
                raise Problem(400, "Bad request", "Send an object, with the fields that the call takes.")
            return handler(connection, message)
        except Problem as problem:
            refused = problem
        except InvalidName as error:
            refused = Problem(400, "Bad request", str(error))
        except Unavailable as error:
            refused = unavailable(error)
        current_state().refusals.explain(refused, call=handler.__name__.strip("_"))
        return {"error": refused.to_wire()}

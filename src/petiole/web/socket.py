"""The Socket.IO namespace `/petiole`: watch, unwatch, cancel, acknowledge.

Rooms are named by the server, and nothing that a browser sends is relayed to another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from flask import request
from flask_socketio import Namespace, join_room, leave_room

from petiole.errors import InvalidName, Unavailable
from petiole.events import Cursor, check_feed
from petiole.web.inbox import acknowledge
from petiole.web.problems import Problem, not_found, unavailable

if TYPE_CHECKING:
    from petiole.web.extension import Petiole

NAMESPACE: Final = "/petiole"


class Connection:
    """One browser tab: who it is, and what it watches."""

    def __init__(self, user: str | None) -> None:
        self.user = user
        self.watched: set[str] = set()


class PetioleNamespace(Namespace):  # type: ignore[misc]
    """Handlers of the namespace. Each answers in its acknowledgement, a refusal as `{"error": problem}`."""

    def __init__(self, petiole: Petiole) -> None:
        super().__init__(NAMESPACE)
        self._petiole = petiole
        self._connections: dict[str, Connection] = {}

    def on_connect(self, _auth: object = None) -> None:
        self._petiole.begin()
        self._connections[request.sid] = Connection(self._petiole.user(create=False))  # type: ignore[attr-defined]

    def on_disconnect(self, *_reason: object) -> None:
        sid: str = request.sid  # type: ignore[attr-defined]
        connection = self._connections.pop(sid, None)
        for feed in connection.watched if connection else ():
            self._petiole.window.forget(sid, feed)
            self._petiole.relay.unwatch(feed)

    def on_watch(self, message: object = None) -> dict[str, Any]:
        return self._answer(self._watch, message)

    def on_unwatch(self, message: object = None) -> dict[str, Any]:
        return self._answer(self._unwatch, message)

    def on_cancel(self, message: object = None) -> dict[str, Any]:
        return self._answer(self._cancel, message)

    def on_acknowledge(self, message: object = None) -> dict[str, Any]:
        connection = self._connections.get(request.sid)  # type: ignore[attr-defined]
        try:
            acknowledge(self._petiole, connection.user if connection else None, message)
        except Problem as problem:
            return {"error": problem.to_wire()}
        except Unavailable as error:
            return {"error": unavailable(error).to_wire()}
        return {}

    def _watch(self, connection: Connection, feed: str, message: dict[str, Any]) -> dict[str, Any]:
        cursor = None if message.get("cursor") is None else Cursor.parse(message["cursor"])
        self._petiole.authorize("watch", feed, user=connection.user)
        relay = self._petiole.relay
        if feed in connection.watched:
            reading = relay.read(feed, cursor)
        else:
            limit = self._petiole.settings.watches_per_connection
            if len(connection.watched) >= limit:
                raise Problem(409, "Too many", f"One page can watch {limit} tasks. Stop watching one first.")
            join_room(feed)
            connection.watched.add(feed)
            try:
                reading = relay.watch(feed, cursor)
            except Unavailable:
                self._leave(connection, feed)
                raise
        if reading is None:
            self._leave(connection, feed)
            raise not_found()
        return reading.to_wire()

    def _unwatch(self, connection: Connection, feed: str, _message: dict[str, Any]) -> dict[str, Any]:
        if feed in connection.watched:
            self._leave(connection, feed)
            self._petiole.relay.unwatch(feed)
        return {}

    def _cancel(self, connection: Connection, feed: str, message: dict[str, Any]) -> dict[str, Any]:
        snapshot = self._petiole.authorize("cancel", feed, user=connection.user)
        status, snapshot = self._petiole.cancel(snapshot, force=message.get("force") is True)
        return {"status": status, "document": snapshot.document}

    def _leave(self, connection: Connection, feed: str) -> None:
        leave_room(feed)
        self._petiole.window.forget(request.sid, feed)  # type: ignore[attr-defined]
        connection.watched.discard(feed)

    def _answer(
        self, handler: Callable[[Connection, str, dict[str, Any]], dict[str, Any]], message: object
    ) -> dict[str, Any]:
        try:
            connection = self._connections.get(request.sid)  # type: ignore[attr-defined]
            if connection is None or not isinstance(message, dict):
                raise Problem(400, "Bad request", "Send an object with the field feed.")
            return handler(connection, check_feed(message.get("feed")), message)
        except Problem as problem:
            return {"error": problem.to_wire()}
        except InvalidName as error:
            return {"error": Problem(400, "Bad request", str(error)).to_wire()}
        except Unavailable as error:
            return {"error": unavailable(error).to_wire()}

"""Bounds the queue of one slow browser: past the limit it gets no more events, and reads the journal when its queue is empty.

Socket.IO's server queues without a bound for a connection that doesn't read. A browser that is left out loses nothing: once its
queue is empty it is told where each feed stands, sees the gap by the reader's rule, and reads it from the journal.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from engineio.packet import MESSAGE, Packet
from flask_socketio import SocketIO

from petiole.logs import logger
from petiole.web.engineio.compat import DisabledProtections

SLOW: Final = "against slow browsers"
_EVENT: Final = 2  # Socket.IO's type of packet

log = logger(__name__)


class SendLimit:
    """Emits to the rooms of one namespace. `limit`: how many packets may wait for one connection."""

    def __init__(
        self,
        socketio: SocketIO,
        namespace: str,
        *,
        limit: int,
        watching: Callable[[str, str], bool] = lambda _sid, _feed: True,
    ) -> None:
        self._socketio = socketio
        self._namespace = namespace
        self._limit = limit
        self._watching = watching
        self._behind: dict[str, set[str]] = {}
        self._disabled = DisabledProtections()

    def emit(self, name: str, text: str, *, feed: str) -> None:
        """Send an event with this JSON text to every connection of this process that watches `feed` and keeps up.

        The text goes out as it is, in one packet for all of them; and to this process's browsers only: the application's own
        message queue would multiply every event.
        """
        if SLOW not in self._disabled:
            try:
                self._send(Packet(MESSAGE, f'{_EVENT}{self._namespace},["{name}",{text}]'), feed)
                return
            except (AttributeError, TypeError) as error:
                self._disabled.add(SLOW, error)
        self._socketio.emit(name, json.loads(text), to=feed, namespace=self._namespace, ignore_queue=True)

    def _send(self, packet: Packet, feed: str) -> None:
        server = self._socketio.server
        for sid, eio_sid in server.manager.get_participants(self._namespace, feed):
            connection = server.eio.sockets.get(eio_sid)
            if connection is None:
                # Gone just now; or Flask-SocketIO's test client, which takes packets where Socket.IO hands them on.
                server._send_eio_packet(eio_sid, packet)
            elif connection.closed:
                continue
            elif self._keeps_up(connection):
                connection.send(packet)
            else:
                server.manager.leave_room(sid, self._namespace, feed)
                self._behind.setdefault(sid, set()).add(feed)
                log.info("browser_behind", extra={"feed": feed, "sid": sid})

    def _keeps_up(self, connection: Any) -> bool:
        return bool(connection.queue.qsize() < self._limit)

    def catch_up(self, position: Callable[[str], dict[str, Any] | None]) -> None:
        """Take back connections whose queue is empty. `position(feed)`: the event that says where the feed is, if known."""
        manager = self._socketio.server.manager
        for sid, feeds in list(self._behind.items()):
            eio_sid = manager.eio_sid_from_sid(sid, self._namespace)
            if eio_sid is None:
                del self._behind[sid]
            elif self._waiting(eio_sid) == 0:
                for feed in list(feeds):
                    if not self._watching(sid, feed):
                        feeds.discard(feed)
                        continue
                    # Back into the room first: later events arrive, and earlier ones are in the journal.
                    # Forgotten before that: an emit may leave it out again while the journal is asked.
                    feeds.discard(feed)
                    manager.enter_room(sid, self._namespace, feed)
                    event = position(feed)
                    if not self._watching(sid, feed):
                        # It has left meanwhile, and who had it leave didn't find it there.
                        manager.leave_room(sid, self._namespace, feed)
                    elif event is None:
                        feeds.add(feed)
                    else:
                        self._socketio.emit("event", event, to=sid, namespace=self._namespace, ignore_queue=True)
                if not feeds:
                    del self._behind[sid]

    def forget(self, sid: str, feed: str) -> None:
        """A connection has left a feed, or is gone."""
        feeds = self._behind.get(sid)
        if feeds is not None:
            feeds.discard(feed)

    def _waiting(self, eio_sid: str) -> int:
        connection = self._socketio.server.eio.sockets.get(eio_sid)
        return 0 if connection is None else int(connection.queue.qsize())

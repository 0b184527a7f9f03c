"""Guards python-engineio and python-socketio: bounds what one connection can make this process hold, do or log.

`tests/unit/test_guard.py` names what this package uses of these libraries beyond their documentation, and fails when that
changes. Where something is missing, the protection that needs it is off: the log says so once, and sockets go on. The
libraries' own protections stay on. Everything is set on the one server object and its connections, except gevent-websocket's
unmasking.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from typing import Any, Final

from engineio.exceptions import ContentTooLongError, SocketIsClosedError

from petiole.logs import logger
from petiole.web.budget import Bucket
from petiole.web.engineio import pings, socket_writer
from petiole.web.engineio.attachments import Attachments
from petiole.web.engineio.compat import DisabledProtections, missing_of
from petiole.web.engineio.handlers import Around, GuardedHandlers, Handler
from petiole.web.engineio.packets import NEEDED, Malformed, checked_packet
from petiole.web.engineio.pings import Pings
from petiole.web.engineio.polling import take_in_parts
from petiole.web.engineio.socket_writer import SocketWriter
from petiole.web.engineio.websockets import checked_websocket
from petiole.web.refusal_log import RefusalLog

log = logger(__name__)

TICK: Final = 1.0
# A connection has to join a namespace, and to complete the attachments that it declared, within JOIN_WITHIN + TICK.
JOIN_WITHIN: Final = 8.0
# All connections are looked at only so often, in seconds.
LOOK_AT_ALL_EVERY: Final = 4.0
FAULTS: Final = 3
HANDLERS: Final = ("connect", "message", "disconnect")
CONNECTS: Final = 20.0
CONNECTS_PER_SECOND: Final = 0.5

# The protection without which there is no other.
CONNECTIONS: Final = "against hostile connections"
FRAMES: Final = "against large frames and silent sockets"
_MANAGER: Final = tuple(f"manager.{name}" for name in ("get_namespaces", "get_participants", "eio_sid_from_sid"))


class Guard:
    """Watches over one `socketio.Server`, with one background task for all sockets; it sends their pings, too.

    `text_only`: a namespace that takes no attachments, and only these `events`.
    """

    def __init__(
        self,
        server: Any,
        *,
        text_only: str,
        events: Collection[str],
        join_within: float = JOIN_WITHIN,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self._eio = server.eio
        self._join_within = join_within
        self._clock = clock
        self._lock = threading.Lock()
        self._sweeping = False
        # The background task, while there is one.
        self.task: Any = None
        self.wires: dict[str, Any] = {}
        self._unjoined: dict[str, float] = {}
        self._look_at_all = 0.0
        # Connections that have ended, and whether a sweep has found them open after that.
        self._ended: dict[str, bool] = {}
        self._faults: dict[str, int] = {}
        self._connects: dict[str, Bucket] = {}
        self._refusals = RefusalLog(log, clock=clock)
        self._disabled = DisabledProtections()
        # Whether a handler's answer may be an `Answer`.
        self.takes_answers = False
        if self._fence_connections():
            self._check_packets(text_only=text_only, events=events)
            self._bound_frames()
        # Whether silent clients are to be closed. Engine.IO's own task does that too, and stays on: it closes them later, and
        # also those that nothing here has heard of.
        self._looked_after = bool(getattr(self._eio, "start_service_task", False))
        self.pings = Pings(self._eio, answers=self._looked_after, clock=clock, sleep=server.sleep)

    def _fence_connections(self) -> bool:
        """Stand between Engine.IO and Socket.IO; without that nothing else of this could act on what it finds."""
        needed = (
            "eio.handlers",
            "eio.sockets",
            "eio.shutdown",
            "eio.max_http_buffer_size",
            "_binary_packet",
            *_MANAGER,
        )
        lacking = missing_of(self._server, *needed)
        handlers = {} if lacking else self._eio.handlers
        if lacking is None and not set(HANDLERS) <= set(handlers):
            lacking = "eio.handlers['message']"
        if lacking is not None:
            self._disabled.add(CONNECTIONS, lacking)
            return False
        around: tuple[Around, ...] = (self._on_connect, self._on_message, self._on_disconnect)
        self._eio.handlers = GuardedHandlers(handlers, dict(zip(HANDLERS, around, strict=True)))
        self._shut_down, self._eio.shutdown = self._eio.shutdown, self._end
        self._attachments = Attachments(limit=self._eio.max_http_buffer_size, clock=self._clock)
        return True

    def _check_packets(self, *, text_only: str, events: Collection[str]) -> None:
        lacking = missing_of(self._server, *(f"packet_class.{name}" for name in NEEDED))
        if lacking is not None:
            self._disabled.add("against malformed packets", lacking)
            return
        self._server.packet_class = checked_packet(self._server.packet_class, text_only=text_only, events=events)
        self.takes_answers = True

    def _bound_frames(self) -> None:
        drivers = getattr(self._eio, "_async", None)
        if not isinstance(drivers, dict) or "websocket" not in drivers:
            self._disabled.add(FRAMES, "eio._async['websocket']")
        elif drivers["websocket"] is not None:
            # A copy: the table is the driver's, and other servers in this process have it too.
            self._eio._async = {**drivers, "websocket": checked_websocket(drivers["websocket"], self)}

    def close(self, eio_sid: str, reason: str | None) -> None:
        """Close a connection, whichever its transport, without waiting for it to read; `reason` is for the log."""
        socket = self._eio.sockets.get(eio_sid)
        if socket is None or socket.closed:
            return
        if reason is not None:
            self._refusals.write("connection_closed", reason=reason)
        try:
            socket.close(wait=False, abort=True)
            if not socket.upgraded:
                # No thread ends with it, so Engine.IO removes it late.
                self._eio.sockets.pop(eio_sid, None)
        except (AttributeError, TypeError) as error:
            self._disabled.add("against clients that don't read their end", error)
            self._eio.disconnect(eio_sid)

    def close_of(self, sid: str, namespace: str, reason: str | None) -> None:
        """Close the connection that is `sid` in a namespace."""
        if CONNECTIONS in self._disabled:
            self._server.disconnect(sid, namespace=namespace)
            return
        eio_sid = self._server.manager.eio_sid_from_sid(sid, namespace)
        if eio_sid in self._eio.sockets:
            self.close(eio_sid, reason)
        elif eio_sid is not None:
            # Flask-SocketIO's test client, which has no Engine.IO below it.
            self._server.disconnect(sid, namespace=namespace)

    def malformed(self, eio_sid: str) -> None:
        """Count what can't be understood; so many of it close the connection."""
        self._faults[eio_sid] = self._faults.get(eio_sid, 0) + 1
        if self._faults[eio_sid] >= FAULTS:
            self.close(eio_sid, "malformed packets")

    def sweep(self) -> None:
        """Close connections that joined nothing or completed no packet in time; cut those that stay open after that."""
        now = self._clock()
        for eio_sid, seen in list(self._ended.items()):
            wire = self.wires.get(eio_sid)
            if wire is None:
                del self._ended[eio_sid]
                if eio_sid in self._eio.sockets:
                    # Closed by us: Engine.IO doesn't notice a long-polling client that never comes back.
                    self._eio.sockets.pop(eio_sid, None)
            elif seen:
                wire.cut()
            else:
                self._ended[eio_sid] = True
        known = set(self._unjoined)
        unjoined = self._in_no_namespace(known, now)
        for eio_sid in known - unjoined:
            self._unjoined.pop(eio_sid, None)
        for eio_sid in unjoined:
            if now - self._unjoined.setdefault(eio_sid, now) >= self._join_within:
                self.close(eio_sid, "joined no namespace")
        for eio_sid in self._attachments.older_than(self._join_within):
            # In a task of its own: an application's handler of the disconnect may take its time.
            self._server.start_background_task(self.close, eio_sid, "attachments that don't come")

    def _in_no_namespace(self, known: set[str], now: float) -> set[str]:
        """Return the connections in no namespace: among those that weren't before and, every few seconds, among all."""
        suspects: set[str] = known & self._eio.sockets.keys()
        if now >= self._look_at_all:
            self._look_at_all = now + LOOK_AT_ALL_EVERY
            suspects = set(self._eio.sockets)
        if not suspects:
            return suspects
        manager = self._server.manager
        # In one go, because it is a few steps of the interpreter for each namespace, and not for each connection.
        for namespace in list(manager.get_namespaces()):
            suspects.difference_update(eio_sid for _, eio_sid in manager.get_participants(namespace, None))
        return suspects

    def finds(self, websocket: Any, *names: str) -> bool:
        """Whether a WebSocket of gevent-websocket has what the bounds on its frames need."""
        lacking = missing_of(websocket, *names)
        if lacking is not None:
            self._disabled.add(FRAMES, f"websocket.{lacking}")
        return lacking is None

    def admits(self, eio_socket: Any, frame: str | bytes) -> bool:
        """Whether Engine.IO can take this WebSocket frame; what it can't would end its thread with a traceback."""
        if not isinstance(frame, str):
            return True
        match frame[:1]:
            case "4":
                # Socket.IO's own type follows; Engine.IO would parse anything else as JSON, as deep as it goes.
                return frame[1:2] in "0123456" and len(frame) > 1
            case "3" | "1":
                return len(frame) <= 8
            case "2" | "5":
                return eio_socket.upgrading and len(frame) <= 8
            case _:
                return False

    def _on_connect(self, handler: Handler, eio_sid: str, environ: dict[str, Any]) -> Any:
        with self._lock:
            if not self._sweeping:
                self._sweeping = True
                self._ends = self._eio.create_event()
                self.task = self._server.start_background_task(self._run, self._ends)
        self._unjoined[eio_sid] = self._clock()
        self.look_after(self._eio.sockets[eio_sid])
        return handler(eio_sid, environ)

    def look_after(self, socket: Any) -> None:
        """Take over what comes in by long polling, what goes out, and the pings of one Engine.IO socket."""
        lacking = missing_of(socket, "handle_post_request", "sid")
        if lacking is None:
            take = take_in_parts(socket.handle_post_request, max_size=self._eio.max_http_buffer_size)
            socket.handle_post_request = lambda environ: self._on_post(socket, take, environ)
        else:
            self._disabled.add("against malformed long polling", f"socket.{lacking}")
        lacking = missing_of(socket, *socket_writer.NEEDED)
        if lacking is None:
            going = SocketWriter(socket, self.wires, looked_after=self._looked_after)
            socket.poll, socket.send = going.poll, going.send
        else:
            self._disabled.add("of Python's long-polling clients against much at once", f"socket.{lacking}")
        lacking = missing_of(socket, *pings.NEEDED) or missing_of(self._eio, *pings.NEEDED_OF_SERVER)
        if lacking is None:
            self.pings.take_over(socket)
        else:
            self._disabled.add("against a thread for each socket's pings", f"socket.{lacking}")

    def _on_disconnect(self, handler: Handler, eio_sid: str, *reason: str) -> None:
        try:
            handler(eio_sid, *reason)
        finally:
            self._ended[eio_sid] = False
            self._server._binary_packet.pop(eio_sid, None)
            self.pings.forget(eio_sid)
            self._attachments.end(eio_sid)
            for table in (self._unjoined, self._faults, self._connects):
                table.pop(eio_sid, None)

    def _on_post(self, socket: Any, take: Callable[[dict[str, Any]], None], environ: dict[str, Any]) -> None:
        try:
            if int(environ.get("CONTENT_LENGTH") or 0) < 0:
                raise Malformed("A body without an end.")
            take(environ)
        except SocketIsClosedError:
            raise
        except ContentTooLongError:
            # Closed before Engine.IO does it: Engine.IO would wait until the client has read its queue.
            self.close(socket.sid, "a body over the limit")
            raise
        except Exception:  # noqa: BLE001 (decoders raise what they like; a client's mistake gets no traceback)
            self.malformed(socket.sid)

    def _on_message(self, handler: Handler, eio_sid: str, data: Any) -> None:
        socket = self._eio.sockets.get(eio_sid)
        if socket is None or socket.closed:
            return
        try:
            pending = self._server._binary_packet.get(eio_sid)
            if pending is None:
                self._check_first(eio_sid, data)
            else:
                self._hold(eio_sid, data)
            handler(eio_sid, data)
            if eio_sid not in self._server._binary_packet:
                self._attachments.end(eio_sid)
            elif pending is None:
                self._attachments.begin(eio_sid)
        except ValueError as error:
            # python-socketio has called no handler for a packet with attachments yet, so the packet is at fault.
            if not isinstance(error, Malformed) and not str(data).startswith(("5", "6")):
                raise
            self._server._binary_packet.pop(eio_sid, None)
            self._attachments.end(eio_sid)
            self.malformed(eio_sid)

    def _check_first(self, eio_sid: str, data: Any) -> None:
        if not data:
            raise Malformed("An empty packet.")
        if isinstance(data, str) and data[:1] in ("0", "1"):
            bucket = self._connects.get(eio_sid)
            if bucket is None:
                bucket = self._connects[eio_sid] = Bucket(burst=CONNECTS, rate=CONNECTS_PER_SECOND, clock=self._clock)
            if bucket.take():
                raise Malformed("Too many namespaces joined.")

    def _hold(self, eio_sid: str, data: Any) -> None:
        if not isinstance(data, bytes | bytearray):
            raise Malformed("Text where an attachment was declared.")
        if not self._attachments.add(eio_sid, len(data)):
            self.close(eio_sid, "too large attachments")
            raise Malformed("Attachments over the limit.")

    def _end(self) -> None:
        """Take the place of Engine.IO's `shutdown`, which ends its own task: end the guard's, and then that."""
        if self.task is not None:
            self._ends.set()
            self.task.join()
            self.task = None
        self._shut_down()

    def _run(self, ended: Any) -> None:
        sweeps_at = self._clock() + TICK
        while not ended.is_set():
            self._server.sleep(pings.TICK)
            self._do(self.pings.send)
            if self._clock() >= sweeps_at:
                sweeps_at = self._clock() + TICK
                self._do(self.sweep)
        self._sweeping = False

    def _do(self, part: Callable[[], None]) -> None:
        try:
            part()
        except AttributeError as error:
            self._disabled.add("against connections that join nothing", error)
        except Exception:
            log.exception("sweep_failed")

"""What goes out to one Engine.IO socket: in parts that its clients take, and at once where nothing waits.

Engine.IO puts each packet into its socket's queue and wakes the socket's writer, a thread or greenlet. Where that writer has
nothing to do, and the WebSocket doesn't block, a packet is written by whoever sends it; the writer gets what didn't fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from engineio.exceptions import QueueEmpty
from engineio.packet import packet_names
from engineio.payload import Payload

from petiole.web.engineio.frames import Unsent

# Undocumented attributes of Engine.IO's socket that this module uses.
NEEDED: Final = (
    "poll",
    "send",
    "sid",
    "upgraded",
    "check_ping_timeout",
    "queue.get",
    "queue.empty",
    "queue.task_done",
    "server.get_queue_empty_exception",
    "server.logger",
)


class Wire(Protocol):
    """The WebSocket of an Engine.IO socket."""

    # Whether `write` can be used: the connection never blocks.
    writes: bool

    def write(self, text: str) -> Unsent | None:
        """Write what can be written of a text without waiting, and return the rest; `None`: that was all of it."""


class SocketWriter:
    """Takes the place of an Engine.IO socket's `poll` and `send`.

    `wires`: the WebSockets there are, by the ids of their sockets. `looked_after`: the server closes the sockets of silent
    clients itself. Else the writer does that, when it has waited for too long: then it must see every packet.
    """

    def __init__(self, socket: Any, wires: Mapping[str, Wire], *, looked_after: bool) -> None:
        self._socket = socket
        self._sid = socket.sid
        self._queue = socket.queue
        self._wires = wires if looked_after else {}
        self._enqueue = socket.send
        server = socket.server
        self._empty = server.get_queue_empty_exception()
        self._longest = None if looked_after else server.ping_interval + server.ping_timeout
        # Whether the WebSocket's writer waits for a packet, so that nothing is under way.
        self._waits = False

    def poll(self) -> list[Any]:
        """Return the packets that wait, at most as many as python-engineio's client takes at once.

        That limit (`Payload.max_decode_packets`, 16) holds when it reads, and not when it writes.

        Like Engine.IO's `poll` it waits for the first packet, returns nothing once the socket is closed, and raises
        `QueueEmpty` where the client hasn't been heard of for too long.
        """
        self._waits = self._socket.upgraded
        try:
            packets = [self._queue.get(timeout=self._longest)]
        except self._empty:
            raise QueueEmpty from None
        finally:
            self._waits = False
        self._queue.task_done()
        if packets == [None]:
            return []
        while len(packets) < Payload.max_decode_packets:
            try:
                packet = self._queue.get(block=False)
            except self._empty:
                break
            self._queue.task_done()
            if packet is None:
                self._queue.put(None)
                break
            packets.append(packet)
        return packets

    def send(self, packet: Any) -> None:
        """Send a packet after all that were sent before it."""
        wire = self._wires.get(self._sid) if self._waits and self._queue.empty() else None
        text = packet.encode() if wire is not None and wire.writes else None
        if wire is None or not isinstance(text, str):
            self._enqueue(packet)
        elif self._socket.check_ping_timeout():
            rest = wire.write(text)
            if rest is not None:
                # Nobody has run meanwhile, so it is the next in the queue.
                self._queue.put(rest)
            self._socket.server.logger.info(
                "%s: Sending packet %s data %s", self._sid, packet_names[packet.packet_type], packet.data
            )

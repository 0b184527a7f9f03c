"""Long polling in parts: no payload has more packets than python-engineio takes in one.

Its limit (`Payload.max_decode_packets`, 16) holds when it reads, and not when it writes; engine.io's clients in JavaScript have
none. So a page that asks for many feeds in one request would be answered for none of them, and a Python client for which much
waits would give its connection up.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any, Final

from engineio.exceptions import QueueEmpty
from engineio.payload import Payload

SEPARATOR: Final = b"\x1e"
# Of one request: more than a page has feeds (`PETIOLE_WATCHES_PER_CONNECTION`), and little to decode.
MOST_PACKETS: Final = 512

Environ = dict[str, Any]


def take_in_parts(take: Callable[[Environ], None], *, max_size: int) -> Callable[[Environ], None]:
    """Return `take` (Engine.IO's handler of a POST) for requests of up to 512 packets.

    The handler that is returned raises what `take` raises, and `ValueError` for more packets.
    """

    def take_all(environ: Environ) -> None:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length > max_size:
            take(environ)  # which refuses it, unread
            return
        body: bytes = environ["wsgi.input"].read(length)
        packets = body.split(SEPARATOR)
        if len(packets) > MOST_PACKETS:
            raise ValueError(f"More than {MOST_PACKETS} packets in one request.")
        size = Payload.max_decode_packets
        for at in range(0, len(packets), size):
            part = SEPARATOR.join(packets[at : at + size])
            take({**environ, "CONTENT_LENGTH": str(len(part)), "wsgi.input": BytesIO(part)})

    return take_all


def poll_in_parts(socket: Any) -> Callable[[], list[Any]]:
    """Return Engine.IO's `socket.poll` that leaves what is too much for one answer to the next.

    Like that one it waits for the first packet, returns nothing once the socket is closed, and raises `QueueEmpty` where the
    client hasn't been heard of for too long. Where the server looks after silent clients anyway, and closes their sockets, that
    is left to it, and no packet needs a timer of its own.
    """
    queue, server = socket.queue, socket.server
    empty = server.get_queue_empty_exception()
    longest = None if getattr(server, "start_service_task", False) else server.ping_interval + server.ping_timeout

    def poll() -> list[Any]:
        try:
            packets = [queue.get(timeout=longest)]
        except empty:
            raise QueueEmpty from None
        queue.task_done()
        if packets == [None]:
            return []
        while len(packets) < Payload.max_decode_packets:
            try:
                packet = queue.get(block=False)
            except empty:
                break
            queue.task_done()
            if packet is None:
                queue.put(None)
                break
            packets.append(packet)
        return packets

    return poll

"""Long polling in parts: a request of more packets than python-engineio takes in one.

Its limit is `Payload.max_decode_packets`, 16; engine.io's clients in JavaScript have none. So a page that asks for many feeds
in one request would be answered for none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any, Final

from engineio.payload import Payload

SEPARATOR: Final = b"\x1e"
# In one request: more than a page has feeds (`PETIOLE_WATCHES_PER_CONNECTION`), and cheap to decode.
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

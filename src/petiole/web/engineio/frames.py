"""WebSocket frames as a server sends them (RFC 6455, section 5.2): whole texts, not masked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final

_TEXT: Final = b"\x81"  # the last frame of a text, which is its first


def text_frame(text: str) -> bytes:
    """Return the frame of a text."""
    payload = text.encode()
    size = len(payload)
    if size < 126:
        return _TEXT + bytes((size,)) + payload
    if size < 1 << 16:
        return _TEXT + b"\x7e" + size.to_bytes(2, "big") + payload
    return _TEXT + b"\x7f" + size.to_bytes(8, "big") + payload


@dataclass(frozen=True, slots=True)
class Unsent:
    """The rest of a frame that was sent in part. In Engine.IO's queue it is a packet, and to its WebSocket a message."""

    frame: memoryview

    def encode(self) -> Unsent:
        return self

    def __len__(self) -> int:
        # Socket.IO's admin UI counts what goes out.
        return len(self.frame)


def write_text(connection: Any, text: str) -> Unsent | None:
    """Write what a connection's buffer takes of a text without waiting, and return what it doesn't take.

    The connection must not block, as gevent's don't. One that has ended takes nothing; sending the rest fails.
    """
    frame = text_frame(text)
    try:
        written = os.write(connection.fileno(), frame)
    except OSError:
        written = 0
    return None if written == len(frame) else Unsent(memoryview(frame)[written:])

"""Rings on their way from RabbitMQ to a subscriber: lost, doubled, or swapped with the next, frame by frame."""

from __future__ import annotations

import struct
from typing import Final

from chaos.proxy import Faults, Rings

# AMQP 0-9-1: type, channel and size before the payload, one byte after it. A message is three frames or more: the method
# Basic.Deliver, a header with the size of its body, and the body's own.
_HEAD: Final = struct.Struct(">BHI")
_METHOD, _HEADER, _BODY = 1, 2, 3
_DELIVER: Final = struct.pack(">HH", 60, 60)
_SIZE: Final = slice(_HEAD.size + 4, _HEAD.size + 12)
_CONSUMER_TAG: Final = _HEAD.size + 4
_TAG_BYTES: Final = 8


class AmqpRings(Rings):
    """The rings of one connection.

    A message that takes another's place also takes its delivery tag, so that tags stay in order.
    """

    def __init__(self, faults: Faults) -> None:
        super().__init__(faults)
        self._unfinished = b""
        self._late = b""
        self._parts: list[bytes] = []
        self._left = 0

    def edit(self, data: bytes) -> bytes:
        kept: list[bytes] = []
        if self._late and not self._faults.edits:
            kept.append(self._late)
            self._late = b""
        data, at = self._unfinished + data, 0
        while len(data) - at >= _HEAD.size:
            end = at + _HEAD.size + _HEAD.unpack_from(data, at)[2] + 1
            if end > len(data):
                break
            kept.append(self._take(data[at:end]))
            at = end
        self._unfinished = data[at:]
        return b"".join(kept)

    def _take(self, frame: bytes) -> bytes:
        """Return the bytes to forward after this frame; the frames of a message are forwarded together once it is complete."""
        kind = frame[0]
        if kind == _METHOD and frame[_HEAD.size : _HEAD.size + 4] == _DELIVER:
            self._parts = [frame]
            return b""
        if not self._parts or kind not in (_HEADER, _BODY):
            return frame
        self._parts.append(frame)
        if kind == _HEADER:
            self._left = int.from_bytes(frame[_SIZE])
        else:
            self._left -= len(frame) - _HEAD.size - 1
        if self._left > 0:
            return b""
        parts, self._parts = self._parts, []
        return self._pass(b"".join(parts), b"".join(part[_HEAD.size : -1] for part in parts[2:]))

    def _pass(self, message: bytes, text: bytes) -> bytes:
        faults = self._faults
        if faults.lose is not None and faults.lose(text):
            faults.lost += 1
            return b""
        times = 1
        if faults.double is not None and faults.double(text):
            faults.doubled += 1
            times = 2
        if not self._late and faults.swap is not None and faults.swap(text):
            faults.swapped += 1
            self._late = message
            return b""
        if not self._late:
            return message * times
        late, self._late = self._late, b""
        return _tagged(message, _tag(late)) * times + _tagged(late, _tag(message))


def _tag_at(message: bytes) -> int:
    return _CONSUMER_TAG + 1 + message[_CONSUMER_TAG]


def _tag(message: bytes) -> bytes:
    at = _tag_at(message)
    return message[at : at + _TAG_BYTES]


def _tagged(message: bytes, tag: bytes) -> bytes:
    at = _tag_at(message)
    return message[:at] + tag + message[at + _TAG_BYTES :]

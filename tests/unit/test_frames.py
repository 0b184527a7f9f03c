"""WebSocket frames, beside those that gevent-websocket makes."""

from __future__ import annotations

import pytest
from geventwebsocket.websocket import Header

from petiole.web.frames import send_text, text_frame


class Narrow:
    """A connection whose buffer takes so many bytes at once."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.arrived = b""

    def send(self, data: bytes) -> int:
        self.arrived += data[: self.room]
        return min(self.room, len(data))

    def sendall(self, data: bytes) -> None:
        self.arrived += bytes(data)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
def test_a_frame_is_what_gevent_websocket_makes(size):
    text = "x" * size
    assert text_frame(text) == bytes(Header.encode_header(True, 1, b"", size, 0)) + text.encode()


def test_the_length_is_of_bytes_not_of_characters():
    assert text_frame("ü" * 100)[:4] == b"\x81\x7e\x00\xc8"


@pytest.mark.parametrize("room", [0, 1, 3, 10_000])
def test_what_the_buffer_has_no_room_for_follows(room):
    connection = Narrow(room)
    send_text(connection, "a text of some length")
    assert connection.arrived == text_frame("a text of some length")

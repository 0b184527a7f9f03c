"""WebSocket frames, compared with those of gevent-websocket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from io import BufferedReader

import pytest
from geventwebsocket.websocket import Header

from petiole.web.engineio.frames import send_text, takes_pong, text_frame


class Narrow:
    """A connection whose buffer accepts so many bytes at once."""

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


def masked(first: int, payload: bytes, mask: bytes = b"\x01\xfe\x33\x80") -> bytes:
    """A short frame from a client."""
    return bytes((first, 0x80 | len(payload))) + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


@pytest.fixture
def line() -> Iterator[tuple[socket.socket, BufferedReader]]:
    there, here = socket.socketpair()
    with there, here, here.makefile("rb") as reader:
        yield there, reader


@pytest.mark.parametrize("mask", [b"\x00\x00\x00\x00", b"\x37\x00\x00\x00", b"\xff\x01\x02\x03"])
def test_an_answer_to_a_ping_is_taken_and_what_follows_it_is_left(line, mask):
    there, reader = line
    there.sendall(masked(0x81, b"3", mask) * 2 + masked(0x81, b"42[]"))
    assert takes_pong(reader)
    assert takes_pong(reader)
    assert not takes_pong(reader)
    assert reader.read(10) == masked(0x81, b"42[]")


@pytest.mark.parametrize(
    "frame",
    [
        masked(0x81, b"2"),
        masked(0x81, b"33"),
        masked(0x81, b"3probe"),
        masked(0x82, b"3"),
        masked(0x01, b"3"),
        masked(0xC1, b"3"),
        masked(0x8A, b"3"),
        masked(0x81, b""),
        b"\x81\x013",
        masked(0x81, b"3")[:6],
        b"",
    ],
)
def test_any_other_frame_and_half_a_one_and_the_end_are_left_to_the_library(line, frame):
    there, reader = line
    there.sendall(frame)
    there.shutdown(socket.SHUT_WR)
    assert not takes_pong(reader)
    assert reader.read() == frame

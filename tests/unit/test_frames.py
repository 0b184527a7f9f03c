"""WebSocket frames, compared with those of gevent-websocket."""

from __future__ import annotations

import pytest
from geventwebsocket.websocket import Header

from petiole.web.engineio.frames import text_frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
def test_a_frame_is_what_gevent_websocket_makes(size):
    text = "x" * size
    assert text_frame(text) == bytes(Header.encode_header(True, 1, b"", size, 0)) + text.encode()


def test_the_length_is_of_bytes_not_of_characters():
    assert text_frame("ü" * 100)[:4] == b"\x81\x7e\x00\xc8"

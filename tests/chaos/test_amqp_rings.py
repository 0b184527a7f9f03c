"""Rings are lost, doubled and swapped between RabbitMQ and a subscriber, however their bytes are split."""

from __future__ import annotations

import struct

import pytest

from chaos.amqp_rings import AmqpRings
from chaos.proxy import Faults

HEARTBEAT = bytes([8, 0, 0, 0, 0, 0, 0, 0xCE])


def frame(kind: int, payload: bytes, *, channel: int = 1) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def short(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


def delivered(tag: int, *bodies: str) -> bytes:
    """RabbitMQ's frames for one message: Basic.Deliver, a header, and a body frame for each part."""
    method = (
        struct.pack(">HH", 60, 60) + short("consumer") + struct.pack(">QB", tag, 0) + short("rings") + short("feed")
    )
    header = struct.pack(">HHQH", 60, 0, sum(len(body) for body in bodies), 0)
    return frame(1, method) + frame(2, header) + b"".join(frame(3, body.encode()) for body in bodies)


def is_text(wanted: str) -> Faults:
    return Faults(lose=lambda text: text == wanted.encode())


MESSAGES = [delivered(1, "one"), delivered(2, "t", "wo"), delivered(3, "three")]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_message_is_lost_whole_and_nothing_else(size: int) -> None:
    faults = is_text("two")
    rings = AmqpRings(faults)
    stream = HEARTBEAT + b"".join(MESSAGES) + HEARTBEAT
    passed = b"".join(rings.edit(stream[at : at + size]) for at in range(0, len(stream), size))
    assert passed == HEARTBEAT + MESSAGES[0] + MESSAGES[2] + HEARTBEAT
    assert faults.lost == 1


def test_a_message_comes_twice() -> None:
    rings = AmqpRings(Faults(double=lambda text: text == b"one"))
    assert rings.edit(b"".join(MESSAGES)) == MESSAGES[0] + b"".join(MESSAGES)


def test_messages_change_places_and_delivery_tags_stay_in_order() -> None:
    rings = AmqpRings(Faults(swap=lambda text: text == b"one"))
    assert rings.edit(b"".join(MESSAGES)) == delivered(1, "t", "wo") + delivered(2, "one") + MESSAGES[2]


def test_one_that_waits_for_its_successor_goes_on_when_nothing_is_swapped_any_more() -> None:
    faults = Faults(swap=lambda _text: True)
    rings = AmqpRings(faults)
    assert rings.edit(MESSAGES[0]) == b""
    faults.swap = None
    assert rings.edit(MESSAGES[1]) == MESSAGES[0] + MESSAGES[1]


def test_what_is_no_message_goes_on_as_it_is() -> None:
    rings = AmqpRings(Faults(lose=lambda _text: True))
    answer = frame(1, struct.pack(">HH", 50, 21))
    assert rings.edit(answer + HEARTBEAT) == answer + HEARTBEAT

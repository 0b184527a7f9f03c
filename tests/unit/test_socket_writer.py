"""Packets that are sent at once, and packets that wait: a real Engine.IO socket over a real connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import engineio.socket
import pytest
import socketio
from engineio.exceptions import SocketIsClosedError
from engineio.packet import MESSAGE, Packet

from petiole.web.engineio.frames import Unsent, text_frame, write_text
from petiole.web.engineio.socket_writer import SocketWriter
from tests.support.waiting import wait_until


class Line:
    """A WebSocket's two ends. Its writer belongs to the tests, so that they know when it waits."""

    writes = True

    def __init__(self, *, looked_after: bool = True) -> None:
        self.here, self.there = socket.socketpair()
        self.here.setblocking(False)
        self.there.settimeout(5)
        server = socketio.Server(async_mode="threading").eio
        self.made = engineio.socket.Socket(server, "sid")
        self.made.connected = self.made.upgraded = True
        self.outgoing = SocketWriter(self.made, {"sid": self}, looked_after=looked_after)
        self.polled: list[Any] = []

    def write(self, text: str) -> Unsent | None:
        return write_text(self.here, text)

    def wait_for_a_packet(self) -> threading.Thread:
        """Let the writer wait for work."""
        writer = threading.Thread(target=lambda: self.polled.extend(self.outgoing.poll()), daemon=True)
        writer.start()
        wait_until(lambda: self.outgoing._waits, what="the writer waits")
        return writer

    def sent_at_once(self, text: str) -> bool:
        """Send a packet; return whether it has been sent at once."""
        before = self.made.queue.qsize()
        self.outgoing.send(Packet(MESSAGE, text))
        return self.made.queue.qsize() == before

    def write_all(self) -> None:
        """Do a writer's work on the polled packets."""
        self.here.setblocking(True)
        for packet in self.polled:
            message = packet.encode()
            if isinstance(message, Unsent):
                self.here.sendall(message.frame)
            else:
                self.here.sendall(text_frame(message))

    def arrived(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self.there.recv(size - len(data))
        return data


@pytest.fixture
def make() -> Iterator[Callable[..., Line]]:
    lines: list[Line] = []

    def made(**options: bool) -> Line:
        lines.append(Line(**options))
        return lines[-1]

    yield made
    for line in lines:
        line.made.queue.put(None)
        line.here.close()
        line.there.close()


def test_where_the_writer_waits_a_packet_goes_out_at_once_and_it_waits_on(make):
    line = make()
    writer = line.wait_for_a_packet()
    for text in ("one", "two", "three"):
        assert line.sent_at_once(text)
        assert line.arrived(len(text) + 3) == text_frame(f"4{text}")
    assert writer.is_alive()
    assert line.polled == []


def test_what_doesnt_fit_is_the_writers_and_what_comes_later_comes_after_it(make):
    line = make()
    writer = line.wait_for_a_packet()
    large = "x" * 5_000_000
    line.outgoing.send(Packet(MESSAGE, large))
    writer.join(5)
    assert [type(packet) for packet in line.polled] == [Unsent]
    assert not line.sent_at_once("after")
    line.polled += line.outgoing.poll()
    whole = text_frame(f"4{large}") + text_frame("4after")
    writing = threading.Thread(target=line.write_all)
    writing.start()
    assert line.arrived(len(whole)) == whole
    writing.join(5)


def test_nothing_overtakes_what_waits(make):
    line = make()
    line.made.queue.put(Packet(MESSAGE, "first"))
    line.outgoing._waits = True  # as if the writer had not got to it yet
    assert not line.sent_at_once("second")
    assert [packet.data for packet in line.outgoing.poll()] == ["first", "second"]


def test_nothing_overtakes_what_the_writer_is_sending(make):
    line = make()
    writer = line.wait_for_a_packet()
    line.made.queue.put(Packet(MESSAGE, "first"))
    writer.join(5)
    assert not line.sent_at_once("second")


def test_a_connection_that_is_still_being_upgraded_gets_nothing_yet(make):
    line = make()
    line.made.upgraded = False
    polled: list[Any] = []
    threading.Thread(target=lambda: polled.extend(line.outgoing.poll()), daemon=True).start()
    line.outgoing.send(Packet(MESSAGE, "by long polling"))
    wait_until(lambda: polled, what="the long poll is answered")
    assert [packet.data for packet in polled] == ["by long polling"]


def test_bytes_and_the_end_go_by_the_writer(make):
    line = make()
    writer = line.wait_for_a_packet()
    line.outgoing.send(Packet(MESSAGE, b"bytes"))
    writer.join(5)
    assert [packet.data for packet in line.polled] == [b"bytes"]


def test_where_the_writer_itself_looks_for_silent_clients_it_sees_every_packet(make):
    line = make(looked_after=False)
    writer = line.wait_for_a_packet()
    line.outgoing.send(Packet(MESSAGE, "x"))
    writer.join(5)
    assert [packet.data for packet in line.polled] == ["x"]


def test_of_a_connection_that_has_ended_the_writer_is_told(make):
    line = make()
    writer = line.wait_for_a_packet()
    line.there.close()
    line.outgoing.send(Packet(MESSAGE, "x"))
    writer.join(5)
    with pytest.raises(OSError, match="Broken pipe"):
        line.write_all()


def test_a_closed_socket_takes_nothing(make):
    line = make()
    line.wait_for_a_packet()
    line.made.closed = True
    with pytest.raises(SocketIsClosedError):
        line.outgoing.send(Packet(MESSAGE, "x"))

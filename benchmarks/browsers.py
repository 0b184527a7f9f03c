"""Many browsers in one process: WebSockets by hand, read by one `epoll`, so that they cost far less than the web process.

`python -m benchmarks.browsers petiole|plain|floor URL ROOMS…` connects one browser to each room, prints `ready`, and
answers each line on its standard input with a line of JSON: the events that have arrived since the line before, and for each
browser how long its text was at which instant; or, if the line is an instant, which browsers have all events from before it.
"""

from __future__ import annotations

import base64
import json
import os
import select
import socket
import sys
import time
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

# The stamp in each event: the instant of its emit call, on the clock that all processes of a machine share.
STAMP: Final = b'"stamp":'
# In an event with a chunk: how long the text is with it.
LENGTH: Final = b'"lengths":{"output":'
TIMEOUT: Final = 30.0
PONG: Final = b"\x81\x81\0\0\0\x003"  # a masked frame with the text 3; its mask is zero


@dataclass(slots=True)
class Connection:
    """One browser's WebSocket, and the bytes of an incomplete frame."""

    socket: socket.socket
    rest: bytes = b""
    # The stamps of its events, and when they arrived.
    seen: list[tuple[int, int]] = field(default_factory=list)
    frames: list[bytes] = field(default_factory=list)
    # How long its text was, and when.
    lengths: list[tuple[int, int]] = field(default_factory=list)

    def send(self, text: str) -> None:
        data = text.encode()
        size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
        self.socket.sendall(b"\x81" + size + b"\0\0\0\0" + data)

    def receive(self) -> list[bytes]:
        """Return the frames that one read completes."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError("The server has closed the connection.")
        data = self.rest + data
        at, frames, end = 0, [], len(data)
        while end - at >= 2:
            size, head = data[at + 1], 2
            if size == 126:
                size, head = int.from_bytes(data[at + 2 : at + 4], "big"), 4
            elif size == 127:
                size, head = int.from_bytes(data[at + 2 : at + 10], "big"), 10
            if end - at < head + size:
                break
            frames.append(data[at + head : at + head + size])
            at += head + size
        self.rest = data[at:]
        return frames

    def next(self) -> bytes:
        """Wait for the next frame that isn't a ping."""
        while True:
            while self.frames:
                frame = self.frames.pop(0)
                if frame == b"2":
                    self.socket.sendall(PONG)
                else:
                    return frame
            self.frames = self.receive()


def connect(kind: str, url: str, room: str) -> Connection:
    """Open one browser that follows `room`: a feed, or a room of the plain pattern."""
    place = urlsplit(url)
    opened = socket.create_connection((place.hostname or "", place.port or 80), timeout=TIMEOUT)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    key = base64.b64encode(os.urandom(16)).decode()
    opened.sendall(
        f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {place.netloc}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += opened.recv(4096)
    head, _, rest = answer.partition(b"\r\n\r\n")
    if b" 101 " not in head.partition(b"\r\n")[0]:
        sys.exit(f"The server answered {head[:100]!r}.")
    connection = Connection(opened, rest)
    if kind == "petiole":
        connection.send("40/petiole,")
        _expect(connection, b"40/petiole,")
        connection.send('42/petiole,1["watch",' + json.dumps({"feed": room}) + "]")
        _expect(connection, b'43/petiole,1[{"feed"')
    elif kind == "plain":
        connection.send("40" + json.dumps({"room": room}))
        _expect(connection, b"40")
    return connection


def _expect(connection: Connection, beginning: bytes) -> None:
    while not (frame := connection.next()).startswith(beginning):
        if frame[:1] == b"4" and not frame.startswith(b"42"):
            sys.exit(f"The server answered {frame[:200]!r}.")


def answer_pings(connection: Connection) -> None:
    """Read the arrived frames and answer the pings among them."""
    for frame in connection.receive():
        if frame == b"2":
            connection.socket.sendall(PONG)


def caught_up(connections: Iterable[Connection], instant: int) -> dict[str, int]:
    """Return how many browsers may lack events from before an instant, and when the last browser got the last of them.

    Facts arrive in order, so a browser with a later one has all earlier ones.
    """
    behind, last = 0, 0
    for connection in connections:
        behind += all(stamp < instant for stamp, _ in connection.seen)
        last = max([last, *(arrived for stamp, arrived in connection.seen if stamp < instant)])
    return {"behind": behind, "caught_up_at": last}


def main() -> None:
    kind, url, *rooms = sys.argv[1:]
    poll = select.epoll()
    connections: dict[int, Connection] = {}
    for room in rooms:
        connection = connect(kind, url, room)
        connection.socket.setblocking(False)
        connections[connection.socket.fileno()] = connection
        poll.register(connection.socket, select.EPOLLIN)
        # Connecting thousands takes longer than the ping timeout.
        for number, _ in poll.poll(0):
            answer_pings(connections[number])
    poll.register(sys.stdin, select.EPOLLIN)
    delays = array("d")
    # By the instant of the emit call: when its last browser had the event.
    last: dict[int, tuple[int, int]] = {}
    begun = time.process_time()
    print("ready", flush=True)
    while True:
        for number, _ in poll.poll():
            if number == sys.stdin.fileno():
                asked = sys.stdin.readline()
                if not asked:
                    return
                if asked.strip():
                    print(json.dumps(caught_up(connections.values(), int(asked))), flush=True)
                    continue
                busy = time.process_time() - begun
                whole = [(at - stamp) / 1e6 for stamp, (at, seen) in last.items() if seen == len(connections)]
                lengths = [connection.lengths for connection in connections.values()]
                print(json.dumps({"delays": list(delays), "last": whole, "lengths": lengths, "cpu": busy}), flush=True)
                delays = array("d")
                last.clear()
                for connection in connections.values():
                    connection.seen.clear()
                    connection.lengths.clear()
                begun = time.process_time()
                continue
            connection = connections[number]
            for frame in connection.receive():
                at = frame.find(STAMP)
                if at > 0:
                    stamp = int(frame[at + 8 : at + 28].partition(b"}")[0])
                    arrived = time.monotonic_ns()
                    delays.append((arrived - stamp) / 1e6)
                    connection.seen.append((stamp, arrived))
                    last[stamp] = (arrived, last.get(stamp, (0, 0))[1] + 1)
                elif frame == b"2":
                    connection.socket.sendall(PONG)
                elif (at := frame.find(LENGTH)) > 0:
                    length = int(frame[at + len(LENGTH) : at + len(LENGTH) + 16].partition(b"}")[0])
                    connection.lengths.append((length, time.monotonic_ns()))


if __name__ == "__main__":
    main()

"""A TCP proxy that misbehaves on command: refuse, reset, swallow, delay, answer in the server's place, or lose single rings."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import hiredis

Pair: TypeAlias = tuple[socket.socket, socket.socket]

CHUNK: Final = 65536
# A pub/sub message as Redis sends it (RESP2): *3, "message", channel, payload.
_MESSAGE: Final = re.compile(rb"\*3\r\n\$7\r\nmessage\r\n\$\d+\r\n[^\r]*\r\n\$(\d+)\r\n")


@dataclass
class Faults:
    """What the proxy does at present.

    `swallow`: every connection that sends something now stays open and never forwards anything again. `lose`, `double` and
    `swap` (with the next) are called for every ring on its way to a subscriber. `cut` is called for every reply on its way
    to a writer: true resets the connection instead. `answer` is a RESP reply that Redis clients get to each command
    instead; no command is forwarded.
    """

    refuse: bool = False
    swallow: bool = False
    delay: float = 0.0
    answer: bytes | None = None
    lose: Callable[[bytes], bool] | None = None
    double: Callable[[bytes], bool] | None = None
    swap: Callable[[bytes], bool] | None = None
    cut: Callable[[], bool] | None = None
    lost: int = 0
    doubled: int = 0
    swapped: int = 0

    @property
    def edits(self) -> bool:
        """Whether single rings are changed."""
        return self.lose is not None or self.double is not None or self.swap is not None


class Rings:
    """The data of one connection to its client, in which single rings may be changed; this class forwards all of it."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def edit(self, data: bytes) -> bytes:
        """Return the data to forward; a ring that isn't complete yet is kept for the next call."""
        return data


class RedisRings(Rings):
    """The pub/sub messages of one connection on their way to the subscriber: lost, doubled, or swapped with the next."""

    def __init__(self, faults: Faults) -> None:
        super().__init__(faults)
        self._unfinished = b""
        self._late = b""

    def edit(self, data: bytes) -> bytes:
        data, self._unfinished = self._unfinished + data, b""
        if not self._faults.edits:
            data, self._late = self._late + data, b""
            return data
        kept, at = [], 0
        while match := _MESSAGE.search(data, at):
            end = match.end() + int(match[1]) + 2
            kept.append(data[at : match.start()])
            if end > len(data):
                self._unfinished = data[match.start() :]
                return b"".join(kept)
            kept.append(self._pass(data[match.start() : end], data[match.end() : end - 2]))
            at = end
        return b"".join([*kept, data[at:]])

    def _pass(self, message: bytes, text: bytes) -> bytes:
        faults = self._faults
        if faults.lose is not None and faults.lose(text):
            faults.lost += 1
            return b""
        if faults.double is not None and faults.double(text):
            faults.doubled += 1
            message += message
        if not self._late and faults.swap is not None and faults.swap(text):
            faults.swapped += 1
            self._late = message
            return b""
        message, self._late = message + self._late, b""
        return message


@dataclass
class FaultProxy:
    """Listens on a loopback port and forwards to another; `faults` may be changed at any time.

    `rings` knows the protocol of the rings on their way to a subscriber.
    """

    target: int
    rings: type[Rings] = RedisRings
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._pairs: set[Pair] = set()
        self._swallowed: set[Pair] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, name="fault-proxy", daemon=True).start()

    @property
    def swallowed(self) -> int:
        """The number of open connections that no longer forward anything."""
        with self._lock:
            return len(self._swallowed)

    def reset_all(self) -> None:
        """Reset every open connection, as a router does that has forgotten them."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

    def close(self) -> None:
        """Stop listening and end every connection."""
        self._server.close()
        self.reset_all()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            if self.faults.refuse:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target), timeout=5)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = (client, server)
            with self._lock:
                self._pairs.add(pair)
            threading.Thread(target=self._pass, args=(client, server, pair, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, pair, True), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, pair: Pair, to_client: bool) -> None:
        rings = self.rings(self.faults)
        commands = hiredis.Reader()
        try:
            while data := source.recv(CHUNK):
                if self.faults.swallow:
                    with self._lock:
                        self._swallowed.add(pair)
                if pair in self._swallowed:
                    continue
                if to_client and self.faults.cut is not None and self.faults.cut():
                    self.faults.lost += 1
                    break
                if self.faults.answer is not None and not to_client:
                    commands.feed(data)
                    while commands.gets() is not False:
                        source.sendall(self.faults.answer)
                    continue
                if self.faults.delay:
                    time.sleep(self.faults.delay)
                sink.sendall(rings.edit(data) if to_client else data)
        except OSError:
            pass
        finally:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            with self._lock:
                self._pairs.discard(pair)
                self._swallowed.discard(pair)

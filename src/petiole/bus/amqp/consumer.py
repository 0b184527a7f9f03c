"""The listening connection of one web process: its queue, its bindings, and the rings that arrive."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from petiole.bus.amqp.connection import (
    LOST,
    Broker,
    connect,
    declare,
    has_read,
    make_queue,
    read_once,
    translate_errors,
)

# RabbitMQ recommends 5 to 20 s; after two intervals without a byte a connection counts as lost.
HEARTBEAT: Final = 5
# How many messages may be unacknowledged, and after how many it acknowledges.
PREFETCHED: Final = 1000
ACKNOWLEDGED: Final = 250
BINDINGS_PER_CONFIRMATION: Final = 1000


class Link:
    """One connection with an exclusive queue, which ends with it. Only the listening thread calls it.

    Other threads may call `wake` and `give_up`. Nothing is published here, so a broker that is short of memory goes on reading.

    Raises:
        Unavailable: each call; the connection is lost or was shut down, or the queue was deleted.
    """

    def __init__(self, broker: Broker, *, timeout: float, exchange: str) -> None:
        self.bound: set[str] = set()
        self._broker = broker
        self._exchange = exchange
        self._received: list[Any] = []
        self._unacknowledged = 0
        self._connection = connect(broker, timeout=timeout, wait=float(HEARTBEAT), heartbeat=HEARTBEAT)
        self._socket = self._connection.sock
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._selector = selectors.DefaultSelector()
        try:
            for readable in (self._socket, self._woken):
                self._selector.register(readable, selectors.EVENT_READ)
            with translate_errors(broker):
                self._channel: Any = self._connection.channel()
                self._queue = self._make_queue()
        except BaseException:
            self.end()
            raise

    def bind(self, feeds: Sequence[str]) -> None:
        """Bind the queue to feeds; they ring when this has returned."""
        with translate_errors(self._broker):
            for at in range(0, len(feeds), BINDINGS_PER_CONFIRMATION):
                part = feeds[at : at + BINDINGS_PER_CONFIRMATION]
                # A channel executes commands in order, so the last confirmation confirms all.
                for feed in part[:-1]:
                    self._channel.queue_bind(self._queue, self._exchange, feed, nowait=True)
                self._channel.queue_bind(self._queue, self._exchange, part[-1])
                self.bound.update(part)

    def unbind(self, feed: str) -> None:
        """Remove a binding."""
        with translate_errors(self._broker):
            self._channel.queue_unbind(self._queue, self._exchange, feed)
            self.bound.discard(feed)

    def receive(self, timeout: float) -> list[tuple[str, bytes]]:
        """Return the rings that have arrived; after `timeout` seconds, or when woken, there may be none."""
        with translate_errors(self._broker):
            if not self._received:
                self._read(timeout)
            self._connection.heartbeat_tick()
            received, self._received = self._received, []
            self._acknowledge(received)
        return [(message.delivery_info["routing_key"], message.body) for message in received]

    def wake(self) -> None:
        """Make `receive` return."""
        # Full: it wakes anyway. Closed: the connection has just ended.
        with suppress(OSError):
            self._waker.send(b"\0")

    def give_up(self) -> None:
        """Shut the connection down; a wait of the listening thread ends at once."""
        with suppress(OSError, ValueError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self.wake()

    def end(self) -> None:
        """Close everything."""
        # First: gevent must not watch what is closed.
        self._selector.close()
        with suppress(*LOST):
            self._connection.collect()
        self._woken.close()
        self._waker.close()

    def _make_queue(self) -> str:
        declare(self._channel, self._exchange)
        queue = make_queue(self._channel)
        self._channel.basic_qos(0, PREFETCHED, False)
        # With acknowledgements, although nothing is ever redelivered: they bound what the broker sends ahead.
        # When the queue is deleted, py-amqp raises `ConsumerCancelled`.
        self._channel.basic_consume(queue, callback=self._received_one)
        return queue

    def _received_one(self, message: Any) -> None:
        self._received.append(message)

    def _read(self, timeout: float) -> None:
        ready = [] if has_read(self._connection) else self._selector.select(timeout)
        if any(key.fileobj is self._woken for key, _ in ready):
            self._woken.recv(4096)
        if has_read(self._connection) or any(key.fileobj is self._socket for key, _ in ready):
            read_once(self._connection)

    def _acknowledge(self, received: Sequence[Any]) -> None:
        self._unacknowledged += len(received)
        if self._unacknowledged >= ACKNOWLEDGED:
            self._channel.basic_ack(received[-1].delivery_tag, multiple=True)
            self._unacknowledged = 0

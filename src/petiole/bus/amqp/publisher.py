"""Publishes rings to RabbitMQ. Nothing here waits for longer than the timeout, whatever the broker does."""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import amqp
from amqp import spec

from petiole.bus.amqp.connection import (
    LOST,
    Broker,
    connect,
    declare,
    exchange_of,
    has_read,
    read_once,
    read_url,
    translate_errors,
)
from petiole.errors import Unavailable
from petiole.settings import Settings

TRANSIENT: Final = 1
# Rings have no replies, so a connection that accepts everything and delivers nothing would look healthy for ever. While
# something is published the broker is asked a question every ASK_EVERY seconds, and a connection without an answer within
# ANSWER_WITHIN seconds is lost; that is two heartbeats of the listening connection.
ASK_EVERY: Final = 5.0
ANSWER_WITHIN: Final = 10.0


class Full(Unavailable):
    """The broker has blocked publishing. The connection is healthy, and the broker will say when that is over."""


class RingPublisher:
    """One connection that only publishes: a broker that is short of memory stops reading from publishers only.

    One thread at a time. A forked process makes a connection of its own. Rings aren't confirmed: a lost one costs
    latency, never data.
    """

    def __init__(self, settings: Settings, *, url: str) -> None:
        self._brokers = read_url(url)
        self._timeout = settings.journal_timeout
        self._exchange = exchange_of(settings)
        self._turn = 0
        self._line: _Line | None = None
        self._closed = False
        # The parent's connections after a fork: kept, because collecting them would close the parent's.
        self._inherited: list[_Line] = []

    def publish(self, rings: Sequence[tuple[str, str | bytes]]) -> None:
        """Publish rings in their order.

        Raises:
            Unavailable: the broker is away, or blocks publishing. Some of them may have been published.
            SetupError: it refuses them.
        """
        line = self._line
        if line is not None and line.process != os.getpid():
            self._inherited.append(line)
            line = None
        if line is not None:
            try:
                line.send(rings)
                return
            except LOST:
                # It may have died long ago, while nothing was published: retry once, on a new one.
                self._drop(line)
        line = self._connect()
        try:
            with translate_errors(line.broker):
                line.send(rings)
        except Full:
            raise
        except BaseException:
            self._drop(line)
            raise

    def close(self) -> None:
        """Shut the connection down, even while another thread publishes on it, and make no other."""
        self._closed = True
        line = self._line
        if line is not None:
            line.give_up()

    def _connect(self) -> _Line:
        self._line = None
        if self._closed:
            raise Unavailable("The bus is closed.")
        broker = self._brokers[self._turn % len(self._brokers)]
        try:
            line = _Line(broker, timeout=self._timeout, exchange=self._exchange)
        except BaseException:
            self._turn += 1
            raise
        self._line = line
        if self._closed:
            line.give_up()
        return line

    def _drop(self, line: _Line) -> None:
        self._line = None
        line.end()


class _Line:
    """One connection with its channel."""

    def __init__(self, broker: Broker, *, timeout: float, exchange: str) -> None:
        self.broker = broker
        self.blocked = False
        self.process = os.getpid()
        self._exchange = exchange
        self._asked_at: float | None = None
        self._ask_at = 0.0
        self._connection: amqp.Connection = connect(
            broker, timeout=timeout, on_blocked=self._block, on_unblocked=self._unblock
        )
        self._socket = self._connection.sock
        self._selector = selectors.DefaultSelector()
        try:
            self._selector.register(self._socket, selectors.EVENT_READ)
            with translate_errors(broker):
                self._channel: Any = self._connection.channel()
                declare(self._channel, exchange)
        except BaseException:
            self.end()
            raise
        # py-amqp would look for Connection.Blocked before each publish by a read that spins until a whole frame is there.
        self._connection.client_properties["capabilities"]["connection.blocked"] = False

    def send(self, rings: Sequence[tuple[str, str | bytes]]) -> None:
        # What the broker has sent meanwhile: blocked, unblocked, or close.
        while has_read(self._connection) or self._selector.select(0):
            read_once(self._connection)
            self._asked_at = None
        if self.blocked:
            raise Full(f"RabbitMQ at {self.broker} blocks publishing: it is short of memory or disk.")
        if self._asked_at is not None and time.monotonic() - self._asked_at > ANSWER_WITHIN:
            raise TimeoutError(f"no answer for {ANSWER_WITHIN:.0f} s")
        for feed, text in rings:
            body = text.encode() if isinstance(text, str) else text
            message = amqp.Message(body, content_type="application/json", delivery_mode=TRANSIENT)
            self._channel.basic_publish(message, exchange=self._exchange, routing_key=feed)
        self._ask()

    def give_up(self) -> None:
        """Shut the connection down from another thread; a wait on it ends."""
        with suppress(OSError, ValueError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        # First: gevent must not watch what is closed.
        self._selector.close()
        with suppress(*LOST):
            self._connection.collect()

    def _ask(self) -> None:
        """Ask whether the exchange exists, without waiting: whatever is read next is a sign of life."""
        now = time.monotonic()
        if self._asked_at is None and now >= self._ask_at:
            # Passive, so of the flags after it only `nowait` counts: false.
            question: tuple[Any, ...] = (0, self._exchange, "topic", True, False, False, False, False, {})
            self._channel.send_method(spec.Exchange.Declare, "BssbbbbbF", question)
            self._asked_at, self._ask_at = now, now + ASK_EVERY

    def _block(self) -> None:
        self.blocked = True

    def _unblock(self) -> None:
        self.blocked = False

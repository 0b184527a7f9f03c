"""The bus over RabbitMQ: a topic exchange, a queue for each web process, a binding for each followed feed."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from petiole.bus.amqp.connection import Broker, exchange_of, read_url
from petiole.bus.amqp.consumer import Link
from petiole.bus.amqp.publisher import RingPublisher
from petiole.bus.contract import Ring
from petiole.errors import PetioleError, Unavailable
from petiole.logs import logger
from petiole.protocol.events import mint_id
from petiole.settings import Settings

log = logger(__name__)

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0
TICK: Final = 1.0
REFUSED: Final = "RabbitMQ refuses the bus; the log says why."


class AmqpBus:
    """`Bus` on one connection, which only the listening thread reads and writes: py-amqp isn't thread-safe.

    Other threads queue what is to be followed and wake it. Probes are published on another connection, because a broker
    that is short of memory stops reading from publishers.
    """

    def __init__(self, settings: Settings, *, url: str | None = None) -> None:
        given = url or settings.bus_url
        self._brokers = read_url(given)
        self._timeout = settings.journal_timeout
        self._exchange = exchange_of(settings)
        self._prober = RingPublisher(settings, url=given)
        self._probing = threading.Lock()
        # Not the name of a feed, so no reader can follow it.
        self._probe_key = f"probe.{mint_id()}"
        self._probes: dict[bytes, threading.Event] = {}
        self._lock = threading.Lock()
        self._followed: dict[str, threading.Event] = {}
        # Feeds whose bindings have to be checked.
        self._changed: dict[str, None] = {}
        self._link: Link | None = None
        self._closed = threading.Event()
        self.trouble: str | None = None

    def listen(self, ring: Ring, *, on_return: Callable[[], None]) -> None:
        pause = FIRST_PAUSE
        turn = 0
        while not self._closed.is_set():
            try:
                with self._linked(self._brokers[turn % len(self._brokers)]) as link:
                    link.bind([self._probe_key])
                    self._keep_up(link)
                    pause, self.trouble = FIRST_PAUSE, None
                    log.info("bus_connected")
                    on_return()
                    while self._link is link:
                        self._take(link, ring)
                        self._keep_up(link)
            except PetioleError as error:
                turn += 1
                if not self._closed.is_set():
                    # A permanent reason is an error in the log.
                    level = logging.INFO if isinstance(error, Unavailable) else logging.ERROR
                    self.trouble = None if isinstance(error, Unavailable) else REFUSED
                    log.log(level, "bus_lost", extra={"error": str(error), "pause": pause})
            self._closed.wait(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE)

    def follow(self, feed: str, *, timeout: float) -> bool:
        with self._lock:
            confirmed = self._followed.get(feed)
            if confirmed is None:
                confirmed = self._followed[feed] = threading.Event()
                self._change(feed)
        return confirmed.wait(timeout)

    def unfollow(self, feed: str) -> None:
        with self._lock:
            if self._followed.pop(feed, None) is not None:
                self._change(feed)

    def probe(self, *, timeout: float) -> bool:
        token = mint_id().encode()
        arrived = self._probes[token] = threading.Event()
        try:
            with self._probing:
                self._prober.publish([(self._probe_key, token)])
            return arrived.wait(timeout)
        except PetioleError:
            return False
        finally:
            del self._probes[token]

    def restart(self) -> None:
        with self._lock:
            link, self._link = self._link, None
        if link is not None:
            link.give_up()

    def close(self) -> None:
        self._closed.set()
        self.restart()
        self._prober.close()

    def _change(self, feed: str) -> None:
        self._changed[feed] = None
        if self._link is not None:
            self._link.wake()

    @contextmanager
    def _linked(self, broker: Broker) -> Iterator[Link]:
        link = Link(broker, timeout=self._timeout, exchange=self._exchange)
        try:
            with self._lock:
                self._changed = dict.fromkeys(self._followed)
                if not self._closed.is_set():
                    self._link = link
            yield link
        finally:
            with self._lock:
                self._link = None
                for confirmed in self._followed.values():
                    confirmed.clear()
            link.end()

    def _keep_up(self, link: Link) -> None:
        """Bind and unbind what has changed: all new bindings first, because readers wait for them, then one unbinding."""
        if not self._changed:
            return
        with self._lock:
            changed, self._changed = list(self._changed), {}
            wanted = [feed for feed in changed if feed in self._followed]
            left = [feed for feed in changed if feed not in self._followed and feed in link.bound]
        link.bind([feed for feed in wanted if feed not in link.bound])
        with self._lock:
            for feed in wanted:
                if feed in self._followed:
                    self._followed[feed].set()
            self._changed.update(dict.fromkeys(left[1:]))
        for feed in left[:1]:
            link.unbind(feed)

    def _take(self, link: Link, ring: Ring) -> None:
        """Handle the rings that have arrived, or wait a moment for some."""
        for feed, text in link.receive(0.0 if self._changed else TICK):
            if feed == self._probe_key:
                arrived = self._probes.get(text)
                if arrived is not None:
                    arrived.set()
            elif feed in self._followed:
                ring(feed, text)

"""The bus over Redis pub/sub: one connection a process, one channel a followed feed. The journal's scripts ring."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import redis
from redis.exceptions import RedisError

from petiole.bus.contract import Ring
from petiole.bus.ringer import Publish
from petiole.errors import MissingRight, PetioleError
from petiole.logs import logger
from petiole.protocol.events import mint_id
from petiole.redis.client import connect_one
from petiole.redis.errors import translate_errors, translated
from petiole.redis.keys import Keys
from petiole.settings import Settings

log = logger(__name__)

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 0.5
CHANNELS_PER_COMMAND: Final = 1000


class RedisBus:
    """`Bus` on one subscribed connection. Reading and sending share it: both directions are independent.

    With `client` it listens there instead of at the URL's server.
    """

    # The commands and Redis's replies to them; a cluster has others.
    subscribe, unsubscribe = "SUBSCRIBE", "UNSUBSCRIBE"
    message, confirmation = b"message", b"subscribe"

    def __init__(self, settings: Settings, *, url: str | None = None, client: redis.Redis | None = None) -> None:
        self._settings = settings
        self._url = url or settings.journal_url
        self._client = client or connect_one(settings, url=self._url)
        self._keys = Keys(settings.key_prefix, self._client)
        self._probe_channel = f"{settings.key_prefix}:probe:{mint_id()}"
        self._probes: dict[bytes, threading.Event] = {}
        self._confirmed: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        self._connection: Any = None
        self._closed = threading.Event()
        self.trouble: str | None = None

    def listen(self, ring: Ring, *, on_return: Callable[[], None]) -> None:
        pause = FIRST_PAUSE
        while not self._closed.is_set():
            connection = self._make_connection()
            try:
                self._subscribe_all(connection)
                while self._connection is connection:
                    message = self._read(connection)
                    if message is not None and self._take(message, ring):
                        pause, self.trouble = FIRST_PAUSE, None
                        log.info("bus_connected")
                        on_return()
            except (RedisError, OSError) as error:
                if not self._closed.is_set():
                    self._log_lost(error, pause)
            finally:
                with self._lock:
                    self._connection = None
                    for confirmed in self._confirmed.values():
                        confirmed.clear()
                connection.disconnect()
            self._lost()
            self._closed.wait(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE)

    def follow(self, feed: str, *, timeout: float) -> bool:
        with self._lock:
            confirmed = self._confirmed.get(feed)
            if confirmed is None:
                confirmed = self._confirmed[feed] = threading.Event()
                self._send(self.subscribe, [self._keys.channel(feed)])
        return confirmed.wait(timeout)

    def unfollow(self, feed: str) -> None:
        with self._lock:
            if self._confirmed.pop(feed, None) is not None:
                self._send(self.unsubscribe, [self._keys.channel(feed)])

    def probe(self, *, timeout: float) -> bool:
        token = mint_id().encode()
        arrived = self._probes[token] = threading.Event()
        try:
            with translate_errors(self._url):
                self._publish(self._probe_channel, token)
            return arrived.wait(timeout)
        except (PetioleError, AttributeError, ValueError):
            # The last two: what redis-py raises where `close` closes the connection meanwhile.
            return False
        finally:
            del self._probes[token]

    def restart(self) -> None:
        with self._lock:
            self._drop()

    def close(self) -> None:
        self._closed.set()
        self.restart()
        self._client.close()

    def _make_connection(self) -> Any:
        pool = self._client.connection_pool
        return pool.connection_class(**pool.connection_kwargs)

    def _subscribe_all(self, connection: Any) -> None:
        connection.connect()
        with self._lock:
            if self._closed.is_set():
                connection.disconnect()
                return
            self._connection = connection
            for channels in self._batches([self._keys.channel(feed) for feed in self._confirmed]):
                connection.send_command(self.subscribe, *channels)
            # Last, so its confirmation confirms all of them.
            connection.send_command(self.subscribe, self._probe_channel)

    def _send(self, command: str, channels: Sequence[str]) -> None:
        if self._connection is None:
            return
        try:
            self._connection.send_command(command, *channels)
        except (RedisError, OSError):
            self._drop()

    def _drop(self) -> None:
        # Reset first: redis-py reconnects when it sends on a closed connection, and that connection would follow
        # nothing but what was just sent.
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()

    def _read(self, connection: Any) -> Any:
        """Return the next message; `None` where none came within redis-py's timeout.

        Raises:
            redis.RedisError, OSError: the connection has ended, or was dropped.
        """
        try:
            return connection.read_response(disconnect_on_error=False)
        except redis.TimeoutError:
            return None
        except (AttributeError, ValueError) as error:
            if self._connection is connection:
                raise
            # What redis-py raises where another thread closes the connection while it reads.
            raise redis.ConnectionError("The connection was dropped.") from error

    def _take(self, message: Sequence[Any], ring: Ring) -> bool:
        """Handle one message; true if it confirms that all feeds are followed."""
        kind, channel, value = message[0], message[1].decode(), message[2]
        if kind == self.message:
            if channel == self._probe_channel:
                arrived = self._probes.get(value)
                if arrived is not None:
                    arrived.set()
            else:
                ring(self._keys.feed_of(channel), value)
        elif kind == self.confirmation:
            if channel == self._probe_channel:
                return True
            confirmed = self._confirmed.get(self._keys.feed_of(channel))
            if confirmed is not None:
                confirmed.set()
        else:
            self._ended(channel)
        return False

    def _log_lost(self, error: Exception, pause: float) -> None:
        said, before = translated(error, self._url), self.trouble
        self.trouble = said.missing if isinstance(said, MissingRight) else None
        # A permanent reason is an error in the log, once.
        level = logging.ERROR if self.trouble is not None and before is None else logging.INFO
        log.log(level, "bus_lost", extra={"error": str(said), "pause": pause})

    def _publish(self, channel: str, token: bytes) -> None:
        self._client.publish(channel, token)

    def _batches(self, channels: Sequence[str]) -> Iterable[Sequence[str]]:
        """Return the channels in the groups that one command may name."""
        return (channels[at : at + CHANNELS_PER_COMMAND] for at in range(0, len(channels), CHANNELS_PER_COMMAND))

    def _ended(self, channel: str) -> None:
        """Handle the end of a subscription, which on a single server was requested."""

    def _lost(self) -> None:
        """Called when the connection has ended, before the reconnect."""


def redis_publisher(settings: Settings, *, url: str) -> Publish:
    """Return the function that publishes rings to a `RedisBus` of the same URL."""
    client = connect_one(settings, url=url)
    keys = Keys(settings.key_prefix, client)

    def publish(rings: Sequence[tuple[str, str | bytes]]) -> None:
        with translate_errors(url):
            pipeline = client.pipeline(transaction=False)
            for feed, text in rings:
                pipeline.publish(keys.channel(feed), text)
            pipeline.execute()

    return publish

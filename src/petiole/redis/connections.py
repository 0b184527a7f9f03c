"""Commands over connections that are kept from one call to the next.

redis-py takes a connection out of its pool for each command, returns it, and counts both for its metrics
(`python -m benchmarks worker` measures an append). redis-py still connects, logs in, follows Sentinels and parses.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeAlias, cast

import hiredis
import redis
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError

from petiole.logs import logger
from petiole.redis.client import Client
from petiole.redis.cluster import Cluster

log = logger(__name__)

# A connection that answered within so many seconds is used unchecked: no server restarts as fast.
TRUSTED_FOR: Final = 0.002
# The same for callers that must not block: what is lost with the connection is sent again.
TRUSTED_NOW: Final = 1.0

# The room in an idle connection's send buffer, in bytes: half of what Linux gives a new one (`net.ipv4.tcp_wmem`, 16 KiB).
SENT_AT_ONCE: Final = 8192

# No numbers: hiredis calls `repr` on one, and if a signal handler raises there (a soft time limit) the process aborts.
Command: TypeAlias = tuple[str | bytes, ...]
# A connection, the instant of its last reply, and how many replies are owed on it.
_Kept: TypeAlias = tuple[Any, float, int]
# Waits for the replies of commands.
Replies: TypeAlias = Callable[[], list[Any]]
_pack: Callable[[Command], bytes] = cast(Any, hiredis.pack_command)


class Awaited:
    """The replies to commands that were sent; `read` reads them from the connection. Calling this waits for them."""

    def __init__(self, connection: Any, read: Replies) -> None:
        self._connection = connection
        self._read: Replies | None = read
        # The result if a signal interrupts the reading: another call may have the connection by then.
        self._replies: list[Any] | RedisError = redis.ConnectionError("The reading of the replies was interrupted.")

    def __call__(self) -> list[Any]:
        read, self._read = self._read, None
        if read is not None:
            try:
                self._replies = read()
            except RedisError as error:
                self._replies = error
        if isinstance(self._replies, RedisError):
            raise self._replies
        return self._replies

    def heard(self) -> list[Any] | None:
        """Return the replies if they have arrived; also `None` if one is an error, which a call raises."""
        with suppress(RedisError, OSError):
            if self._read is None or self._connection.can_read():
                return self()
        return None


class Calls:
    """Sends commands to the node of their keys. Thread-safe: each pending call has a connection of its own."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._process = os.getpid()
        # The idle connections.
        self._kept: list[_Kept] = []

    def __call__(self, *commands: Command) -> list[Any]:
        """Send the commands in one round trip, and return their replies in order.

        Raises:
            redis.RedisError: a reply was an error, and the first such; or the connection ended. Nothing is sent twice.
        """
        return self.begin(*commands)()

    def begin(self, *commands: Command) -> Replies:
        """Send the commands, and return the function that waits for their replies; call it exactly once.

        Raises:
            redis.RedisError: there is no connection.
        """
        if isinstance(self._client, Cluster):
            return functools.partial(_call_cluster, self._client, *commands)
        connection = self._take() or self._client.connection_pool.get_connection()
        self._send(connection, b"".join(map(_pack, commands)))
        return functools.partial(self._read, connection, len(commands))

    def begin_now(self, *commands: Command) -> Awaited | None:
        """As `begin`, for callers that must not block: `None` if no connection is idle, or the send buffer may be too small."""
        packed = b"".join(map(_pack, commands))
        if isinstance(self._client, Cluster) or len(packed) > SENT_AT_ONCE:
            return None
        connection = self._take(wait=False)
        if connection is None:
            return None
        self._send(connection, packed)
        return Awaited(connection, functools.partial(self._read, connection, len(commands)))

    def tell(self, *commands: Command) -> None:
        """Send the commands without waiting for their replies; an error reply is logged.

        Raises:
            redis.RedisError: there is no connection.
        """
        if isinstance(self._client, Cluster):
            _call_cluster(self._client, *commands)
            return
        connection = self._take() or self._client.connection_pool.get_connection()
        self._send(connection, b"".join(map(_pack, commands)))
        self._kept.append((connection, time.monotonic(), len(commands)))

    def _send(self, connection: Any, packed: bytes) -> None:
        try:
            connection.send_packed_command([packed], check_health=False)
        except BaseException:
            self._drop(connection)
            raise

    def _read(self, connection: Any, number: int) -> list[Any]:
        refused: ResponseError | None = None
        replies = []
        try:
            for _ in range(number):
                try:
                    replies.append(connection.read_response())
                except ResponseError as error:
                    refused = refused or error
        except BaseException:
            # Pending replies on it would be taken for those of the next call.
            self._drop(connection)
            raise
        if refused is None or isinstance(refused, NoScriptError):
            self._kept.append((connection, time.monotonic(), 0))
        else:
            # A new connection may lead elsewhere: to the new master where this server has become a replica, or to a user with
            # other rights. On this one the reply would stay the same.
            self._drop(connection)
            if "READONLY" in str(refused) or isinstance(refused, ReadOnlyError):
                self._drop_kept()
        if refused is not None:
            raise refused
        return replies

    def _drop(self, connection: Any) -> None:
        connection.disconnect()
        self._client.connection_pool.release(connection)

    def _drop_kept(self) -> None:
        """Close the idle connections: they lead to the same server."""
        kept, self._kept = self._kept, []
        for connection, *_ in kept:
            self._drop(connection)

    def close(self) -> None:
        """Return the connections to the client's pool."""
        kept, self._kept = self._kept, []
        if self._process == os.getpid():
            for connection, _, owed in kept:
                if owed:
                    # Its pending replies would be taken for those of the next call.
                    connection.disconnect()
                self._client.connection_pool.release(connection)

    def _take(self, *, wait: bool = True) -> Any:
        """Return an open idle connection, or `None`; without `wait`, one without pending replies."""
        if self._process != os.getpid():
            # After a fork they are the parent's; redis-py closes its copies without telling the server.
            self._kept, self._process = [], os.getpid()
        try:
            kept = self._kept.pop()
        except IndexError:
            return None
        connection, used, owed = kept
        if owed and not wait:
            self._kept.append(kept)
            return None
        trusted = time.monotonic() - used < (TRUSTED_FOR if wait else TRUSTED_NOW)
        if (not owed or _answered(connection, owed)) and (trusted or _stands(connection)):
            return connection
        self._drop(connection)
        return None


def _answered(connection: Any, owed: int) -> bool:
    """Read the pending replies; says whether all arrived and none was an error."""
    answered = True
    for _ in range(owed):
        try:
            connection.read_response()
        except ResponseError as error:
            log.warning("command_refused", extra={"error": str(error)})
            answered = False
        except (RedisError, OSError):
            return False
    return answered


def _stands(connection: Any) -> bool:
    """Say whether a connection is open and has no unexpected input."""
    with suppress(RedisError, OSError):
        return not connection.can_read()
    return False


def _call_cluster(cluster: Cluster, *commands: Command) -> list[Any]:
    if len(commands) == 1:
        return [cluster.execute_command(*commands[0])]
    pipeline = cluster.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    return pipeline.execute()

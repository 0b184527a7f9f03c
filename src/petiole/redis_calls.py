"""Commands over connections that are kept from one call to the next.

redis-py takes a connection out of its pool for each command, gives it back, and counts all that for its metrics
(`python -m benchmarks worker` shows what an append costs). What connects, logs in, follows a Sentinel and parses is redis-py
all the same.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeAlias, cast

import hiredis
from redis.exceptions import RedisError, ResponseError

from petiole.connection import Client
from petiole.redis_cluster import Cluster

# A connection that has answered within so many seconds is used without a look at it: no server restarts as fast.
TRUSTED_FOR: Final = 0.005

Command: TypeAlias = tuple[str | int, ...]
_pack: Callable[[Command], bytes] = cast(Any, hiredis.pack_command)


class Calls:
    """Sends commands to where their keys are. Thread-safe; each call that is under way has a connection of its own."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._process = os.getpid()
        # The connections that no call has just now, each with the instant of its last reply.
        self._kept: list[tuple[Any, float]] = []

    def __call__(self, *commands: Command) -> list[Any]:
        """Send the commands in one round trip, and return their replies in order.

        Raises:
            redis.RedisError: a reply was an error, and the first such; or the connection ended. Nothing is sent twice.
        """
        if isinstance(self._client, Cluster):
            return _call_cluster(self._client, *commands)
        connection = self._take(self._client.connection_pool)
        refused: ResponseError | None = None
        replies = []
        try:
            packed = b"".join(map(_pack, commands))
            connection.send_packed_command([packed], check_health=False)
            for _ in commands:
                try:
                    replies.append(connection.read_response())
                except ResponseError as error:
                    refused = refused or error
        except BaseException:
            # Replies may be owed on it, which the next call would take for its own.
            connection.disconnect()
            self._client.connection_pool.release(connection)
            raise
        self._kept.append((connection, time.monotonic()))
        if refused is not None:
            raise refused
        return replies

    def close(self) -> None:
        """Give the connections back to the client."""
        kept, self._kept = self._kept, []
        if self._process == os.getpid():
            for connection, _ in kept:
                self._client.connection_pool.release(connection)

    def _take(self, pool: Any) -> Any:
        if self._process != os.getpid():
            # Forked: they are the parent's, and redis-py closes them here without a word to the server.
            self._kept, self._process = [], os.getpid()
        try:
            connection, used = self._kept.pop()
        except IndexError:
            return pool.get_connection()
        if time.monotonic() - used < TRUSTED_FOR or _stands(connection):
            return connection
        connection.disconnect()
        pool.release(connection)
        return pool.get_connection()


def _stands(connection: Any) -> bool:
    """Say whether a connection is open, and nothing has come on it that nobody asked for."""
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

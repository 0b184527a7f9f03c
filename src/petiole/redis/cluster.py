"""A client of a Redis Cluster: sends each command to the node that holds its key, in one call that fails once.

redis-py's own cluster client connects in its constructor. After a failure it reads the layout from one node after the other,
each with the whole timeout, before the call returns (`python -m benchmarks.cluster`). Here redis-py's ordinary client speaks
to each node, and this decides to which.
"""

from __future__ import annotations

import random
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, TypeVar

import redis
from redis.connection import parse_url
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, ReadOnlyError, RedisError, TryAgainError

from petiole.redis.url import RedisUrl

REDIRECTS: Final = 5

Node: TypeAlias = tuple[str, int]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Layout:
    """Which node is the master of which slots: ranges in order, each with its first slot, its last, and its nodes."""

    firsts: tuple[int, ...]
    ranges: tuple[tuple[int, int, tuple[Node, ...]], ...]

    @classmethod
    def of_reply(cls, reply: Iterable[Any], *, asked: Node) -> Layout:
        """Read the reply of `CLUSTER SLOTS`; a node without an address is the one that was asked."""
        ranges = sorted((row[0], row[1], tuple(_node(each, asked) for each in row[2:])) for row in reply)
        return cls(tuple(first for first, _, _ in ranges), tuple(ranges))

    def master(self, slot: int) -> Node | None:
        """Return the master of a slot, if it has one."""
        at = bisect_right(self.firsts, slot) - 1
        if at < 0 or slot > self.ranges[at][1]:
            return None
        return self.ranges[at][2][0]

    @property
    def masters(self) -> list[Node]:
        return list(dict.fromkeys(nodes[0] for _, _, nodes in self.ranges))

    @property
    def nodes(self) -> list[Node]:
        return list(dict.fromkeys(node for _, _, nodes in self.ranges for node in nodes))


class Cluster:
    """Sends commands by key. Thread-safe and lock-free, so a forked process may go on with it.

    All calls share the layout. A node that failed is asked again only after the layout was read from another one.
    """

    def __init__(self, url: RedisUrl, options: Mapping[str, Any], *, timeout: float) -> None:
        parsed: list[dict[str, Any]] = [parse_url(text) for text in url.urls]  # type: ignore[no-untyped-call]
        self._seeds: list[Node] = [(each.pop("host"), each.pop("port")) for each in parsed]
        parsed[0].pop("db", None)
        self._options: dict[str, Any] = {**parsed[0], **options}
        self._timeout = timeout
        self._clients: dict[Node, redis.Redis] = {}
        self._layout: Layout | None = None
        self._failed: frozenset[Node] = frozenset()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command that has a key, and follow where the cluster sends it.

        Raises:
            redis.RedisError: as redis-py raises it; `TryAgainError` after too many redirects.
        """
        node = self.owner(_key_of(args))
        asking = False
        for _ in range(REDIRECTS):
            client: Any = self.client(node)
            try:
                if not asking:
                    return client.execute_command(*args, **options)
                with client.pipeline(transaction=False) as pipeline:
                    pipeline.execute_command("ASKING")
                    pipeline.execute_command(*args, **options)
                    return pipeline.execute()[1]
            except MovedError as error:
                node, asking = (error.host or node[0], error.port), False
                self.look(first=node)
            except AskError as error:
                node, asking = (error.host or node[0], error.port), True
            except (redis.ConnectionError, redis.TimeoutError, ClusterDownError, OSError):
                self.suspect(node)
                raise
            except ReadOnlyError:
                self.leave(node)
                raise
        raise TryAgainError("The cluster's nodes redirect a command to each other.")

    def pipeline(self, *, transaction: Literal[False]) -> ClusterPipeline:
        """Return a pipeline of commands that may go to different nodes; each node's go in one round trip."""
        assert not transaction
        return ClusterPipeline(self)

    def ping(self, **_options: Any) -> bool:
        """Ask a node whether the cluster works.

        Raises:
            redis.RedisError: no node answers, or `ClusterDownError`.
        """

        def works(_node: Node, client: Any) -> bool:
            state = client.execute_command("CLUSTER INFO")["cluster_state"]
            if state != "ok":
                raise ClusterDownError(f"its state is {state}")
            return True

        return self._ask_one(works)

    def masters(self) -> Sequence[Node]:
        """Return the current masters."""
        return self.look().masters

    def owner(self, key: str | bytes) -> Node:
        """Return the node that holds a key, by the known layout.

        Raises:
            redis.RedisError: the layout had to be read, and no node answered.
        """
        node = self.known_owner(key)
        if node is None or node in self._failed:
            self.look()
            node = self.known_owner(key)
        if node is None:
            raise ClusterDownError("A slot of the cluster has no node.")
        return node

    def known_owner(self, key: str | bytes) -> Node | None:
        """Return the node that held a key when the layout was last read; sends nothing."""
        layout = self._layout
        return layout.master(key_slot(key.encode() if isinstance(key, str) else key)) if layout else None

    def client(self, node: Node) -> redis.Redis:
        """Return the client of one node."""
        found = self._clients.get(node)
        return found or self._clients.setdefault(node, self._connect(node, self._timeout))

    def suspect(self, node: Node) -> None:
        """Mark a node as failed: the layout is read from another one before it is asked again."""
        self._failed |= {node}

    def leave(self, node: Node) -> None:
        """Close the connections to a node that has become a replica: it would refuse every write on them."""
        self.suspect(node)
        self.client(node).connection_pool.disconnect(inuse_connections=False)

    def look(self, *, first: Node | None = None) -> Layout:
        """Read the layout: from `first`, then from the known nodes, last from those that failed.

        Takes at most half of a call's time, so that the call itself has the other half.

        Raises:
            redis.RedisError: no node answered.
        """

        def read(node: Node, client: Any) -> Layout:
            layout = Layout.of_reply(client.execute_command("CLUSTER SLOTS"), asked=node)
            if not layout.ranges:
                raise ClusterDownError(f"{node[0]}:{node[1]} knows no slots")
            return layout

        layout = self._ask_one(read, first=first)
        self._layout, self._failed = layout, frozenset()
        return layout

    def _ask_one(self, question: Callable[[Node, Any], T], *, first: Node | None = None) -> T:
        """Ask the nodes in turn until one answers, each on a new connection and for a share of the time."""
        known = [*(self._layout.nodes if self._layout else ()), *self._seeds]
        random.shuffle(known)
        known.sort(key=lambda node: node in self._failed)
        deadline = time.monotonic() + self._timeout / 2
        trouble: Exception | None = None
        for node in dict.fromkeys([*([first] if first else ()), *known]):
            try:
                with self._connect(node, self._timeout / 4) as client:
                    return question(node, client)
            except (RedisError, OSError) as error:
                trouble = error
            if time.monotonic() >= deadline:
                break
        assert trouble is not None
        raise trouble

    @property
    def connection_pool(self) -> redis.ConnectionPool:
        """The pool of one of the nodes, for its options."""
        return self.client(self._seeds[0]).connection_pool

    def get_connection_kwargs(self) -> dict[str, Any]:
        """Return the connections' options, as `redis.Redis` does."""
        return self._options

    def close(self) -> None:
        """Close the idle connections."""
        for client in list(self._clients.values()):
            client.close()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _connect(self, node: Node, timeout: float) -> redis.Redis:
        host, port = node
        waits = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        return redis.Redis.from_pool(redis.ConnectionPool(**{**self._options, **waits, "host": host, "port": port}))


class ClusterPipeline:
    """Commands that are sent together, grouped by node; the replies have the order of the commands."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._waiting: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def execute_command(self, *args: Any, **options: Any) -> ClusterPipeline:
        """Queue a command that has a key."""
        self._waiting.append((args, options))
        return self

    def execute(self) -> list[Any]:
        """Send the commands, and return their replies.

        Raises:
            redis.RedisError: the first error; the other commands have taken effect.
        """
        waiting, self._waiting = self._waiting, []
        by_node: dict[Node, list[int]] = {}
        for at, (args, _) in enumerate(waiting):
            by_node.setdefault(self._cluster.owner(_key_of(args)), []).append(at)
        replies: list[Any] = [None] * len(waiting)
        for node, places in by_node.items():
            pipeline: Any = self._cluster.client(node).pipeline(transaction=False)
            for at in places:
                args, options = waiting[at]
                pipeline.execute_command(*args, **options)
            try:
                answers = pipeline.execute(raise_on_error=False)
            except (redis.ConnectionError, redis.TimeoutError, OSError):
                self._cluster.suspect(node)
                raise
            for at, answer in zip(places, answers, strict=True):
                replies[at] = answer
        for at, answer in enumerate(replies):
            if isinstance(answer, AskError):  # moved or moving: each by the rule of a single command
                args, options = waiting[at]
                replies[at] = self._cluster.execute_command(*args, **options)
            elif isinstance(answer, Exception):
                if isinstance(answer, ClusterDownError | ReadOnlyError):
                    self._cluster.leave(self._cluster.owner(_key_of(waiting[at][0])))
                raise answer
        return replies


def _key_of(args: Sequence[Any]) -> str | bytes:
    key: str | bytes = args[3] if str(args[0]).upper() in ("EVAL", "EVALSHA") else args[1]
    return key


def _node(row: Sequence[Any], asked: Node) -> Node:
    host = row[0].decode() if isinstance(row[0], bytes) else row[0]
    return (host if host and host != "?" else asked[0], int(row[1]))

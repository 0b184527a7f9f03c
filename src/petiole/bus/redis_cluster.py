"""The bus over a Redis Cluster: one subscribed connection to each master.

From Redis 7.0 on a feed rings within its shard (`SPUBLISH`), so that a ring is one node's work; before, a ring goes to every
node. The journal's scripts and this bus ask the same node the same question which of the two it is, so they always agree.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Final

import redis
from redis.exceptions import RedisError

from petiole.bus.contract import Ring
from petiole.bus.redis import FIRST_PAUSE, RedisBus
from petiole.bus.ringer import Publish
from petiole.logs import logger
from petiole.loop import Loop
from petiole.protocol.events import PARTITIONS, mint_id
from petiole.redis.client import connect_cluster
from petiole.redis.cluster import Cluster, Node
from petiole.redis.errors import translate_errors
from petiole.redis.keys import Keys
from petiole.settings import Settings

log = logger(__name__)

LONGEST_PAUSE: Final = 1.0
CONFIRMED_WITHIN: Final = 2.0
# Asked of the node itself, as the journal's scripts do (`_ring_sharded.lua`).
RINGS_IN_SHARD: Final = "return redis.REDIS_VERSION_NUM and 1 or 0"
RING: Final = "return redis.call(redis.REDIS_VERSION_NUM and 'SPUBLISH' or 'PUBLISH', KEYS[1], ARGV[1])"


class ShardedBus:
    """`Bus` on a cluster. A thread for each node listens; the one that called `listen` moves feeds when their slots move."""

    def __init__(self, settings: Settings, *, url: str | None = None) -> None:
        self._settings = settings
        self._url = url or settings.journal_url
        self._cluster = connect_cluster(settings, url=self._url)
        self._keys = Keys(settings.key_prefix, self._cluster)
        self._lines: dict[Node, _Line] = {}
        # The node at which each feed is followed; `None` until the layout is known.
        self._places: dict[str, _Line | None] = {}
        self._changed = threading.Condition()
        self._look = threading.Event()
        self._closed = threading.Event()
        self._ring: Ring | None = None
        self._on_return: Callable[[], None] = lambda: None

    def listen(self, ring: Ring, *, on_return: Callable[[], None]) -> None:
        self._ring, self._on_return = ring, on_return
        self._look.set()
        while not self._closed.is_set():
            self._look.wait()
            self._look.clear()
            pause = FIRST_PAUSE
            while not self._closed.is_set() and not self._settle():
                self._closed.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    @property
    def trouble(self) -> str | None:
        with self._changed:
            return next((line.trouble for line in self._lines.values() if line.trouble is not None), None)

    def follow(self, feed: str, *, timeout: float) -> bool:
        with self._changed:
            if feed not in self._places:
                self._places[feed] = line = self._line_of(feed)
                if line is None:
                    self._look.set()
                else:
                    line.follow(feed, timeout=0.0)
            if self._places[feed] is None:
                self._changed.wait_for(lambda: self._places.get(feed) is not None, timeout)
            line = self._places.get(feed)
        return line is not None and line.follow(feed, timeout=timeout)

    def unfollow(self, feed: str) -> None:
        with self._changed:
            line = self._places.pop(feed, None)
            if line is not None:
                line.unfollow(feed)

    def probe(self, *, timeout: float) -> bool:
        with self._changed:
            lines = list(self._lines.values())
        heard = bool(lines) and all(line.probe(timeout=timeout) for line in lines)
        if not heard:
            self._look.set()
        return heard

    def restart(self) -> None:
        with self._changed:
            for line in self._lines.values():
                line.restart()

    def close(self) -> None:
        self._closed.set()
        self._look.set()
        with self._changed:
            for line in self._lines.values():
                line.close()
        self._cluster.close()

    def _settle(self) -> bool:
        """Follow every feed where its slot is; true when all of them are confirmed."""
        try:
            self._cluster.look()
        except (RedisError, OSError) as error:
            log.info("cluster_unknown", extra={"error": str(error)})
            return False
        partitions: dict[Node, int] = {}
        for index in range(PARTITIONS):
            node = self._cluster.known_owner(self._keys.leases(index))
            if node is not None:
                partitions.setdefault(node, index)
        begun = {node: line for node in partitions if node not in self._lines and (line := self._make_line(node))}
        with self._changed:
            if self._closed.is_set():
                return True
            gone = [line for node, line in self._lines.items() if node not in partitions]
            self._lines = {node: line for node, line in {**self._lines, **begun}.items() if node in partitions}
            for node, line in self._lines.items():
                line.probe_in(partitions[node])
            moved = self._move()
            self._changed.notify_all()
        for line in gone:
            line.close()
        for line in begun.values():
            line.begin(self._heard, on_return=self._on_return)
        deadline = time.monotonic() + CONFIRMED_WITHIN
        followed = [line.follow(feed, timeout=max(0.0, deadline - time.monotonic())) for feed, line in moved]
        if moved:
            # Rings were lost meanwhile. A reconnect calls `on_return` by itself.
            self._on_return()
        complete = all(followed) and self._lines.keys() == partitions.keys()
        return complete and all(line.connected() for line in self._lines.values())

    def _move(self) -> list[tuple[str, _Line]]:
        moved = []
        for feed, before in self._places.items():
            line = self._line_of(feed)
            if line is not None and line is not before:
                if before is not None:
                    before.unfollow(feed)
                self._places[feed] = line
                line.follow(feed, timeout=0.0)
                moved.append((feed, line))
        return moved

    def _line_of(self, feed: str) -> _Line | None:
        node = self._cluster.known_owner(self._keys.channel(feed))
        return self._lines.get(node) if node else None

    def _make_line(self, node: Node) -> _Line | None:
        client = self._cluster.client(node)
        try:
            kind = _ShardLine if client.eval(RINGS_IN_SHARD, 0) else _Line
        except (RedisError, OSError) as error:
            log.info("node_away", extra={"node": f"{node[0]}:{node[1]}", "error": str(error)})
            return None
        return kind(self._settings, self._cluster, client, url=self._url, lost=self._look.set)

    def _heard(self, feed: str, text: str | bytes) -> None:
        if self._ring is not None:
            self._ring(feed, text)


class _Line(RedisBus):
    """The connection to one node. Before Redis 7.0 every node rings for all feeds, so each connection follows its share."""

    def __init__(
        self,
        settings: Settings,
        cluster: Cluster,
        client: redis.Redis,
        *,
        url: str,
        lost: Callable[[], None],
    ) -> None:
        super().__init__(settings, url=url, client=client)
        self._cluster = cluster
        self._on_lost = lost
        self._probes_here = False

    def probe_in(self, partition: int) -> None:
        """Send probes on the path of the rings: through a slot that this node has."""
        here = self._cluster.known_owner(f"{{{partition:02}}}")
        if not self._probes_here or self._cluster.known_owner(self._probe_channel) != here:
            self._probes_here = True
            self._probe_channel = f"{self._settings.key_prefix}:{{{partition:02}}}:probe:{mint_id()}"

    def begin(self, ring: Ring, *, on_return: Callable[[], None]) -> None:
        """Listen in a thread of its own until `close`."""

        def listen() -> float:
            # Returns when it is closed.
            self.listen(ring, on_return=on_return)
            loop.close()
            return 0.0

        loop = Loop("listening to a node", listen, longest=LONGEST_PAUSE)
        threading.Thread(target=loop.run, name="petiole-bus", daemon=True).start()

    def connected(self) -> bool:
        """Say whether it is connected and listening."""
        return self._connection is not None

    def close(self) -> None:
        # The client belongs to the cluster.
        self._closed.set()
        self.restart()

    def _lost(self) -> None:
        if not self._closed.is_set():
            self._on_lost()


class _ShardLine(_Line):
    """The connection to one node of Redis 7.0 or newer, which rings for the feeds of its own slots."""

    subscribe, unsubscribe = "SSUBSCRIBE", "SUNSUBSCRIBE"
    message, confirmation = b"smessage", b"ssubscribe"

    def _publish(self, channel: str, token: bytes) -> None:
        self._cluster.execute_command("SPUBLISH", channel, token)

    def _batches(self, channels: Sequence[str]) -> Iterable[Sequence[str]]:
        # One command may name the channels of one slot only.
        for _, same in groupby(sorted(channels), key=lambda channel: channel.partition("}")[0]):
            yield from super()._batches(list(same))

    def _ended(self, channel: str) -> None:
        # Not requested: the slot has moved to another node, and its other feeds with it. All subscribe again.
        confirmed = self._confirmed.get(self._keys.feed_of(channel))
        if channel == self._probe_channel or (confirmed is not None and confirmed.is_set()):
            raise redis.ConnectionError(f"{channel} has moved to another node.")


def cluster_publisher(settings: Settings, *, url: str) -> Publish:
    """Return the function that publishes rings to a `ShardedBus` of the same URL."""
    client = connect_cluster(settings, url=url)
    keys = Keys(settings.key_prefix, client)

    def publish(rings: Sequence[tuple[str, str | bytes]]) -> None:
        with translate_errors(url):
            pipeline = client.pipeline(transaction=False)
            for feed, text in rings:
                pipeline.execute_command("EVAL", RING, 1, keys.channel(feed), text)
            pipeline.execute()

    return publish

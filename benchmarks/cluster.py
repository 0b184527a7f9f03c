"""How long a call takes while every node of a Redis Cluster is frozen: by Petiole's cluster client, and by redis-py's.

Not among the benchmarks of `python -m benchmarks all`: it is the reason for `petiole/redis/cluster.py`. Run it by
`python -m benchmarks.cluster` when redis-py is upgraded.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisClusterException, RedisError
from redis.retry import Retry

from petiole.redis.client import connect
from petiole.settings import Settings
from tests.support.redis_cluster import ClusterServer
from tests.support.waiting import wait_until

TIMEOUT: Final = 1.5
node_at: Callable[[str, int], ClusterNode] = ClusterNode


def main() -> None:
    """Measure both on one cluster, three masters with a replica each."""
    with tempfile.TemporaryDirectory() as directory:
        server = ClusterServer("redis-server", Path(directory))
        server.start()
        clients: dict[str, Callable[[], Any]] = {
            "petiole": lambda: connect(Settings(journal_url=server.url, journal_timeout=TIMEOUT)),
            "redis-py": lambda: RedisCluster(
                startup_nodes=[node_at("127.0.0.1", node.port) for node in server.nodes[: server.masters]],
                socket_timeout=TIMEOUT,
                socket_connect_timeout=TIMEOUT,
                retry=Retry(NoBackoff(), 0),
            ),
        }
        try:
            for name, make in clients.items():
                client = make()
                client.execute_command("SET", "key", "1")
                for node in server.nodes:
                    node.pause()
                called, made = seconds(partial(client.execute_command, "GET", "key")), seconds(make)
                print(
                    f"{name:<10}a call: {called:5.2f} s, a new client: {made:5.2f} s (timeout {TIMEOUT} s)", flush=True
                )
                for node in server.nodes:
                    node.resume()
                wait_until(server.is_whole, timeout=20, what="the cluster works again")
        finally:
            server.kill()


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call took, whether it succeeded or not."""
    began = time.perf_counter()
    # redis-py's cluster client raises an error that is no `RedisError` where no node answers.
    with suppress(RedisError, RedisClusterException):
        call()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()

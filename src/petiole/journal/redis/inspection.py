"""What a Redis server is set to that weakens the promise, each in a sentence with its remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from petiole.redis.client import Client
from petiole.redis.cluster import Cluster
from petiole.redis.url import Kind, address, hosts, kind_of

OLDEST: Final = (6, 2)
# The fewest that still agree on a failover when one of them is away: https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/
FEWEST_SENTINELS: Final = 3


def inspect(client: Client, url: str) -> Sequence[str]:
    """Look at the server, the master, or each master of the cluster.

    Raises:
        redis.RedisError: one of them doesn't answer.
    """
    if isinstance(client, Cluster):
        found = []
        for node in client.masters():
            where = f"{node[0]}:{node[1]}"
            info = client.client(node).info()
            found += [*_keeping(info, where), *_replicas(info, where)]
        return found
    info = client.info()
    if kind_of(url) is Kind.SENTINEL:
        pool: Any = client.connection_pool
        where = ":".join(map(str, pool.get_master_address()))
        return [*_keeping(info, where), *_replicas(info, where), *_sentinels(pool)]
    wrong = _other_kind(info, hosts(url))
    return [wrong] if wrong else _keeping(info, address(url))


def _keeping(info: Mapping[str, Any], where: str) -> list[str]:
    found = []
    if tuple(int(part) for part in str(info["redis_version"]).split(".")[:2]) < OLDEST:
        found.append(f"Redis at {where} is {info['redis_version']}; Petiole needs 6.2 or newer. Upgrade it.")
    if not info.get("aof_enabled"):
        found.append(
            f"Redis at {where} keeps no append-only file and forgets feeds when it restarts. Set appendonly yes."
        )
    if info.get("maxmemory") and info.get("maxmemory_policy") != "noeviction":
        policy = info.get("maxmemory_policy")
        found.append(f"Redis at {where} may evict feeds ({policy}). Set maxmemory-policy noeviction.")
    return found


def _replicas(info: Mapping[str, Any], where: str) -> list[str]:
    if not info.get("connected_slaves"):
        return [f"Redis at {where} has no replica, so nothing takes over when it fails. Give it one."]
    # Redis says how many replicas are good only where it was told how many it needs.
    if "min_slaves_good_slaves" not in info:
        return [
            f"Redis at {where} goes on alone when it is cut off, and what it acknowledges then is lost at the failover. Set "
            "min-replicas-to-write 1."
        ]
    return []


def _sentinels(pool: Any) -> list[str]:
    state = pool.sentinel_manager.sentinels[0].sentinel_master(pool.service_name)
    count = int(state["num-other-sentinels"]) + 1
    if count >= FEWEST_SENTINELS:
        return []
    watch = "Sentinel watches" if count == 1 else "Sentinels watch"
    return [f"Only {count} {watch} {pool.service_name!r}, and a failover needs a majority. Run three."]


def _other_kind(info: Mapping[str, Any], where: str) -> str:
    if info.get("redis_mode") == "sentinel":
        return (
            f"{where} is a Sentinel, which keeps nothing. Set PETIOLE_JOURNAL_URL to redis+sentinel://{where}/<master>."
        )
    if info.get("cluster_enabled"):
        return f"Redis at {where} is a node of a cluster. Set PETIOLE_JOURNAL_URL to redis+cluster://{where}."
    return ""

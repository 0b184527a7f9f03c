"""A Redis Cluster on loopback: three masters with a replica each, in separate processes."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from petiole.servers.redis import free_port
from tests.support.redis import RedisServer
from tests.support.waiting import wait_until

SLOTS = 16384
NODE_TIMEOUT_MS = 1500
BUS_OFFSET = 10_000


class ClusterServer:
    """Six nodes. A node keeps its port and its directory through every restart."""

    def __init__(self, binary: str, directory: Path, *, masters: int = 3, replicas: int = 3) -> None:
        self.masters = masters
        options = (
            *("--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS)),
            *("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"),
        )
        self.nodes = [
            RedisServer(binary, directory / f"node{number}", port=port_with_bus(), append_only=False, options=options)
            for number in range(masters + replicas)
        ]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[: self.masters])

    def start(self) -> None:
        """Start the nodes, and wait until all agree that the cluster works and every master has its replicas."""
        for node in self.nodes:
            node.start()
        ids = []
        for number, node in enumerate(self.nodes):
            with at(node) as client:
                ids.append(ask(client, "CLUSTER", "MYID").decode())
                ask(client, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                if number < self.masters:
                    first, end = (SLOTS * at // self.masters for at in (number, number + 1))
                    ask(client, "CLUSTER", "ADDSLOTS", *range(first, end))
        for node in self.nodes[1:]:
            with at(node) as client:
                ask(client, "CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        wait_until(
            lambda: all(self._knows(node, len(ids)) for node in self.nodes),
            timeout=20,
            what="all nodes know each other",
        )
        for number, node in enumerate(self.nodes[self.masters :]):
            with at(node) as client:
                ask(client, "CLUSTER", "REPLICATE", ids[number % self.masters])
        wait_until(self.is_whole, timeout=20, what="the cluster works and every replica follows its master")
        if len(self.nodes) > self.masters:
            self.catch_up()

    def catch_up(self) -> None:
        """Wait until a replica of each master has caught up: a master sends it nothing before its first request."""
        masters = {self.master_of(f"{{{number:02}}}").port: f"catch-up:{{{number:02}}}" for number in range(64)}
        for port, key in masters.items():
            with at(self.by_port(port)) as client:
                client.set(key, "x")
                wait_until(
                    lambda client=client: client.wait(1, 500) >= 1,  # type: ignore[misc]
                    timeout=10,
                    what=f"a replica of {port} has caught up",
                )

    def is_whole(self) -> bool:
        """Whether every node reports the cluster as working, and every replica has caught up with its master."""
        return all(self.state_of(node) == "ok" and self._in_step(node) for node in self.nodes)

    def state_of(self, node: RedisServer) -> str:
        with at(node) as client:
            found: dict[str, str] = client.execute_command("CLUSTER INFO")
            return found["cluster_state"]

    def master_of(self, key: str) -> RedisServer:
        """Return the present master of a key's slot, by the majority of the nodes that answer."""
        named = []
        for node in self.nodes:
            with contextlib.suppress(redis.RedisError), at(node) as client:
                slot = client.execute_command("CLUSTER KEYSLOT", key)
                named += [row[2][1] for row in client.execute_command("CLUSTER SLOTS") if row[0] <= slot <= row[1]]
        return self.by_port(max(named, key=named.count))

    def agree_on(self, slot: int, master: RedisServer) -> bool:
        """Whether every node regards this one as the master of a slot."""
        for node in self.nodes:
            with at(node) as client:
                rows = client.execute_command("CLUSTER SLOTS")
            if [row[2][1] for row in rows if row[0] <= slot <= row[1]] != [master.port]:
                return False
        return True

    def replica_of(self, master: RedisServer) -> RedisServer:
        for node in self.nodes:
            try:
                with at(node) as client:
                    role = client.execute_command("ROLE")
            except redis.RedisError:
                continue
            if role[0] == b"slave" and role[2] == master.port:
                return node
        raise AssertionError(f"The node on port {master.port} has no replica.")

    def by_port(self, port: int) -> RedisServer:
        return next(node for node in self.nodes if node.port == port)

    def move_slot(self, slot: int, source: RedisServer, target: RedisServer, *, finish: bool = True) -> None:
        """Move a slot with its keys, as `redis-cli --cluster reshard` does; unfinished, its first key only."""
        with at(source) as old, at(target) as new:
            old_id, new_id = (ask(client, "CLUSTER", "MYID").decode() for client in (old, new))
            ask(new, "CLUSTER", "SETSLOT", slot, "IMPORTING", old_id)
            ask(old, "CLUSTER", "SETSLOT", slot, "MIGRATING", new_id)
            keys = ask(old, "CLUSTER", "GETKEYSINSLOT", slot, 1000)
            for key in keys if finish else keys[:1]:
                ask(old, "MIGRATE", "127.0.0.1", target.port, key, 0, 2000)
            if finish:
                for client in (new, old):
                    ask(client, "CLUSTER", "SETSLOT", slot, "NODE", new_id)

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()

    def _knows(self, node: RedisServer, count: int) -> bool:
        with at(node) as client:
            found: dict[str, str] = client.execute_command("CLUSTER INFO")
            return found["cluster_known_nodes"] == str(count) and found["cluster_state"] == "ok"

    def _in_step(self, node: RedisServer) -> bool:
        with at(node) as client:
            role = client.execute_command("ROLE")
            # A master lists the replicas that it sends its writes to; one that is still syncing isn't listed.
            if role[0] == b"master":
                return bool(role[2]) or len(self.nodes) == self.masters
            return bool(role[3] == b"connected")


def at(node: RedisServer) -> redis.Redis:
    """Return a client without retries: some of the nodes are dead."""
    return redis.Redis(port=node.port, socket_timeout=1.0, socket_connect_timeout=1.0, retry=Retry(NoBackoff(), 0))


def ask(client: Any, *command: Any) -> Any:
    """Send a command unchanged, without redis-py's parsing of its answer."""
    return client.execute_command(*command)


def port_with_bus() -> int:
    """Return a free port whose cluster bus, 10,000 higher, is free too."""
    while True:
        port = free_port()
        if port + BUS_OFFSET > 65535:
            port -= BUS_OFFSET
        try:
            for each in (port, port + BUS_OFFSET):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", each))
        except OSError:
            continue
        return port

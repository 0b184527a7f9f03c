"""Three Sentinels on loopback that watch a master with one replica, all in separate processes."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from petiole.servers.redis import free_port
from tests.support.freezing import freeze
from tests.support.redis import RedisServer
from tests.support.waiting import wait_until

MASTER = "mymaster"
DOWN_AFTER_MS = 1000


class SentinelProcess:
    """One Sentinel. Its file is its memory, so it comes back with its knowledge."""

    def __init__(self, binary: str, directory: Path, *, master_port: int, password: str | None, quorum: int) -> None:
        self.binary = binary
        self.directory = directory
        self.port = free_port()
        self.password = password
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True)
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {directory}",
            f"sentinel monitor {MASTER} 127.0.0.1 {master_port} {quorum}",
            f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {MASTER} 5000",
            *([f"requirepass {password}"] if password else []),
        ]
        (directory / "sentinel.conf").write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        with (self.directory / "sentinel.log").open("ab") as output:
            command = [self.binary, str(self.directory / "sentinel.conf"), "--sentinel"]
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        wait_until(self.answers, timeout=10, what=f"the Sentinel on port {self.port} answers")

    def client(self) -> redis.Redis:
        """Return a client without retries: the Sentinel may be dead."""
        return redis.Redis(
            port=self.port,
            password=self.password,
            socket_timeout=1.0,
            socket_connect_timeout=1.0,
            retry=Retry(NoBackoff(), 0),
        )

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def sees(self, *, others: int, replicas: int) -> bool:
        """Whether it knows so many other Sentinels and replicas."""
        with self.client() as client:
            state = client.sentinel_master(MASTER)
        return bool(state["num-other-sentinels"] == others and state["num-slaves"] == replicas)

    def pause(self) -> None:
        """Freeze it: it accepts connections, and doesn't answer."""
        assert self._process is not None
        freeze([self._process.pid])

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(10)


class SentinelServer:
    """A master and its replica, which may change places, and the Sentinels that decide."""

    def __init__(self, binary: str, directory: Path, *, password: str | None = None) -> None:
        first, second = RedisServer(binary, directory / "first"), RedisServer(binary, directory / "second")
        second.options = ("--replicaof", "127.0.0.1", str(first.port))
        for server in (first, second):
            server.options += ("--repl-diskless-sync-delay", "0")
        self.servers = [first, second]
        self.sentinels = [
            SentinelProcess(binary, directory / f"sentinel{n}", master_port=first.port, password=password, quorum=2)
            for n in range(3)
        ]

    @property
    def hosts(self) -> str:
        return ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)

    @property
    def url(self) -> str:
        return f"redis+sentinel://{self.hosts}/{MASTER}/0"

    def broker_url(self, database: int = 0) -> str:
        """Return the URL of its master in kombu's form; it needs the transport option `master_name` too."""
        return ";".join(f"sentinel://127.0.0.1:{sentinel.port}/{database}" for sentinel in self.sentinels)

    def start(self) -> None:
        """Start all, and wait until each Sentinel knows the others and the replica has caught up."""
        for server in (*self.servers, *self.sentinels):
            server.start()
        count = len(self.sentinels) - 1
        wait_until(
            lambda: all(sentinel.sees(others=count, replicas=1) for sentinel in self.sentinels),
            timeout=20,
            what="the Sentinels know each other and the replica",
        )
        self.catch_up()

    def catch_up(self) -> None:
        """Wait until the replica has caught up: the master sends it nothing before its first request."""
        with self.master().client() as client:
            client.set("catch-up", "x")
            wait_until(lambda: client.wait(1, 500) >= 1, timeout=10, what="the replica has caught up")

    def master(self) -> RedisServer:
        """Return the server that most Sentinels name."""
        named = []
        for sentinel in self.sentinels:
            with contextlib.suppress(redis.RedisError), sentinel.client() as client:
                named.append(int(client.sentinel_get_master_addr_by_name(MASTER)[1]))
        port = max(named, key=named.count)
        return next(server for server in self.servers if server.port == port)

    def kill(self) -> None:
        for server in (*self.sentinels, *self.servers):
            server.kill()

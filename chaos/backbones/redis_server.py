"""The redis-server of a fault run."""

from __future__ import annotations

from pathlib import Path

import redis

from chaos.backbones.contract import READY
from petiole.servers.processes import Process, Processes
from petiole.servers.redis import free_port, redis_command
from tests.support.freezing import freeze, thaw


class RedisServer:
    """A redis-server that can be killed, frozen and started again with its data on disk."""

    def __init__(self, binary: str, name: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._binary = binary
        self._name = name

    def begin(self, processes: Processes, directory: Path) -> None:
        """Start it for the first time."""
        self._processes = processes
        self._directory = directory
        self.start()

    def start(self) -> None:
        command = redis_command(self._binary, port=self.port, directory=self._directory)
        self._process: Process = self._processes.start(self._name, command, is_base=True)
        self._processes.wait_ready(self._process, timeout=READY, condition=lambda: pings(self.port))

    def kill(self) -> None:
        self._processes.kill(self._process)

    def stop(self) -> None:
        """Stop it as an operator does."""
        self._process.popen.terminate()
        self._process.popen.wait(READY)
        self._processes.forget(self._process)

    def pause(self) -> None:
        freeze([self._process.popen.pid])

    def resume(self) -> None:
        thaw([self._process.popen.pid])

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=5)

    def close_subscribers(self) -> int:
        """Close the connections of subscribers; return their number."""
        return int(self.client().client_kill_filter(_type="pubsub"))


def pings(port: int) -> bool:
    """Return whether the Redis on a port of this machine answers."""
    try:
        with redis.Redis(port=port, socket_timeout=1) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False

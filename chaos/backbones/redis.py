"""One Redis for all three: journal, bus and broker."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

import redis

from chaos.backbones.contract import READY, REDIS
from chaos.proxy import FaultProxy
from chaos.waiting import wait_until
from petiole.demo.processes import Process, Processes
from petiole.demo.redis_server import free_port, redis_command
from petiole.journal import Journal, open_journal
from petiole.settings import Settings


class RedisBackbone:
    """`Backbone` on the redis-server at `binary`; what breaks the journal breaks the bus as well."""

    name: Final = REDIS
    bus_is_apart: Final = False

    def __init__(self, binary: str) -> None:
        self.port = free_port()
        self.worker_journal, self.web_journal = FaultProxy(self.port), FaultProxy(self.port)
        self.web_bus = self.web_journal
        self.proxies = (self.worker_journal, self.web_journal)
        self._binary = binary
        # While the journal falls back again and again it is in servers of its own: the one in use, and the copy.
        self._journals = [self.port, self.port]

    def start(self, processes: Processes, directory: Path) -> None:
        self._processes = processes
        self._directory = directory
        self.start_journal()

    def environment(self, side: str) -> dict[str, str]:
        proxy = self.web_journal if side == "web" else self.worker_journal
        return {
            "CELERY_BROKER_URL": f"redis://127.0.0.1:{self.port}/0",
            "PETIOLE_JOURNAL_URL": f"redis://127.0.0.1:{proxy.port}/0",
        }

    def close(self) -> None:
        for proxy in self.proxies:
            proxy.close()

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=5)

    def start_journal(self) -> None:
        self._server = self._start("redis", self.port, self._directory / "redis")

    def kill_journal(self) -> None:
        self._processes.kill(self._server)

    def stop_journal(self) -> None:
        self._server.popen.terminate()
        self._server.popen.wait(READY)
        self._processes.forget(self._server)

    def pause_journal(self) -> None:
        os.kill(self._server.popen.pid, signal.SIGSTOP)

    def resume_journal(self) -> None:
        os.kill(self._server.popen.pid, signal.SIGCONT)

    def kill_bus(self) -> None:
        self.kill_journal()

    def start_bus(self) -> None:
        self.start_journal()

    def close_subscribers(self) -> int:
        return int(self.client().client_kill_filter(_type="pubsub"))

    def empty_journal(self) -> int:
        # Not FLUSHALL of the whole server: the broker's own bookkeeping is not what is tried here.
        keys = list(self.client().scan_iter("petiole:*", count=1000))
        self.client().delete(*keys)
        return len(keys)

    def open_journal(self) -> Journal:
        return open_journal(Settings(journal_url=f"redis://127.0.0.1:{self._journals[0]}/0"))

    def begin_fall_backs(self) -> None:
        self._journals = [free_port(), free_port()]
        for port in self._journals:
            self._start(f"journal{port}", port, self._directory / f"journal-{port}")
        for side in self.proxies:
            side.target = self._journals[0]
            side.reset_all()

    def take_copy(self) -> None:
        active, spare = self._journals
        replica = redis.Redis(port=spare, socket_timeout=5)
        replica.replicaof("127.0.0.1", active)
        _wait_for_sync(replica)
        replica.replicaof("NO", "ONE")

    def fall_back(self, pause: Callable[[], None]) -> None:
        self._journals.reverse()
        for side in (self.worker_journal, self.web_journal):
            side.target = self._journals[0]
            side.reset_all()
            pause()

    def _start(self, name: str, port: int, directory: Path) -> Process:
        server = self._processes.start(name, redis_command(self._binary, port=port, directory=directory), is_base=True)
        self._processes.wait_ready(server, timeout=READY, condition=lambda: pings(port))
        return server


def _wait_for_sync(replica: redis.Redis) -> None:
    def in_sync() -> bool:
        info = replica.info("replication")
        return info.get("master_link_status") == "up" and not info.get("master_sync_in_progress")

    wait_until(in_sync, what="the replica has everything", timeout=20)


def pings(port: int) -> bool:
    """Say whether the Redis on a port of this machine answers."""
    try:
        with redis.Redis(port=port, socket_timeout=1) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False

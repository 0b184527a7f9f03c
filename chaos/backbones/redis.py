"""One Redis for all three: journal, bus and broker; or one of its own for the broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import redis

from chaos.backbones.contract import BOTH, REDIS, WEB, WORKER, Refusing
from chaos.backbones.redis_server import RedisServer
from chaos.proxy import FaultProxy
from petiole.journal import Journal, open_journal
from petiole.servers.processes import Processes
from petiole.settings import Settings
from tests.support.waiting import wait_until

# Errors that providers and servers return for seconds: at a limit, a restart, a fail-over. No list has them.
REPLIES: Final = (
    "-ERR max requests limit exceeded. Limit: 500000, Usage: 500000.",
    "-LOADING Redis is loading the dataset in memory",
    "-READONLY You can't write against a read only replica.",
)


class RedisBackbone:
    """A `ServerBackbone` on the redis-server at `binary`; breaking the journal breaks the bus as well."""

    name: Final = REDIS
    bus_is_apart: Final = False

    def __init__(self, binary: str, *, broker_apart: bool = False) -> None:
        self._server = RedisServer(binary, "redis")
        self._broker = RedisServer(binary, "broker") if broker_apart else self._server
        self.port = self._server.port
        self.worker_journal, self.web_journal = FaultProxy(self.port), FaultProxy(self.port)
        self.web_bus = self.web_journal
        self.proxies = (self.worker_journal, self.web_journal)
        self._binary = binary
        # While the journal falls back repeatedly it is on its own two servers: the one in use, and the copy.
        self._journals = [self._server, self._server]

    def start(self, processes: Processes, directory: Path) -> None:
        self._processes = processes
        self._directory = directory
        self._server.begin(processes, directory / "redis")
        if self._broker is not self._server:
            self._broker.begin(processes, directory / "broker")

    def environment(self, side: str) -> dict[str, str]:
        proxy = self.web_journal if side == WEB else self.worker_journal
        return {
            "CELERY_BROKER_URL": self._broker.url,
            "CELERY_RESULT_BACKEND": self._broker.url,
            "PETIOLE_JOURNAL_URL": f"redis://127.0.0.1:{proxy.port}/0",
        }

    def close(self) -> None:
        for proxy in self.proxies:
            proxy.close()

    def client(self) -> redis.Redis:
        return self._server.client()

    def broker(self) -> redis.Redis:
        return self._broker.client()

    def start_journal(self) -> None:
        self._server.start()

    def kill_journal(self) -> None:
        self._server.kill()

    def stop_journal(self) -> None:
        self._server.stop()

    def pause_journal(self) -> None:
        self._server.pause()

    def resume_journal(self) -> None:
        self._server.resume()

    def kill_bus(self) -> None:
        self.kill_journal()

    def start_bus(self) -> None:
        self.start_journal()

    def close_subscribers(self) -> int:
        return self._server.close_subscribers()

    def empty_journal(self) -> int:
        # Not FLUSHALL of the whole server: the broker's own bookkeeping isn't under test here.
        keys = list(self.client().scan_iter("petiole:*", count=1000))
        self.client().delete(*keys)
        return len(keys)

    def open_journal(self) -> Journal:
        return open_journal(Settings(journal_url=self._journals[0].url))

    @property
    def refusals(self) -> list[Refusing]:
        sides = {WORKER: self.worker_journal, WEB: self.web_journal}
        answered = [
            Refusing(words[1:].split(".")[0], (side,), partial(_answering, proxy, words))
            for words in REPLIES
            for side, proxy in sides.items()
        ]
        return [*answered, Refusing("no right to run scripts", BOTH, self._without_rights)]

    @property
    def spoilings(self) -> list[Callable[[str], None]]:
        return [
            lambda feed: self._spoil(feed, "meta"),
            lambda feed: self._spoil(feed, "document"),
            lambda feed: self._spoil(feed, "document", field="state"),
        ]

    def begin_fall_backs(self) -> None:
        self._journals = [RedisServer(self._binary, f"journal{number}") for number in range(2)]
        for server in self._journals:
            server.begin(self._processes, self._directory / f"journal-{server.port}")
        for side in self.proxies:
            side.target = self._journals[0].port
            side.reset_all()

    def take_copy(self) -> None:
        active, spare = self._journals
        replica = spare.client()
        replica.replicaof("127.0.0.1", active.port)
        _wait_for_sync(replica)
        replica.replicaof("NO", "ONE")

    def fall_back(self, pause: Callable[[], None]) -> None:
        self._journals.reverse()
        for side in (self.worker_journal, self.web_journal):
            side.target = self._journals[0].port
            side.reset_all()
            pause()

    @contextmanager
    def _without_rights(self) -> Iterator[None]:
        self.client().acl_setuser("default", enabled=True, commands=["-evalsha", "-eval"])
        try:
            yield
        finally:
            self.client().acl_setuser("default", enabled=True, categories=["+@all"])

    def _spoil(self, feed: str, part: str, *, field: str = "") -> None:
        [key] = self.client().keys(f"*{feed}:{part}")
        if field:
            self.client().hset(key, field, "{")
        else:
            self.client().set(key, "spoiled")


@contextmanager
def _answering(side: FaultProxy, words: str) -> Iterator[None]:
    side.faults.answer = f"{words}\r\n".encode()
    try:
        yield
    finally:
        side.faults.answer = None


def _wait_for_sync(replica: redis.Redis) -> None:
    def in_sync() -> bool:
        info = replica.info("replication")
        return info.get("master_link_status") == "up" and not info.get("master_sync_in_progress")

    wait_until(in_sync, what="the replica has everything", timeout=20)

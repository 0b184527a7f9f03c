"""One web server and its redis-server in separate processes, and the browsers that a test connects to them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from petiole.client import TaskClient
from petiole.journal.redis.journal import RedisJournal
from petiole.protocol.events import Draft
from petiole.servers.processes import Process, Processes
from petiole.servers.redis import free_port
from petiole.settings import Settings
from tests.support.browser import Browser
from tests.support.system import READY, ROOT, start_redis

SERVERS = {
    "gevent": ["--config", "python:petiole.demo.gunicorn_conf"],
    "threads": ["--config", "python:petiole.demo.gunicorn_conf", "--worker-class", "gthread", "--threads", "100"],
}


@dataclass
class Site:
    directory: Path
    processes: Processes
    web: Process
    redis: Process
    port: int
    redis_port: int
    journal: RedisJournal
    log: list[str] = field(default_factory=list)
    clients: list[TaskClient] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def rights_ended(self) -> Path:
        return self.directory / "rights-ended"

    def open(self, feed: str, owner: str = "user:ann") -> str:
        self.journal.open(feed, owner=owner, draft=Draft("state", {"state": "queued", "title": "A task"}))
        return feed

    def say(self, feed: str, message: str) -> None:
        self.journal.append(feed, Draft("log", data={"level": "info", "message": message}))

    def browser(self, person: str | None = "ann", **options: Any) -> Browser:
        return Browser(self.port, person, **options)

    def client(self, person: str) -> TaskClient:
        session = requests.Session()
        session.headers["X-Person"] = person
        client = TaskClient(self.url, session=session)
        self.clients.append(client)
        return client

    def server(self) -> int:
        """The id of the serving process: gunicorn's only worker."""
        master = self.web.popen.pid
        return int(Path(f"/proc/{master}/task/{master}/children").read_text().split()[0])

    def resident(self) -> int:
        """The server's memory in bytes."""
        status = Path(f"/proc/{self.server()}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.server()}/fd").iterdir()))

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.server()}/task").iterdir()))

    def said(self, text: str) -> list[str]:
        """The lines of the server's log that contain this."""
        return [line for line in self.log if text in line]

    def answers(self) -> bool:
        try:
            return requests.get(self.url, timeout=2).ok
        except requests.RequestException:
            return False


@contextmanager
def serving(directory: Path, *, server: str = "gevent", settings: Mapping[str, str] | None = None) -> Iterator[Site]:
    log: list[str] = []
    processes = Processes(lambda name, line: log.append(f"{name}: {line}"))
    port, redis_port = free_port(), free_port()
    environment = {
        "CELERY_BROKER_URL": f"redis://127.0.0.1:{redis_port}/0",
        "PETIOLE_HEAD_CHECK": "1",
        "PYTHONPATH": str(ROOT),
        "RIGHTS_ENDED": str(directory / "rights-ended"),
        **({"ASYNC_MODE": "threading"} if server == "threads" else {}),
        **(settings or {}),
    }
    site = None
    try:
        redis_process = start_redis(processes, redis_port, directory)
        web = processes.start(
            "web",
            [
                *(sys.executable, "-m", "gunicorn", *SERVERS[server]),
                *("--bind", f"127.0.0.1:{port}", "tests.apps.hostile_app:create_app()"),
            ],
            environment=environment,
            directory=ROOT,
        )
        journal = RedisJournal(Settings(journal_url=environment["CELERY_BROKER_URL"]))
        site = Site(directory, processes, web, redis_process, port, redis_port, journal, log)
        processes.wait_ready(web, timeout=READY, condition=site.answers)
        yield site
    finally:
        for client in site.clients if site else ():
            client.close()
        processes.stop()
        (directory / "site.log").write_text("\n".join(log))

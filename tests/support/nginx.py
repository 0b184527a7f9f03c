"""nginx with `deploy/nginx.conf` and the web processes behind it, on a test's own ports."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from petiole.journal.redis.journal import RedisJournal
from petiole.servers.processes import Process, Processes
from tests.support.system import READY, ROOT

GUNICORN = ROOT / "deploy" / "gunicorn_gevent.py"
CONFIGURATION = ROOT / "deploy" / "nginx.conf"
WEBS = (8001, 8002, 8003)


@dataclass
class Site:
    """nginx's address, and the web processes behind it by their ports. `application`: the application that gunicorn serves."""

    url: str
    processes: Processes
    application: str
    environment: dict[str, str]
    journal: RedisJournal
    webs: dict[int, Process]

    def start_web(self, port: int) -> None:
        command = [sys.executable, "-m", "gunicorn", "--config", str(GUNICORN), "--bind", f"127.0.0.1:{port}"]
        self.webs[port] = self.processes.start(
            f"web{port}", [*command, self.application], environment=self.environment, directory=ROOT
        )
        self.processes.wait_ready(self.webs[port], timeout=2 * READY, condition=lambda: answers(port))

    def stop_web(self, port: int) -> None:
        process = self.webs.pop(port)
        os.kill(process.popen.pid, signal.SIGTERM)
        process.popen.wait(20)
        self.processes.forget(process)


def answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/petiole/ready", timeout=2).ok
    except requests.RequestException:
        return False


def find_nginx() -> str:
    """Return the path of nginx; without it the test fails in CI and is skipped elsewhere."""
    found = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if found:
        return found
    remedy = "There is no nginx here. Install it with: apt install nginx-light"
    if os.environ.get("CI"):
        pytest.fail(remedy)
    pytest.skip(remedy)


def start_nginx(
    processes: Processes,
    directory: Path,
    *,
    port: int,
    webs: Sequence[int],
    instead: Mapping[str, str] | None = None,
) -> Process:
    """Start it in front of three web processes. `instead`: a test's changes to the file."""
    text = CONFIGURATION.read_text()
    replaced = {
        "pid /run/nginx.pid;": "pid nginx.pid;",
        "listen 8000;": f"listen 127.0.0.1:{port};",
        **{f"server 127.0.0.1:{there} ": f"server 127.0.0.1:{mine} " for there, mine in zip(WEBS, webs, strict=True)},
        **(instead or {}),
    }
    for documented, mine in replaced.items():
        assert text.count(documented) == 1
        text = text.replace(documented, mine)
    (directory / "nginx.conf").write_text(text)
    options = ["-e", "stderr", "-p", str(directory), "-c", "nginx.conf", "-g", "daemon off; error_log stderr;"]
    return processes.start("nginx", [find_nginx(), *options])

"""An example, started by the commands of its own README, on the test's own ports."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from petiole.servers.processes import Process, Processes
from petiole.servers.redis import free_port
from tests.support.system import READY, ROOT, start_redis

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def code_blocks(page: Path, *languages: str) -> list[str]:
    return [text for language, text in _BLOCK.findall(page.read_text(encoding="utf-8")) if language in languages]


@dataclass
class Example:
    """The running processes of an example."""

    folder: Path
    environment: Mapping[str, str]
    processes: Processes
    redis_port: int
    url: str
    web: Process | None = None
    worker: Process | None = None

    def start_web(self) -> Process:
        self.web = self._start(self._commands[1], ready_line=None)
        return self.web

    def start_worker(self) -> Process:
        self.worker = self._start(self._commands[0], ready_line=" ready.")
        return self.worker

    def wait_ready(self) -> None:
        self.processes.wait_ready(self.web, timeout=READY, condition=self._answers)
        self.processes.wait_ready(self.worker, timeout=READY)

    def restart_web(self) -> None:
        """Kill the web process, and start another one in its place."""
        self.processes.kill(self.web)
        self.processes.wait_ready(self.start_web(), timeout=READY, condition=self._answers)

    @property
    def _commands(self) -> list[str]:
        # The last block: an earlier one builds the page.
        return code_blocks(self.folder / "README.md", "sh")[-1].splitlines()

    def _start(self, line: str, *, ready_line: str | None) -> Process:
        """Start a shell command line: environment settings, then a command."""
        words = shlex.split(line)
        count = next(at for at, word in enumerate(words) if "=" not in word)
        settings = dict(word.split("=", 1) for word in words[:count])
        return self.processes.start(
            words[count],
            words[count:],
            environment={**self.environment, **settings},
            directory=self.folder,
            ready_line=ready_line,
        )

    def _answers(self) -> bool:
        try:
            return requests.get(self.url, timeout=2).ok
        except requests.RequestException:
            return False


@contextmanager
def running_example(
    name: str | Path,
    directory: Path,
    *,
    settings: Mapping[str, str] | None = None,
    gunicorn_options: str = "--no-control-socket",
) -> Iterator[Example]:
    """Run `examples/<name>`, or a copy of it in another folder, with its own Redis in `directory`.

    Its programs are those of this environment, unless `settings` has a PATH. Its log is printed at the end.
    """
    log: list[str] = []
    processes = Processes(lambda process, line: log.append(f"{process}: {line}"))
    redis_port, web_port = free_port(), free_port()
    environment = {
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
        "CELERY_BROKER_URL": f"redis://127.0.0.1:{redis_port}/0",
        "GUNICORN_CMD_ARGS": f"{gunicorn_options} --bind 127.0.0.1:{web_port}",
        "PYTHONDONTWRITEBYTECODE": "1",
        **(settings or {}),
    }
    url = f"http://127.0.0.1:{web_port}"
    example = Example(ROOT / "examples" / name, environment, processes, redis_port, url)
    try:
        start_redis(processes, redis_port, directory)
        example.start_worker()
        example.start_web()
        example.wait_ready()
        yield example
    finally:
        processes.stop()
        print("\n".join(log[-200:]))

"""`examples/minimal` matches the README byte for byte, and runs as its own README says."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from petiole.client import Refused, TaskClient
from petiole.protocol.events import Event
from petiole.servers.processes import Process, Processes
from petiole.servers.redis import free_port
from tests.support.system import READY, ROOT, start_redis

EXAMPLE = ROOT / "examples" / "minimal"
FILES = ("tasks.py", "web.py", "templates/index.html")

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def code_blocks(page: Path, *languages: str) -> list[str]:
    return [text for language, text in _BLOCK.findall(page.read_text(encoding="utf-8")) if language in languages]


def start_command(processes: Processes, line: str, environment: dict[str, str], *, ready_line: str | None) -> Process:
    """Start a shell command line: environment settings, then a command."""
    words = shlex.split(line)
    count = next(at for at, word in enumerate(words) if "=" not in word)
    settings = dict(word.split("=", 1) for word in words[:count])
    command = words[count:]
    return processes.start(
        command[0], command, environment={**environment, **settings}, directory=EXAMPLE, ready_line=ready_line
    )


@contextmanager
def minimal(directory: Path) -> Iterator[str]:
    """The example, started by the commands of its README, on the test's own ports."""
    log: list[str] = []
    processes = Processes(lambda name, line: log.append(f"{name}: {line}"))
    redis_port, web_port = free_port(), free_port()
    environment = {
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
        "CELERY_BROKER_URL": f"redis://127.0.0.1:{redis_port}/0",
        "GUNICORN_CMD_ARGS": f"--no-control-socket --bind 127.0.0.1:{web_port}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    url = f"http://127.0.0.1:{web_port}"

    def answers() -> bool:
        try:
            return requests.get(url, timeout=2).ok
        except requests.RequestException:
            return False

    worker_line, web_line = code_blocks(EXAMPLE / "README.md", "sh")[0].splitlines()
    try:
        start_redis(processes, redis_port, directory)
        worker = start_command(processes, worker_line, environment, ready_line=" ready.")
        web = start_command(processes, web_line, environment, ready_line=None)
        processes.wait_ready(web, timeout=READY, condition=answers)
        processes.wait_ready(worker, timeout=READY)
        yield url
    finally:
        processes.stop()
        print("\n".join(log[-200:]))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with minimal(tmp_path_factory.mktemp("minimal")) as url:
        yield url


def test_the_readme_shows_the_example_byte_for_byte() -> None:
    shown = code_blocks(ROOT / "README.md", "python", "html")
    assert shown == [(EXAMPLE / name).read_text(encoding="utf-8") for name in FILES]
    assert code_blocks(ROOT / "README.md", "sh") == code_blocks(EXAMPLE / "README.md", "sh")


def test_the_page_has_the_tag_and_its_script_is_served(address: str) -> None:
    page = requests.get(address, timeout=5)
    assert "<petiole-task></petiole-task>" in page.text
    script = re.search(r'<script src="([^"]+)">', page.text)
    assert script is not None
    assert requests.get(address + script[1], timeout=5).headers["Content-Type"].startswith("text/javascript")


def test_a_task_is_followed_to_its_receipt(address: str) -> None:
    session = requests.Session()
    session.get(address, timeout=5).raise_for_status()
    events: list[Event] = []
    client = TaskClient(address, session=session)
    stranger = TaskClient(address)
    try:
        view = client.start("/count", {}, on_event=events.append)
        with pytest.raises(Refused):
            stranger.watch(view.feed).wait(timeout=5)
        document = view.wait(timeout=60)
        assert document["state"] == "succeeded"
        assert document["title"] == "Count to 1,000"
        assert (document["progress"]["completed"], document["progress"]["total"]) == (1000, 1000)
        assert [event.facts for event in events if event.is_fact] == list(range(2, view.receipt.facts + 1))
        assert view.receipt.complete
    finally:
        client.close()
        stranger.close()

"""`examples/existing_app`: at most ten lines make a polling application live, and it runs as its README says."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from petiole.client import TaskClient
from petiole.protocol.events import Event
from petiole.servers.processes import Process, Processes
from petiole.servers.redis import free_port
from tests.support.system import READY, ROOT, start_redis
from tests.support.waiting import wait_until

EXAMPLE = ROOT / "examples" / "existing_app"
MOST_ADDED = 10


def texts(name: str) -> dict[str, list[str]]:
    folder = EXAMPLE / name
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8").splitlines()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".py", ".html")
    }


def differences() -> list[str]:
    before, after = texts("before"), texts("after")
    return [
        line
        for name in sorted({*before, *after})
        for line in difflib.unified_diff(before.get(name, []), after.get(name, []), n=0, lineterm="")
        if not line.startswith(("+++", "---", "@@"))
    ]


def test_at_most_ten_lines_are_added_and_the_polling_is_gone() -> None:
    added = [line for line in differences() if line.startswith("+")]
    assert 0 < len(added) <= MOST_ADDED
    assert "eight lines more" in (EXAMPLE / "README.md").read_text(encoding="utf-8")
    assert len(added) == 8
    before, after = texts("before"), texts("after")
    assert "setTimeout(poll, 500" in "\n".join(before["task_app/templates/index.html"])
    assert not re.search(r"setTimeout|setInterval|/result/", "\n".join(after["task_app/templates/index.html"]))
    assert before["task_app/tasks.py"] == after["task_app/tasks.py"]


def start(processes: Processes, line: str, environment: dict[str, str], *, ready_line: str | None) -> Process:
    """Start a shell command line: environment settings, then a command."""
    words = shlex.split(line)
    count = next(at for at, word in enumerate(words) if "=" not in word)
    settings = dict(word.split("=", 1) for word in words[:count])
    return processes.start(
        words[count],
        words[count:],
        environment={**environment, **settings},
        directory=EXAMPLE / "after",
        ready_line=ready_line,
    )


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log: list[str] = []
    processes = Processes(lambda name, line: log.append(f"{name}: {line}"))
    redis_port, web_port = free_port(), free_port()
    environment = {
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
        "FLASK_CELERY__broker_url": f"redis://127.0.0.1:{redis_port}",
        "FLASK_CELERY__result_backend": f"redis://127.0.0.1:{redis_port}",
        "GUNICORN_CMD_ARGS": f"--no-control-socket --bind 127.0.0.1:{web_port}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    url = f"http://127.0.0.1:{web_port}"

    def answers() -> bool:
        try:
            return requests.get(url, timeout=2).ok
        except requests.RequestException:
            return False

    commands = re.search(r"```sh\n(.*?)```", (EXAMPLE / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert commands is not None
    worker_line, web_line = commands[1].splitlines()
    try:
        start_redis(processes, redis_port, tmp_path_factory.mktemp("existing"))
        worker = start(processes, worker_line, environment, ready_line=" ready.")
        web = start(processes, web_line, environment, ready_line=None)
        processes.wait_ready(web, timeout=READY, condition=answers)
        processes.wait_ready(worker, timeout=READY)
        yield url
    finally:
        processes.stop()
        print("\n".join(log[-200:]))


def test_the_task_of_flasks_documentation_is_followed_to_its_receipt(address: str) -> None:
    session = requests.Session()
    page = session.get(address, timeout=5)
    assert "<petiole-task></petiole-task>" in page.text
    started = session.post(f"{address}/tasks/process", data={"total": 10}, timeout=5).json()
    client, counted = TaskClient(address, session=session), set[int]()

    def count(event: Event) -> None:
        if event.progress is not None:
            counted.add(event.progress["completed"])

    try:
        view = client.watch(f"task:{started['result_id']}", on_event=count)
        document = view.wait(timeout=20)
    finally:
        client.close()
    assert (document["state"], document["result"]) == ("succeeded", {"current": 10, "total": 10})
    assert (document["progress"]["completed"], document["progress"]["total"]) == (10, 10)
    assert len(counted) > 3
    assert view.receipt.complete
    # Its own route still answers.
    answer = session.get(f"{address}/tasks/result/{started['result_id']}", timeout=5).json()
    assert answer == {"ready": True, "successful": True, "value": {"current": 10, "total": 10}}
    stranger = requests.get(f"{address}/petiole/tasks/{started['result_id']}", timeout=5)
    assert stranger.status_code == 404


def test_a_task_that_says_nothing_about_itself_is_followed_too(address: str) -> None:
    session = requests.Session()
    started = session.post(f"{address}/tasks/add", data={"a": 4, "b": 6}, timeout=5).json()
    document: dict = {}

    def ended() -> bool:
        url = f"{address}/petiole/tasks/{started['result_id']}"
        document.update(session.get(url, timeout=5).json()["document"])
        return document["state"] == "succeeded"

    wait_until(ended, what="the task is done")
    assert document["result"] == 10


def test_its_status_route_says_of_a_cancelled_task_that_it_is_ready(address: str) -> None:
    session = requests.Session()
    session.get(address, timeout=5)
    task_id = session.post(f"{address}/tasks/process", data={"total": 600}, timeout=5).json()["result_id"]
    route, monitor = f"{address}/tasks/result/{task_id}", f"{address}/petiole/tasks/{task_id}"

    def state() -> str:
        return session.get(monitor, timeout=5).json()["document"]["state"]

    wait_until(lambda: state() == "running", what="it runs")
    assert session.get(route, timeout=5).json()["ready"] is False
    session.post(f"{monitor}/cancel", timeout=5).raise_for_status()
    wait_until(lambda: state() == "cancelled", what="it is cancelled")
    wait_until(lambda: session.get(route, timeout=5).json()["ready"], what="Celery's record says so")
    answer = session.get(route, timeout=5)
    # It calls `get()`, which raises the task's exception.
    assert (answer.status_code, answer.json()["successful"], answer.json()["value"]) == (410, False, None)
    assert answer.json()["detail"] == "The task was cancelled."

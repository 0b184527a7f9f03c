"""`examples/article`: the plain pattern works as far as it can, and the same application works on Petiole."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest
import requests
import socketio

from petiole.client import TaskClient
from petiole.demo.processes import Processes
from petiole.demo.redis_server import free_port
from tests.integration.system import READY, ROOT, start_redis


@contextmanager
def example(name: str, directory: Path) -> Iterator[str]:
    """Run one of the two as its README says, and yield its address."""
    log: list[str] = []
    processes = Processes(lambda process, line: log.append(f"{process}: {line}"))
    redis_port, web_port = free_port(), free_port()
    environment = {"REDIS_URL": f"redis://127.0.0.1:{redis_port}/0"}
    folder = ROOT / "examples" / "article" / name
    url = f"http://127.0.0.1:{web_port}"

    def answers() -> bool:
        try:
            return requests.get(url, timeout=2).ok
        except requests.RequestException:
            return False

    try:
        start_redis(processes, redis_port, directory)
        worker = processes.start(
            "worker",
            [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--loglevel", "INFO", "--concurrency", "1"],
            environment=environment,
            directory=folder,
            ready_line=" ready.",
        )
        web = processes.start(
            "web",
            [
                *(sys.executable, "-m", "gunicorn", "--no-control-socket", "-b", f"127.0.0.1:{web_port}"),
                *("-k", "geventwebsocket.gunicorn.workers.GeventWebSocketWorker", "--graceful-timeout", "1", "web:app"),
            ],
            environment=environment,
            directory=folder,
        )
        processes.wait_ready(web, timeout=READY, condition=answers)
        processes.wait_ready(worker, timeout=READY)
        yield url
    finally:
        processes.stop()
        print("\n".join(log[-100:]))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with example("plain", tmp_path_factory.mktemp("plain")) as url:
        yield url


class Browser:
    """A plain Socket.IO client that puts what it hears into a queue."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.get(url, timeout=5).raise_for_status()
        self.heard: Queue[tuple[str, dict[str, Any]]] = Queue()
        self.socket = socketio.Client(http_session=self.session)
        for name in ("task_progress", "task_complete"):
            self.socket.on(name, lambda message, name=name: self.heard.put((name, message)))
        self.socket.connect(url, transports=["websocket"])

    def export(self, way: str, body: dict[str, Any]) -> str:
        response = self.session.post(f"{self.url}/export/{way}", json=body, timeout=5)
        assert response.status_code == 202
        return response.json()["task_id"]

    def hear_to_the_end(self) -> list[dict[str, Any]]:
        heard = []
        while True:
            name, message = self.heard.get(timeout=15)
            heard.append(message)
            if name == "task_complete":
                return heard


@pytest.mark.parametrize("way", ["by-sid", "by-room"])
def test_the_plain_pattern_reaches_the_browser_that_stays(plain: str, way: str) -> None:
    browser, other = Browser(plain), Browser(plain)
    try:
        body = {"steps": 5, "pause": 0.01}
        task_id = browser.export(way, body | {"sid": browser.socket.get_sid()})
        heard = browser.hear_to_the_end()
        assert [message.get("progress") for message in heard] == [20, 40, 60, 80, 100, None]
        assert {message["task_id"] for message in heard} == {task_id}
        assert heard[-1]["message"] == "Your export is ready."
        with pytest.raises(Empty):
            other.heard.get_nowait()
    finally:
        browser.socket.disconnect()
        other.socket.disconnect()


def test_the_same_application_on_petiole_gives_a_receipt(tmp_path: Path) -> None:
    with example("with_petiole", tmp_path) as url:
        session = requests.Session()
        session.get(url, timeout=5).raise_for_status()
        client = TaskClient(url, session=session)
        try:
            view = client.start("/export", {"steps": 5, "pause": 0.01})
            document = view.wait(timeout=15)
            assert document["state"] == "succeeded"
            assert document["result"] == "Your export is ready."
            assert view.receipt is not None
            assert view.receipt.complete
        finally:
            client.close()

"""`examples/article`: the plain pattern works within its limits, and the same application works with Petiole."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest
import requests
import socketio

from petiole.client import TaskClient
from petiole.servers.processes import Processes
from petiole.servers.redis import free_port
from tests.support.rabbitmq import RabbitServer
from tests.support.system import READY, ROOT, start_redis
from tests.support.waiting import wait_until


@contextmanager
def example(
    name: str, directory: Path, *, settings: Mapping[str, str] | None = None, log: list[str] | None = None
) -> Iterator[str]:
    """Run one of them as its README says, and yield its address; without `settings` on its own Redis."""
    log = [] if log is None else log
    processes = Processes(lambda process, line: log.append(f"{process}: {line}"))
    redis_port, web_port = free_port(), free_port()
    redis_url = f"redis://127.0.0.1:{redis_port}/0"
    environment = settings or {"REDIS_URL": redis_url, "BROKER_URL": redis_url}
    folder = ROOT / "examples" / "article" / name
    url = f"http://127.0.0.1:{web_port}"

    def answers() -> bool:
        try:
            return requests.get(url, timeout=2).ok
        except requests.RequestException:
            return False

    try:
        if settings is None:
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


class Listener:
    """A plain Socket.IO client that puts events into a queue."""

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


@pytest.fixture(scope="module")
def plain_on_rabbitmq(tmp_path_factory: pytest.TempPathFactory, own_rabbitmq: RabbitServer) -> Iterator[str]:
    settings = {"RABBITMQ_URL": own_rabbitmq.url}
    with example("rabbitmq", tmp_path_factory.mktemp("rabbitmq"), settings=settings) as url:
        yield url


@pytest.mark.parametrize("backbone", ["plain", "plain_on_rabbitmq"])
@pytest.mark.parametrize("way", ["by-sid", "by-room"])
def test_the_plain_pattern_reaches_the_browser_that_stays(
    backbone: str, way: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(backbone)
    browser, other = Listener(url), Listener(url)
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


def test_no_queue_of_the_plain_pattern_is_transient_and_shared(
    plain_on_rabbitmq: str, own_rabbitmq: RabbitServer
) -> None:
    """The queues that RabbitMQ refuses from 4.3 on; an older one only reports how each queue was declared."""
    browser = Listener(plain_on_rabbitmq)
    try:

        def declared() -> list[str]:
            rows = own_rabbitmq.node.control("list_queues", "name", "durable", "exclusive", "--no-table-headers")
            return [row for row in rows.splitlines() if row.startswith("python-socketio.")]

        wait_until(lambda: declared() != [], what="the web process listens")
        assert [row.split("\t")[1:] for row in declared()] == [["false", "true"]]
    finally:
        browser.socket.disconnect()
    # The control: the queue that python-socketio declares by itself.
    queue = socketio.KombuManager(own_rabbitmq.url)._queue()
    assert (queue.durable, queue.exclusive) == (False, False)


# Emits at each input line, and reports it.
EMITTER = """
import sys
sys.path.insert(0, {folder!r})
from flask_socketio import SocketIO
from queue_options import BoundedManager

kind, url = sys.argv[1:]
if kind == "bounded":
    emitter = SocketIO(client_manager=BoundedManager(url, write_only=True))
    emitter.init_app(None)
else:
    emitter = SocketIO(message_queue=url)
while sys.stdin.readline():
    emitter.emit("x", {{"n": 1}}, to="room")
    print("emitted", flush=True)
"""


class Emitter:
    """A process that emits on request."""

    def __init__(self, kind: str, url: str) -> None:
        folder = str(ROOT / "examples" / "article" / "rabbitmq")
        self.popen = subprocess.Popen(
            [sys.executable, "-c", EMITTER.format(folder=folder), kind, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.emitted: Queue[str] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.popen.stdout:
            self.emitted.put(line)

    def emit(self, *, timeout: float) -> float | None:
        """Return the duration; `None` if it took longer than `timeout`."""
        began = time.monotonic()
        self.popen.stdin.write("\n")
        self.popen.stdin.flush()
        try:
            self.emitted.get(timeout=timeout)
        except Empty:
            return None
        return time.monotonic() - began

    def close(self) -> None:
        self.popen.kill()
        self.popen.wait(10)


def test_an_emit_comes_back_when_rabbitmq_has_died_and_the_plain_one_never_does(own_rabbitmq: RabbitServer) -> None:
    emitters = {kind: Emitter(kind, own_rabbitmq.url) for kind in ("plain", "bounded")}
    try:
        assert all(emitter.emit(timeout=20) is not None for emitter in emitters.values())
        own_rabbitmq.kill()
        try:
            for _ in range(3):
                assert emitters["bounded"].emit(timeout=5) is not None
            assert emitters["plain"].emit(timeout=10) is None
        finally:
            own_rabbitmq.start()
        assert emitters["bounded"].emit(timeout=5) is not None
        own_rabbitmq.pause()
        try:
            # The README names the maximum cost of a silent broker.
            for _ in range(2):
                assert emitters["bounded"].emit(timeout=15) is not None
        finally:
            own_rabbitmq.resume()
    finally:
        for emitter in emitters.values():
            emitter.close()


@pytest.mark.parametrize("backbone", ["redis", "rabbitmq"])
def test_the_same_application_on_petiole_gives_a_receipt(
    backbone: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    settings = None
    if backbone == "rabbitmq":
        broker = request.getfixturevalue("own_rabbitmq")
        journal_url = request.getfixturevalue("postgresql_url")
        settings = {"BROKER_URL": broker.create("article"), "PETIOLE_JOURNAL_URL": journal_url}
    with example("with_petiole", tmp_path, settings=settings) as url:
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

"""A broker that is down, silent or slow: the user is told within two seconds, and a start waits for a slow one."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from flask import Flask
from flask_socketio import SocketIO

from petiole import Petiole
from petiole.servers.redis import free_port
from tests.conftest import any_redis_binary
from tests.integration.test_flask_setups import plain
from tests.support.rabbitmq import RabbitServer
from tests.support.redis import RedisServer

WITHIN = 2.0
DELAY = 0.3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    made = RedisServer(any_redis_binary(), tmp_path_factory.mktemp("redis"), append_only=False)
    made.start()
    yield made
    made.kill()


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
def slowly() -> Iterator[Callable[[int], int]]:
    """`slowly(port)`: another port, where each answer of that server comes `DELAY` seconds later."""
    opened: list[socket.socket] = []

    def copy(source: socket.socket, target: socket.socket, delay: float) -> None:
        try:
            while data := source.recv(65536):
                time.sleep(delay)
                target.sendall(data)
        except OSError:
            pass
        target.close()

    def accept(listening: socket.socket, port: int) -> None:
        while True:
            try:
                near = listening.accept()[0]
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", port))
            opened.extend((near, far))
            for source, target, delay in ((near, far, 0.0), (far, near, DELAY)):
                threading.Thread(target=copy, args=(source, target, delay), daemon=True).start()

    def make(port: int) -> int:
        listening = socket.create_server(("127.0.0.1", 0))
        opened.append(listening)
        threading.Thread(target=accept, args=(listening, port), daemon=True).start()
        return listening.getsockname()[1]

    yield make
    for each in opened:
        each.close()


def application(broker: str, journal: str, *, backend: str | None = None) -> Flask:
    app = plain(broker, PETIOLE_JOURNAL_URL=journal)
    app.extensions["celery"].conf.result_backend = backend
    petiole = Petiole(app, SocketIO(app, async_mode="threading"))
    app.testing = True  # nothing in the background
    app.add_url_rule("/start", "start", lambda: petiole.accepted(petiole.start("a.task")), methods=["POST"])
    return app


def posted(app: Flask) -> tuple[int, float]:
    """The status of a start, and the seconds until it came."""
    began = time.monotonic()
    return app.test_client().post("/start").status_code, time.monotonic() - began


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
@pytest.mark.parametrize("kind", ["refusing", "silent"])
def test_a_dead_broker_is_said_within_two_seconds(server: RedisServer, silent: int, scheme: str, kind: str) -> None:
    port = silent if kind == "silent" else free_port()
    app = application(f"{scheme}://127.0.0.1:{port}/", server.url)
    posted(app)  # does the imports
    status, took = posted(app)
    assert status == 503
    assert took < WITHIN


@pytest.mark.parametrize("kind", ["refusing", "silent"])
def test_a_dead_result_backend_holds_up_no_start(server: RedisServer, silent: int, kind: str) -> None:
    dead = f"redis://127.0.0.1:{silent if kind == 'silent' else free_port()}/0"
    for broker, status in ((server.url, 202), (dead, 503)):
        app = application(broker, server.url, backend=dead)
        posted(app)
        found, took = posted(app)
        assert found == status
        assert took < WITHIN


def test_who_waits_for_a_result_by_celerys_own_way_gets_it(server: RedisServer) -> None:
    app = application(server.url, server.url, backend=server.url)
    task_id = app.test_client().post("/start").json["id"]
    celery_app = app.extensions["celery"]
    result = celery_app.AsyncResult(task_id)
    told = threading.Timer(DELAY, celery_app.backend.store_result, (task_id, 42, "SUCCESS"))
    told.start()
    assert result.get(timeout=5) == 42
    told.join()


def test_one_that_falls_silent_while_it_is_connected_is_said_as_soon(
    server: RedisServer, own_redis: RedisServer
) -> None:
    app = application(own_redis.url, server.url)
    assert posted(app)[0] == 202
    own_redis.pause()
    try:
        status, took = posted(app)
    finally:
        own_redis.resume()
    assert status == 503
    assert took < WITHIN
    # It is back, also after another server in the meantime.
    assert posted(app)[0] == 202
    own_redis.restart()
    assert posted(app)[0] == 202


def test_a_slow_redis_is_waited_for(server: RedisServer, slowly: Callable[[int], int]) -> None:
    app = application(f"redis://127.0.0.1:{slowly(server.port)}/1", server.url)
    status, took = posted(app)
    assert status == 202
    assert took > DELAY


def test_a_slow_rabbitmq_is_waited_for(
    server: RedisServer, rabbitmq: RabbitServer, slowly: Callable[[int], int]
) -> None:
    parts = urlsplit(rabbitmq.url)
    user = parts.netloc.rpartition("@")[0]
    app = application(f"amqp://{user}@127.0.0.1:{slowly(parts.port or 5672)}{parts.path}", server.url)
    status, took = posted(app)
    assert status == 202
    assert took > WITHIN  # connecting takes many answers, and each is in time

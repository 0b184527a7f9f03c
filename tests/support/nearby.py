"""Flask applications with Petiole, served on loopback by threads of the test's process: real sockets, no start-up time."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests
from celery import Celery
from flask import Flask, request
from flask_socketio import SocketIO
from werkzeug.serving import make_server

from petiole import Petiole
from petiole.client import TaskClient
from petiole.journal import Journal
from petiole.protocol.events import Draft, task_feed


@dataclass
class Nearby:
    """A served application."""

    app: Flask
    url: str
    clients: list[TaskClient] = field(default_factory=list)

    @property
    def journal(self) -> Journal:
        journal: Journal = self.app.extensions["petiole"].tracking.journal
        return journal

    def open(self, owner: str = "user:ann", **fields: Any) -> str:
        feed = task_feed(str(uuid.uuid4()))
        self.journal.open(feed, owner=owner, draft=Draft("state", {"state": "queued", "title": "A task", **fields}))
        return feed

    def say(self, feed: str, message: str) -> None:
        self.journal.append(feed, Draft("log", data={"level": "info", "message": message}))

    def end(self, feed: str, state: str = "failed") -> None:
        self.journal.append(feed, Draft("state", {"state": state}))

    def client(self, **options: Any) -> TaskClient:
        session = options.pop("session", None) or requests.Session()
        session.headers.update(options.pop("headers", {}))
        client = TaskClient(self.url, session=session, **options)
        self.clients.append(client)
        return client

    def tasks(self, feed: str, call: str = "") -> str:
        return f"{self.url}/petiole/tasks/{feed.removeprefix('task:')}{call}"


@contextmanager
def served(app: Flask, *, mount: Callable[[Any], Any] = lambda wsgi: wsgi) -> Iterator[Nearby]:
    """Serve an application; `mount` wraps it as a server in front would."""
    app.wsgi_app = mount(app.wsgi_app)  # type: ignore[method-assign]
    server = make_server("127.0.0.1", 0, app, threaded=True)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    nearby = Nearby(app, f"http://127.0.0.1:{server.server_port}")
    try:
        yield nearby
    finally:
        for client in nearby.clients:
            client.close()
        app.extensions["petiole"].relay.close()
        server.shutdown()
        server.server_close()
        thread.join(5)


def make_app(redis_url: str, petiole: Petiole, *, socketio: SocketIO | None = None, **config: Any) -> Flask:
    """Return an application that identifies users by the header X-Person."""
    app = Flask("nearby")
    app.config.update(SECRET_KEY="nearby", PETIOLE_KEY_PREFIX=f"nearby-{uuid.uuid4().hex[:8]}", **config)
    app.extensions["celery"] = Celery("nearby", broker=redis_url)
    petiole.identify(lambda: request.headers.get("X-Person"))
    socketio = socketio or SocketIO(async_mode="threading")
    petiole.init_app(app, socketio)
    socketio.init_app(app)
    return app

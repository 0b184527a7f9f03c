"""The Flask application of the tests about hostile clients: no worker; its own namespace accepts binary events."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery import Celery
from flask import Flask, Response, request
from flask_socketio import Namespace, SocketIO

from petiole import Petiole


class Echo(Namespace):
    def on_echo(self, *values: object) -> tuple[object, ...]:
        return values


def put_in_place(server: Any, what: str) -> None:
    """Replace Engine.IO's handlers by Socket.IO's own, as a monitor does that isn't aware of other handlers."""
    own = {
        "connect": server._handle_eio_connect,
        "message": server._handle_eio_message,
        "disconnect": server._handle_eio_disconnect,
    }
    if what == "table":
        server.eio.handlers = own
    else:
        for event, handler in own.items():
            server.eio.on(event, handler)


def create_app() -> Flask:
    app = Flask(__name__)
    app.config["SECRET_KEY"] = "hostile"
    app.extensions["celery"] = Celery("hostile-web", broker=os.environ["CELERY_BROKER_URL"])
    petiole = Petiole()
    closed = Path(os.environ["RIGHTS_ENDED"])

    @petiole.identify
    def identify() -> str | None:
        return request.headers.get("X-Person")

    @petiole.authorizer
    def authorize(action: str, feed: str, user: str, owner: str) -> bool:
        return user == owner or (user == "user:guest" and not closed.exists())

    pings = float(os.environ.get("PING_INTERVAL", "25")), float(os.environ.get("PING_TIMEOUT", "20"))
    socketio = SocketIO(async_mode=os.environ.get("ASYNC_MODE"), ping_interval=pings[0], ping_timeout=pings[1])
    petiole.init_app(app, socketio)
    socketio.init_app(app)
    socketio.on_namespace(Echo("/own"))
    monitored = os.environ.get("MONITORED")
    if monitored in ("development", "production"):
        socketio.server.instrument(auth=False, mode=monitored)
    elif monitored is not None:
        put_in_place(socketio.server, monitored)

    @app.post("/start")
    def start() -> Response:
        # No worker runs it, so it stays queued.
        return petiole.accepted(petiole.start("nobody.runs.this"))

    @app.get("/sockets")
    def sockets() -> dict[str, int]:
        return {"open": len(socketio.server.eio.sockets)}

    @app.get("/")
    def index() -> str:
        petiole.user()
        return "ok"

    return app

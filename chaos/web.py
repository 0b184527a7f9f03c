"""The web server of a fault run."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

from celery import Celery, group
from flask import Flask, Response, request
from flask_socketio import SocketIO

from chaos.broker import make_celery
from chaos.clock import shift_clock
from chaos.history import record
from chaos.without import open_to_all, switch_off
from petiole import Petiole

# A user who may watch every task, until a file of this name exists.
GUEST = "user:guest"
RIGHTS_ENDED = "rights-ended"

# The fields that every log record has: all others come from Petiole.
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class Historian(logging.Handler):
    """Records Petiole's log lines."""

    def emit(self, line: logging.LogRecord) -> None:
        fields = {name: value for name, value in vars(line).items() if name not in _USUAL}
        record("web", log=line.msg, at=time.monotonic(), **fields)


def add_exports(app: Flask, petiole: Petiole) -> None:
    """Serve exports, in fault runs that have them: their imports take a second."""
    from petiole.exports import ExportSettings, exports_blueprint

    settings = ExportSettings.load(app.config)
    app.register_blueprint(exports_blueprint(petiole, database=settings.database, directory=settings.directory))


def move_headers(celery_app: Celery) -> None:
    """Move every header of a message into its header `headers`, with some more, as instrumentations do."""
    send = celery_app.send_task

    def send_moved(*arguments: Any, headers: dict[str, Any], **options: Any) -> Any:
        return send(*arguments, headers={"headers": {**headers, "sentry-trace": "4c79f60c-1"}}, **options)

    celery_app.send_task = send_moved


def create_app() -> Flask:
    shift_clock()
    switch_off()
    logger = logging.getLogger("petiole")
    logger.setLevel(logging.INFO)
    logger.addHandler(Historian())
    app = Flask(__name__)
    app.secret_key = "chaos"
    app.extensions["celery"] = celery_app = make_celery("chaos-web")
    if os.environ.get("CHAOS_HEADERS"):
        move_headers(celery_app)
    petiole = Petiole()
    petiole.identify(lambda: request.headers.get("X-Person", "somebody"))
    ended = Path(os.environ["CHAOS_HISTORY"]).parent / RIGHTS_ENDED

    @petiole.authorizer
    def authorize(action: str, feed: str, user: str, owner: str) -> bool:  # noqa: ARG001
        return user == owner or (user == GUEST and action == "watch" and not ended.exists())

    socketio = SocketIO(cors_allowed_origins="*") if open_to_all() else SocketIO()
    petiole.init_app(app, socketio)
    socketio.init_app(app)
    if os.environ.get("CHAOS_EXPORTS"):
        add_exports(app, petiole)

    @app.get("/")
    def index() -> str:
        return "ok"

    @app.get("/waiting")
    def waiting() -> dict[str, Any]:
        """The length of each connection's queue."""
        return {
            sid: [connection.queue.qsize(), sum(len(packet.data or "") for packet in list(connection.queue.queue))]
            for sid, connection in list(socketio.server.eio.sockets.items())
        }

    @app.post("/start/<name>")
    def start(name: str) -> Response:
        return petiole.accepted(petiole.start(f"chaos.tasks.{name}", request.get_json()))

    @app.post("/start-group")
    def start_group() -> Response:
        members = [
            celery_app.signature(f"chaos.tasks.{'child_late' if how == 'kill once' else 'child'}", args=[number, how])
            for number, how in enumerate(request.get_json())
        ]
        return petiole.accepted(petiole.start(group(members), title="Children"))

    return app

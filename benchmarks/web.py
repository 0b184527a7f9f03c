"""The two web applications that are compared: Petiole, and the plain pattern, on the same server."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from flask import Flask, Response, jsonify, render_template_string, request
from flask_socketio import SocketIO, join_room

from petiole import Petiole


def create_petiole() -> Flask:
    """Return an application with Petiole, in which all browsers are one user."""
    app = Flask(__name__)
    app.secret_key = "benchmarks"
    app.extensions["celery"] = Celery("benchmarks-web", broker=os.environ["CELERY_BROKER_URL"])
    petiole = Petiole()
    petiole.identify(lambda: "reader")
    socketio = SocketIO()
    petiole.init_app(app, socketio)
    socketio.init_app(app)

    @app.get("/")
    def index() -> str:
        return "ok"

    @app.get("/page/<task_id>")
    def page(task_id: str) -> str:
        script = '<script src="{{ url_for("petiole.static", filename="petiole.js") }}"></script>'
        return render_template_string(
            f"{script}<petiole-task task='{{{{ task_id }}}}'></petiole-task>", task_id=task_id
        )

    @app.post("/start/<name>")
    def start(name: str) -> Response:
        return petiole.accepted(petiole.start(f"benchmarks.tasks.{name}", request.get_json()))

    return app


def create_plain() -> Flask:
    """Return an application of the plain pattern: a room that a page joins, and a message queue."""
    app = Flask(__name__)
    app.secret_key = "benchmarks"
    broker = os.environ["CELERY_BROKER_URL"]
    celery_app = Celery("benchmarks-web", broker=broker, backend=broker)
    socketio = SocketIO(app, message_queue=broker)

    @app.get("/")
    def index() -> str:
        return "ok"

    @socketio.on("connect")  # type: ignore[untyped-decorator]
    def connect(auth: dict[str, Any]) -> None:
        join_room(auth["room"])

    @app.get("/state/<task_id>")
    def state(task_id: str) -> Response:
        result = celery_app.AsyncResult(task_id)
        return jsonify(state=result.state, info=result.info if result.state == "PROGRESS" else None)

    @app.post("/start/<name>")
    def start(name: str) -> tuple[Response, int]:
        task = celery_app.send_task(f"benchmarks.tasks.{name}", request.get_json())
        return jsonify(id=task.id), 202

    return app

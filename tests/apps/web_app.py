"""The Flask application of the integration tests: starts any task by name, for the user in a header."""

from __future__ import annotations

import os

from celery import Celery, chain, group
from flask import Flask, Response, request
from flask_socketio import SocketIO

from petiole import Petiole


def create_app() -> Flask:
    app = Flask(__name__)
    app.config["SECRET_KEY"] = "integration"
    # By name only: this process doesn't have the tasks' code.
    celery_app = Celery(
        "integration-web", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ.get("WEB_RESULT_BACKEND")
    )
    celery_app.conf.task_default_queue_type = os.environ.get("QUEUE_TYPE", "classic")
    if "BROKER_MASTER" in os.environ:
        celery_app.conf.broker_transport_options = {"master_name": os.environ["BROKER_MASTER"]}
    app.extensions["celery"] = celery_app
    petiole = Petiole()

    @petiole.identify
    def identify() -> str | None:
        return request.headers.get("X-Person")

    socketio = SocketIO()
    petiole.init_app(app, socketio)
    socketio.init_app(app)

    @app.post("/start/<name>")
    def start(name: str) -> Response:
        body = request.get_json(silent=True) or {}
        handle = petiole.start(
            f"tests.apps.worker_app.{name}",
            body.get("args", []),
            body.get("kwargs"),
            title=body.get("title"),
            queue=body.get("queue"),
        )
        return petiole.accepted(handle)

    @app.post("/canvas/<kind>")
    def start_canvas(kind: str) -> Response:
        body = request.get_json()
        tasks = [celery_app.signature(f"tests.apps.worker_app.{name}", args=args) for name, *args in body["tasks"]]
        canvas = group(tasks) if kind == "group" else chain(tasks)
        return petiole.accepted(petiole.start(canvas, title=body.get("title"), light=body.get("light")))

    @app.get("/")
    def index() -> str:
        petiole.user()
        return "ok"

    return app

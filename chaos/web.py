"""The web server of a fault run."""

from __future__ import annotations

import os

from celery import Celery
from flask import Flask, Response, request
from flask_socketio import SocketIO

from chaos.without import switch_off
from petiole import Petiole


def create_app() -> Flask:
    switch_off()
    app = Flask(__name__)
    app.secret_key = "chaos"
    app.extensions["celery"] = Celery("chaos-web", broker=os.environ["CELERY_BROKER_URL"])
    petiole = Petiole()
    petiole.identify(lambda: "somebody")
    socketio = SocketIO()
    petiole.init_app(app, socketio)
    socketio.init_app(app)

    @app.get("/")
    def index() -> str:
        return "ok"

    @app.post("/say")
    def start() -> Response:
        return petiole.accepted(petiole.start("chaos.tasks.say", request.get_json()))

    return app

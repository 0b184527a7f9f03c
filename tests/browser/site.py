"""The application for the hard cases: starts any of them, and shows one under the strictest policy with `'self'`."""

from __future__ import annotations

import os

from celery import Celery, group
from flask import Flask, Response, make_response, render_template_string, request
from flask_socketio import SocketIO

from petiole import Petiole

POLICY = "default-src 'self'"
PAGE = """<!doctype html>
<html lang="en">
<title>One task</title>
<script src="{{ url_for('petiole.static', filename='petiole.js') }}"></script>
<main>
  <h1>One task</h1>
  {% if task_id %}<petiole-task task="{{ task_id }}"></petiole-task>{% endif %}
  <petiole-inbox></petiole-inbox>
</main>
</html>
"""

TEXT = """<!doctype html>
<html lang="en">
<title>One text</title>
<script src="{{ url_for('petiole.static', filename='petiole.js') }}"></script>
<main>
  <h1>One text</h1>
  <petiole-text task="{{ task_id }}"></petiole-text>
</main>
</html>
"""

LIST = """<!doctype html>
<html lang="en">
<title>Own tasks</title>
<script src="{{ url_for('petiole.static', filename='petiole.js') }}"></script>
<main>
  <h1>Own tasks</h1>
  <petiole-tasks filter limit="{{ limit }}"></petiole-tasks>
</main>
</html>
"""


def create_app() -> Flask:
    app = Flask(__name__)
    app.config["SECRET_KEY"] = "browser"
    # By name only: this process doesn't have the tasks' code.
    celery_app = Celery("browser-web", broker=os.environ["CELERY_BROKER_URL"])
    app.extensions["celery"] = celery_app
    petiole = Petiole()
    socketio = SocketIO()
    petiole.init_app(app, socketio)
    socketio.init_app(app)

    @app.post("/start/<name>")
    def start(name: str) -> Response:
        body = request.get_json()
        return petiole.accepted(
            petiole.start(f"tests.browser.tasks.{name}", body.get("args", []), title=body.get("title"))
        )

    @app.post("/album")
    def start_album() -> Response:
        asked = request.get_json()
        draw = "tests.browser.tasks.draw_thumbnail"
        album = group(celery_app.signature(draw, [number, asked["key"]]) for number in range(asked["pictures"]))
        return petiole.accepted(petiole.start(album, title="An album"))

    @app.get("/tasks")
    def tasks() -> Response:
        petiole.user()
        response = make_response(render_template_string(LIST, limit=request.args.get("limit", "20")))
        response.headers["Content-Security-Policy"] = POLICY
        return response

    @app.get("/text/<task_id>")
    def text(task_id: str) -> Response:
        petiole.user()
        response = make_response(render_template_string(TEXT, task_id=task_id))
        response.headers["Content-Security-Policy"] = POLICY
        return response

    @app.get("/")
    @app.get("/<task_id>")
    def page(task_id: str | None = None) -> Response:
        petiole.user()
        response = make_response(render_template_string(PAGE, task_id=task_id))
        response.headers["Content-Security-Policy"] = POLICY
        return response

    return app

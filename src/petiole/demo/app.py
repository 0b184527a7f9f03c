"""The demo's web application: one page, the exports, and Petiole."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from flask import Flask, Response, make_response, render_template
from flask_socketio import SocketIO

from petiole import Petiole
from petiole.demo.breakage import breakage_blueprint
from petiole.demo.celery_app import celery_app
from petiole.demo.data import TABLES
from petiole.demo.plain import describe
from petiole.errors import Unavailable
from petiole.exports.settings import ExportSettings
from petiole.exports.views import MOST_BODY, exports_blueprint

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)

# As many as the list's first page has.
SHOWN = 50


def create_app() -> Flask:
    """Build the application; its secret key comes from `FLASK_SECRET_KEY`.

    With `FLASK_DEMO_DIRECTORY` its page can ask the demo that runs there to kill the worker.
    """
    app = Flask(__name__)
    app.config.from_prefixed_env()
    app.config.update(SESSION_COOKIE_SAMESITE="Lax", SESSION_COOKIE_HTTPONLY=True, MAX_CONTENT_LENGTH=MOST_BODY)
    app.extensions["celery"] = celery_app
    socketio = SocketIO()
    petiole = Petiole()
    petiole.init_app(app, socketio)
    exports = ExportSettings.load(app.config)
    app.register_blueprint(
        exports_blueprint(petiole, database=exports.database, directory=exports.directory, tables=TABLES)
    )
    socketio.init_app(app)
    breakable = app.config.get("DEMO_DIRECTORY")
    if breakable is not None:
        app.register_blueprint(breakage_blueprint(Path(str(breakable))))

    def own_tasks(user: str) -> list[dict[str, Any]]:
        try:
            found, _ = petiole.journal.list(user, limit=SHOWN)
        except Unavailable:
            return []  # the page works without them, and shows the outage itself
        return [petiole.to_wire(snapshot) for snapshot in found]

    @app.get("/")
    def page() -> Response:
        now = time.time_ns() // 1_000_000
        prefix = app.extensions["petiole"].settings.url_prefix
        tasks = [(wire, describe(wire, now=now)) for wire in own_tasks(petiole.user(create=True) or "")]
        response = make_response(
            render_template("page.html", prefix=prefix, tasks=tasks, breakable=breakable is not None)
        )
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        response.headers["Cache-Control"] = "no-store"
        return response

    return app

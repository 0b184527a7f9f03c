"""The demo's web application: one page, the exports, and Petiole."""

from __future__ import annotations

from flask import Flask, Response, make_response, render_template
from flask_socketio import SocketIO

from petiole import Petiole
from petiole.demo.celery_app import celery_app
from petiole.demo.data import TABLES
from petiole.exports.views import exports_blueprint

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


def create_app() -> Flask:
    """Build the application; its secret key comes from `FLASK_SECRET_KEY`."""
    app = Flask(__name__)
    app.config.from_prefixed_env()
    app.config.update(SESSION_COOKIE_SAMESITE="Lax", SESSION_COOKIE_HTTPONLY=True, MAX_CONTENT_LENGTH=64 * 1024)
    app.extensions["celery"] = celery_app
    socketio = SocketIO()
    petiole = Petiole()
    petiole.init_app(app, socketio)
    settings = app.extensions["petiole"].settings
    app.register_blueprint(
        # A database that somebody has given may have more, which is not for everybody who sees the demo.
        exports_blueprint(
            petiole,
            database=settings.exports_database,
            directory=settings.exports_directory,
            tables=TABLES,
        )
    )
    socketio.init_app(app)

    @app.get("/")
    def page() -> Response:
        petiole.user(create=True)
        response = make_response(render_template("page.html", prefix=settings.url_prefix))
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        response.headers["Cache-Control"] = "no-store"
        return response

    return app

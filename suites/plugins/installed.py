"""A pytest plugin: every Flask application with a server in a test of Flask-SocketIO has all of Petiole."""

from __future__ import annotations

import functools
import os
from typing import Any, Final

from celery import Celery
from flask import Flask
from flask_socketio import SocketIO

from petiole import Petiole
from petiole.web.state import EXTENSION

BROKER: Final = os.environ["SUITES_REDIS"]

_init_app = SocketIO.init_app


@functools.wraps(_init_app)
def init_app(self: SocketIO, app: Flask | None, **options: Any) -> None:
    _init_app(self, app, **options)
    if app is not None and EXTENSION not in app.extensions:
        app.secret_key = app.secret_key or "secret"
        Petiole().init_app(app, self, celery_app=Celery(broker=BROKER))


SocketIO.init_app = init_app

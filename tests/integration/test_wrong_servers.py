"""Servers that can't serve an application's sockets: each is refused when it loads the application, with an explanation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

APPLICATION = """
import os
from celery import Celery
from flask import Flask
from flask_socketio import SocketIO
from petiole import Petiole

def create_app(first=True):
    app = Flask("application")
    app.secret_key = "secret"
    socketio = SocketIO(async_mode=os.environ.get("ASYNC_MODE"))
    if first:
        socketio.init_app(app)
    Petiole(app, socketio, celery_app=Celery("tasks", broker="redis://127.0.0.1:1/0"))
    if not first:
        socketio.init_app(app)
    return app
"""
WEBSOCKET = "geventwebsocket.gunicorn.workers.GeventWebSocketWorker"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("application")
    (made / "application.py").write_text(APPLICATION)
    return made


def load(directory: Path, *options: str, app: str = "application:create_app()", **environment: str):
    """gunicorn's output when it loads the application, and nothing else."""
    return subprocess.run(
        [sys.executable, "-m", "gunicorn", "--no-control-socket", "--bind", "127.0.0.1:0", *options, app],
        cwd=directory,
        env={"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("options", "environment", "said"),
    [
        ((), {}, "sync worker serves one request at a time"),
        (("--worker-class", "gevent"), {}, "gevent worker serves no WebSocket where gevent-websocket is installed"),
        (("--threads", "4"), {}, "can't serve Socket.IO in the mode gevent. Make it SocketIO(async_mode='threading')"),
        (("--worker-class", WEBSOCKET), {"SCRIPT_NAME": "/app"}, "SCRIPT_NAME is /app, of which this worker"),
    ],
)
def test_one_that_can_not_is_refused_at_start(directory, options, environment, said):
    refused = load(directory, "--check-config", *options, **environment)
    assert refused.returncode != 0
    assert f"SetupError: {'' if said.startswith('SCRIPT') else 'gunicorn'}" in refused.stderr
    assert said in refused.stderr


def test_a_worker_does_not_even_boot_whichever_is_set_up_first(directory):
    refused = load(directory, app="application:create_app(first=False)", ASYNC_MODE="threading")
    assert refused.returncode == 3
    assert "gunicorn's sync worker serves one request at a time" in refused.stderr
    assert "Worker failed to boot" in refused.stderr


@pytest.mark.parametrize(
    ("options", "environment"),
    [
        (("--worker-class", WEBSOCKET), {}),
        (("--worker-class", "gthread", "--threads", "100"), {"ASYNC_MODE": "threading", "SCRIPT_NAME": "/app"}),
    ],
)
def test_those_of_the_documentation_load_it(directory, options, environment):
    loaded = load(directory, "--check-config", *options, **environment)
    assert (loaded.returncode, loaded.stderr) == (0, "")

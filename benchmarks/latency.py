"""Milliseconds from `progress.emit` in a Celery worker to a Socket.IO client, through journal, bus and relay, for one task."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import requests
from celery import Celery
from flask import Flask, Response
from flask_socketio import SocketIO

from petiole import Petiole
from petiole.client import TaskClient
from petiole.demo.processes import Processes
from petiole.demo.redis_server import find_redis_server, free_port, redis_command
from petiole.events import Event

COUNT = 2000
INTERVAL = 0.005
ROUNDS = 5


def create_app() -> Flask:
    app = Flask(__name__)
    app.secret_key = "benchmarks"
    app.extensions["celery"] = Celery("benchmarks-web", broker=os.environ["CELERY_BROKER_URL"])
    petiole = Petiole()
    socketio = SocketIO()
    petiole.init_app(app, socketio)
    socketio.init_app(app)

    @app.get("/")
    def index() -> str:
        petiole.user()
        return "ok"

    @app.post("/start")
    def start() -> Response:
        return petiole.accepted(petiole.start("benchmarks.tasks.emit_stamps", [COUNT, INTERVAL]))

    return app


def measure(url: str) -> list[float]:
    """Follow one task and return the milliseconds of each of its stamps, sorted."""
    taken: list[float] = []

    def take(event: Event) -> None:
        if event.kind == "custom":
            taken.append((time.monotonic_ns() - event.data["data"]) / 1e6)

    session = requests.Session()
    session.get(url, timeout=5).raise_for_status()
    client = TaskClient(url, session=session)
    view = client.start("/start", {}, on_event=take)
    view.wait(timeout=60)
    client.close()
    if view.receipt is None or not view.receipt.complete:
        sys.exit(f"The receipt isn't complete: {view.receipt}")
    return sorted(taken)


def main() -> None:
    """Print the median and the 99th percentile of each round, and the medians of those."""
    processes = Processes(lambda _name, _line: None)
    with tempfile.TemporaryDirectory() as directory:
        redis_port, web_port = free_port(), free_port()
        environment = {"CELERY_BROKER_URL": f"redis://127.0.0.1:{redis_port}/0"}
        command = redis_command(find_redis_server(), port=redis_port, directory=Path(directory))
        try:
            processes.start("redis", command)
            worker = processes.start(
                "worker",
                [
                    *(sys.executable, "-m", "celery", "-A", "benchmarks.tasks", "worker", "--loglevel", "INFO"),
                    *("--concurrency", "1", "--without-gossip", "--without-mingle"),
                ],
                environment=environment,
                ready_line=" ready.",
            )
            web = processes.start(
                "web",
                [
                    *(sys.executable, "-m", "gunicorn", "--config", "python:petiole.demo.gunicorn_conf"),
                    *("--bind", f"127.0.0.1:{web_port}", "benchmarks.latency:create_app()"),
                ],
                environment=environment,
            )
            url = f"http://127.0.0.1:{web_port}"
            processes.wait_ready(web, timeout=30, condition=lambda: _answers(url))
            processes.wait_ready(worker, timeout=30)
            measure(url)
            rounds = []
            for number in range(ROUNDS):
                taken = measure(url)
                rounds.append((taken[len(taken) // 2], taken[int(len(taken) * 0.99)]))
                print(f"round {number + 1}: {len(taken)} facts, p50 {rounds[-1][0]:.2f} ms, p99 {rounds[-1][1]:.2f} ms")
            p50, p99 = (statistics.median(column) for column in zip(*rounds, strict=True))
            print(f"median of {ROUNDS} rounds at {1 / INTERVAL:.0f} facts a second: p50 {p50:.2f} ms, p99 {p99:.2f} ms")
        finally:
            processes.stop()


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False

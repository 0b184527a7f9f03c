"""Exports the whole way: a mounted application, and workers that others have set up otherwise."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from flask import Flask
from flask_socketio import SocketIO

from petiole import Petiole
from petiole.exports import LocalStorage, exports_blueprint
from petiole.exports.files.storage import STALE_AFTER
from petiole.protocol.states import is_terminal
from petiole.servers.processes import Process, Processes
from tests.support.waiting import wait_until

MOUNTED = {"SCRIPT_NAME": "/shop"}


class Site:
    """An application below /shop, and its workers."""

    def __init__(self, processes: Processes, folder: Path, redis_url: str, name: str) -> None:
        self._processes = processes
        self.files = folder / "files"
        database = folder / "a.db"
        with closing(sqlite3.connect(database)) as connection:
            for table, rows in (("salaries", 100), ("many", 99_999)):
                connection.execute(f"CREATE TABLE {table} (n INTEGER)")
                connection.executemany(f"INSERT INTO {table} VALUES (?)", ((n,) for n in range(rows)))
            connection.commit()
        self.environment = {
            **os.environ,
            "CELERY_BROKER_URL": redis_url,
            "PETIOLE_KEY_PREFIX": name,
            "PETIOLE_EXPORTS_DATABASE": str(database),
            "PETIOLE_EXPORTS_DIRECTORY": str(self.files),
            "PETIOLE_EXPORTS_ROWS_PER_SECOND": "1000",
        }
        self._queue = name
        app = Flask(__name__)
        app.secret_key = "for this test"
        app.testing = True
        app.config["PETIOLE_KEY_PREFIX"] = name
        celery_app = Celery("test", broker=redis_url)
        celery_app.conf.task_default_queue = name
        petiole = Petiole(app, SocketIO(app, async_mode="threading"), celery_app=celery_app)
        app.register_blueprint(
            exports_blueprint(petiole, database=database, directory=self.files), url_prefix="/reports"
        )
        self.client = app.test_client()

    def start_worker(self, **environment: object) -> Process:
        command = [sys.executable, "-m", "celery", "-A", "petiole.demo.celery_app", "worker", "--queues", self._queue]
        worker = self._processes.start(
            "worker",
            [*command, "--concurrency", "1", "--loglevel", "INFO", "--without-gossip", "--without-mingle"],
            environment={**self.environment, **{key: str(value) for key, value in environment.items()}},
            ready_line=" ready.",
        )
        self._processes.wait_ready(worker, timeout=30)
        return worker

    def kill(self, worker: Process) -> None:
        os.killpg(worker.popen.pid, signal.SIGKILL)
        worker.popen.wait(5)
        self._processes.forget(worker)

    def export(self, table: str) -> str:
        response = self.client.post("/reports", json={"table": table}, environ_overrides=MOUNTED)
        assert response.status_code == 202, response.text
        return str(response.json["id"])

    def task(self, task_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/petiole/tasks/{task_id}", environ_overrides=MOUNTED).json
        return found

    def end_of(self, task_id: str) -> dict[str, Any]:
        wait_until(
            lambda: is_terminal(self.task(task_id)["document"]["state"]), timeout=30, what="the export has ended"
        )
        return self.task(task_id)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, redis_servers: Callable) -> Iterator[Site]:
    processes = Processes(lambda name, line: None)
    try:
        yield Site(processes, tmp_path_factory.mktemp("exports"), redis_servers("system").url, "exports-whole-way")
    finally:
        processes.stop()


def test_a_link_leads_to_its_file_under_any_prefix_until_it_is_deleted(site: Site) -> None:
    worker = site.start_worker()
    found = site.end_of(site.export("salaries"))
    (artifact,) = found["document"]["artifacts"]
    assert artifact["url"] == found["links"]["file"] == f"/shop/reports/{found['id']}/file"
    path = artifact["url"].removeprefix("/shop")
    assert site.client.get(path, environ_overrides=MOUNTED).data.count(b"\n") == 101
    assert site.client.delete(f"/petiole/tasks/{found['id']}").status_code == 204
    assert [path.name for path in site.files.iterdir()] == [".petiole-storage"]

    running = site.export("many")
    wait_until(lambda: any(site.files.glob(f".tmp-{running}-*")), timeout=15, what="the worker writes the file")
    site.kill(worker)
    late = LocalStorage(site.files, clock=lambda: time.time() + STALE_AFTER + 1)
    assert late.sweep() == 1
    assert [path.name for path in site.files.iterdir()] == [".petiole-storage"]


def test_a_worker_checks_what_has_changed_while_an_export_waited(site: Site, tmp_path: Path) -> None:
    waiting = site.export("salaries")
    worker = site.start_worker(PETIOLE_EXPORTS_TABLES="many")
    document = site.end_of(waiting)["document"]
    assert document["state"] == "failed"
    assert "The offer has changed since the export was asked for." in str(document)
    assert "many" not in str(document["error"])
    site.kill(worker)

    # Another host, with a directory of its own at the same path.
    waiting = site.export("salaries")
    site.start_worker(PETIOLE_EXPORTS_DIRECTORY=tmp_path / "files")
    document = site.end_of(waiting)["document"]
    assert document["state"] == "failed"
    assert "PETIOLE_EXPORTS_DIRECTORY has to name the same directory for both." in str(document)
    assert not (tmp_path / "files").exists()
    answer = site.client.get(f"/reports/{waiting}/file")
    assert (answer.status_code, answer.json["title"]) == (409, "There is no file")

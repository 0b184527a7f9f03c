"""Celery's result of a cancelled task, read by the status routes of various documentations."""

from __future__ import annotations

import json

import pytest
from celery import Celery
from celery.backends.base import KeyValueStoreBackend
from celery.exceptions import TaskRevokedError
from celery.result import AsyncResult
from celery_progress.backend import Progress
from flask import Flask, jsonify

from petiole.dispatch.revoked import TaskCancelled, store_cancelled


class KeptHere(KeyValueStoreBackend):
    """Celery's own backend, with a dictionary as its server."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.kept = {}

    def get(self, key):
        return self.kept.get(key)

    def set(self, key, value):
        self.kept[key] = value

    def _set_with_state(self, key, value, state):
        self.set(key, value)


@pytest.fixture(params=["json", "pickle"])
def result(request):
    """The calls of a status route, for a cancelled task."""
    celery_app = Celery("tasks", set_as_current=False)
    celery_app.conf.update(result_serializer=request.param, accept_content=["json", "pickle"])
    backend = KeptHere(app=celery_app)

    @celery_app.task(bind=True, shared=False)
    def report(self):
        """Report."""

    report.backend = backend
    report.push_request(id="1")
    store_cancelled(report, report.request, "The task was cancelled <b>.")
    report.pop_request()
    return AsyncResult("1", backend=backend, app=celery_app)


def test_the_route_of_flasks_documentation_answers(result):
    app = Flask(__name__)

    @app.get("/result/<id>")
    def task_result(id):
        return {
            "ready": result.ready(),
            "successful": result.successful(),
            "value": result.result if result.ready() else None,
        }

    answer = app.test_client().get("/result/1")
    assert answer.status_code == 200
    assert answer.json == {"ready": True, "successful": False, "value": "The task was cancelled &lt;b&gt;."}


def test_a_route_that_reads_progress_from_info_answers(result):
    app = Flask(__name__)

    @app.get("/status/<id>")
    def taskstatus(id):
        if result.state == "PENDING":
            response = {"state": result.state, "current": 0, "total": 1, "status": "Pending..."}
        elif result.state != "FAILURE":
            response = {
                "state": result.state,
                "current": result.info.get("current", 0),
                "total": result.info.get("total", 1),
                "status": result.info.get("status", ""),
            }
            if "result" in result.info:
                response["result"] = result.info["result"]
        else:
            response = {"state": result.state, "current": 1, "total": 1, "status": str(result.info)}
        return jsonify(response)

    answer = app.test_client().get("/status/1")
    assert (answer.status_code, answer.json) == (200, {"state": "REVOKED", "current": 0, "total": 1, "status": ""})


def test_celery_progress_says_that_it_is_complete(result):
    info = json.loads(json.dumps(Progress(result).get_info()))
    assert (info["state"], info["complete"], info["success"]) == ("REVOKED", True, False)
    assert info["result"] == "Task The task was cancelled <b>."


def test_who_gets_it_catches_what_celery_raises(result):
    with pytest.raises(TaskRevokedError) as raised:
        result.maybe_throw()
    assert isinstance(raised.value, TaskCancelled)
    assert raised.value.args == ("The task was cancelled <b>.",)

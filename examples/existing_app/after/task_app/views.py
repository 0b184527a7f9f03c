from celery.result import AsyncResult
from flask import Blueprint, request

from task_app import tasks

bp = Blueprint("tasks", __name__, url_prefix="/tasks")


@bp.get("/result/<id>")
def result(id):
    result = AsyncResult(id)
    ready = result.ready()
    return {
        "ready": ready,
        "successful": result.successful() if ready else None,
        "value": result.get() if ready else result.result,
    }


@bp.post("/add")
def add():
    result = tasks.add.delay(request.form.get("a", type=int), request.form.get("b", type=int))
    return {"result_id": result.id}


@bp.post("/process")
def process():
    result = tasks.process.delay(request.form.get("total", type=int))
    return {"result_id": result.id}

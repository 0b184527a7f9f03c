"""The HTTP twin of the socket: monitor, texts, events, list, cancel, and the browser file."""

from __future__ import annotations

from http import HTTPStatus

from flask import Blueprint, Response, jsonify, request, url_for

from petiole.errors import InvalidName, Unavailable
from petiole.journal.answers import Snapshot
from petiole.protocol.events import task_feed
from petiole.web.access.origins import refuse_foreign_origin
from petiole.web.bodies import bound_body, read_json
from petiole.web.http.answers import answer_events, answer_snapshot, answer_started
from petiole.web.http.assets import keep_versions
from petiole.web.http.children import answer_children, failed_children
from petiole.web.http.lists import asked_for, limit_of, link_next
from petiole.web.http.neighbours import stand_past_csrf, stand_past_limits
from petiole.web.http.openapi import describe
from petiole.web.http.page import see, task_page, wants_page
from petiole.web.http.polling import RETRY_AFTER
from petiole.web.http.refusals import answer_invalid_name, answer_outage
from petiole.web.http.texts import answer_text, shown_texts
from petiole.web.problems import invalid, not_found
from petiole.web.service.actions import wants_force
from petiole.web.service.listing import PAGE_SIZE
from petiole.web.service.service import Service
from petiole.web.state import current_state


def monitor_blueprint(service: Service) -> Blueprint:
    """Return the routes below the prefix; their names begin with `petiole.`."""
    blueprint = Blueprint(
        "petiole", "petiole.web", static_folder="static", static_url_path="/static", template_folder="templates"
    )

    def authorized(action: str, task_id: str) -> Snapshot:
        try:
            return service.authorize(action, task_feed(task_id))
        except InvalidName:
            raise not_found() from None

    @blueprint.get("/alive")
    def alive() -> Response:
        return _uncached(jsonify({"alive": True}))

    @blueprint.get("/ready")
    def ready() -> Response:
        return _ready()

    @blueprint.get("/tasks")
    def tasks() -> Response:
        return _own_tasks(service)

    @blueprint.get("/tasks/<task_id>")
    def task(task_id: str) -> Response:
        snapshot = authorized("watch", task_id)
        wire = service.to_wire(snapshot)
        if wants_page():
            failed = failed_children(service.journal, snapshot)
            return task_page(wire, shown_texts(service.journal, snapshot), failed)
        return answer_snapshot(snapshot, wire)

    @blueprint.delete("/tasks/<task_id>")
    def delete(task_id: str) -> tuple[str, int]:
        refuse_foreign_origin()
        service.delete(authorized("delete", task_id))
        return "", HTTPStatus.NO_CONTENT

    @blueprint.get("/tasks/<task_id>/text/<name>")
    def text(task_id: str, name: str) -> Response:
        return answer_text(service.journal, authorized("watch", task_id), name)

    @blueprint.get("/tasks/<task_id>/children")
    def children(task_id: str) -> Response:
        return answer_children(service, authorized("watch", task_id))

    @blueprint.get("/tasks/<task_id>/events")
    def events(task_id: str) -> Response:
        document_at = url_for("petiole.task", task_id=task_id)
        return answer_events(service, authorized("watch", task_id), document_at=document_at)

    @blueprint.post("/tasks/<task_id>/cancel")
    def cancel(task_id: str) -> Response:
        refuse_foreign_origin()
        found = authorized("cancel", task_id)
        status, snapshot = service.cancel(found, force=wants_force(read_json()))
        wire = service.to_wire(snapshot)
        if wants_page():
            return see(wire["links"]["self"])
        response = jsonify(wire)
        response.status_code = status
        return response

    @blueprint.post("/tasks/<task_id>/retry")
    def retry(task_id: str) -> Response:
        refuse_foreign_origin()
        return answer_started(service.wire_of(service.retry(authorized("retry", task_id))))

    @blueprint.get("/openapi.json")
    def openapi() -> Response:
        return jsonify(describe(url_for("petiole.openapi").removesuffix("/openapi.json")))

    blueprint.before_request(bound_body)
    blueprint.after_request(keep_versions)
    stand_past_csrf(blueprint)
    stand_past_limits(blueprint)
    blueprint.register_error_handler(InvalidName, answer_invalid_name)
    blueprint.register_error_handler(Unavailable, answer_outage)
    return blueprint


def _own_tasks(service: Service) -> Response:
    asked = asked_for("state", "name", "limit", "children")
    page = service.tasks(
        state=asked.get("state"),
        name=asked.get("name"),
        limit=limit_of(asked.get("limit"), otherwise=PAGE_SIZE),
        cursor=request.args.get("cursor"),
        children=_yes(asked.get("children")),
    )
    response = jsonify({"tasks": [service.to_wire(snapshot) for snapshot in page]})
    response.headers["Cache-Control"] = "private, no-cache"
    link_next(response, url_for("petiole.tasks"), asked, page.cursor)
    return response


def _yes(text: str | None) -> bool:
    if text not in (None, "1", "0"):
        raise invalid("Send children=1 to list the tasks of groups too, or leave it out.")
    return text == "1"


def _ready() -> Response:
    readiness = current_state().readiness
    closed, degraded = readiness.closed(), readiness.degraded()
    if closed is None:
        return _uncached(jsonify({"ready": True} | ({} if degraded is None else {"degraded": degraded})))
    response = jsonify({"ready": False, "reason": closed})
    response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    response.headers["Retry-After"] = RETRY_AFTER
    return _uncached(response)


def _uncached(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response

"""The HTTP twin of the socket: monitor, events, list, cancel, and the browser file."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from flask import Blueprint, Response, jsonify, request, url_for

from petiole.errors import InvalidName, Unavailable
from petiole.journal.answers import Snapshot
from petiole.journal.rules import INBOX_START
from petiole.protocol import states
from petiole.protocol.events import Cursor, feed_id, task_feed
from petiole.web.access.origins import refuse_foreign_origin
from petiole.web.actions import REPEATABLE, wants_force
from petiole.web.http.bodies import bound_body, read_json
from petiole.web.http.listing import PAGE_SIZE
from petiole.web.http.neighbours import stand_past_csrf, stand_past_limits
from petiole.web.http.openapi import describe
from petiole.web.http.page import see, task_page, wants_page
from petiole.web.http.stream import MEDIA_TYPE, stream
from petiole.web.problems import Problem, not_found, unavailable

if TYPE_CHECKING:
    from petiole.web.extension import Petiole

RETRY_AFTER: Final = "3"


def monitor_blueprint(petiole: Petiole) -> Blueprint:
    """Return the routes below the prefix; their names begin with `petiole.`."""
    blueprint = Blueprint(
        "petiole", "petiole.web", static_folder="static", static_url_path="/static", template_folder="templates"
    )

    def authorized(action: str, task_id: str) -> Snapshot:
        try:
            return petiole.authorize(action, task_feed(task_id))
        except InvalidName:
            raise not_found() from None

    @blueprint.get("/alive")
    def alive() -> Response:
        return _uncached(jsonify({"alive": True}))

    @blueprint.get("/ready")
    def ready() -> Response:
        return _ready(petiole)

    @blueprint.get("/tasks")
    def tasks() -> Response:
        return _own_tasks(petiole)

    @blueprint.get("/tasks/<task_id>")
    def task(task_id: str) -> Response:
        snapshot = authorized("watch", task_id)
        wire = petiole.to_wire(snapshot)
        return task_page(wire) if wants_page() else answer_snapshot(snapshot, wire)

    @blueprint.delete("/tasks/<task_id>")
    def delete(task_id: str) -> tuple[str, int]:
        refuse_foreign_origin()
        petiole.delete(authorized("delete", task_id))
        return "", HTTPStatus.NO_CONTENT

    @blueprint.get("/tasks/<task_id>/events")
    def events(task_id: str) -> Response:
        return answer_events(petiole, authorized("watch", task_id), gone=url_for("petiole.task", task_id=task_id))

    @blueprint.post("/tasks/<task_id>/cancel")
    def cancel(task_id: str) -> Response:
        refuse_foreign_origin()
        found = authorized("cancel", task_id)
        status, snapshot = petiole.cancel(found, force=wants_force(read_json()))
        wire = petiole.to_wire(snapshot)
        if wants_page():
            return see(wire["links"]["self"])
        response = jsonify(wire)
        response.status_code = status
        return response

    @blueprint.post("/tasks/<task_id>/retry")
    def retry(task_id: str) -> Response:
        refuse_foreign_origin()
        return petiole.accepted(petiole.retry(authorized("retry", task_id)))

    @blueprint.get("/openapi.json")
    def openapi() -> Response:
        return jsonify(describe(url_for("petiole.openapi").removesuffix("/openapi.json")))

    blueprint.before_request(bound_body)
    stand_past_csrf(blueprint)
    stand_past_limits(blueprint)
    blueprint.register_error_handler(InvalidName, _malformed)
    blueprint.register_error_handler(Unavailable, _away)
    return blueprint


def answer_snapshot(snapshot: Snapshot, wire: dict[str, Any]) -> Response:
    """Return a document with its ETag; 304 to who has it already."""
    response = jsonify(wire)
    # The cursor, which clients know without having been told the tag; but all inboxes begin at one cursor, and at one address.
    at_start = snapshot.cursor == INBOX_START
    response.set_etag(f"{feed_id(snapshot.feed)}.{snapshot.cursor}" if at_start else str(snapshot.cursor))
    response.vary.add("Accept")
    response.headers["Cache-Control"] = "private, no-cache"
    if not states.is_terminal(snapshot.document.get("state")):
        response.headers["Retry-After"] = RETRY_AFTER
    response.make_conditional(request)
    return response


def answer_events(petiole: Petiole, snapshot: Snapshot, *, gone: str) -> Response:
    """Return the facts after the cursor that the request names: as JSON, or as a stream by `Accept`.

    Raises:
        Problem: 410, they aren't kept any more; `gone` is where the document is.
    """
    after = request.args.get("after") or request.headers.get("Last-Event-ID")
    cursor = Cursor.parse(after) if after else None
    if request.accept_mimetypes.best_match(("application/json", MEDIA_TYPE)) == MEDIA_TYPE:
        return _streamed(petiole, snapshot, cursor)
    reading = petiole.journal.read(snapshot.feed, cursor, limit=petiole.settings.read_limit)
    if reading is None:
        raise not_found()
    if not reading.recovered and reading.start is None:
        raise Problem(
            HTTPStatus.GONE,
            "Gone",
            "The events after that cursor are not kept any more. Read the document and go on from its cursor.",
            members={"links": {"self": gone}},
        )
    response = jsonify(reading.to_wire())
    response.headers["Cache-Control"] = "private, no-cache"
    if not states.is_terminal(reading.document.get("state")):
        response.headers["Retry-After"] = RETRY_AFTER
    return response


def _streamed(petiole: Petiole, snapshot: Snapshot, cursor: Cursor | None) -> Response:
    if cursor == snapshot.cursor and states.is_terminal(snapshot.document.get("state")):
        # An EventSource takes this as the end; any other answer makes it ask again.
        return Response(status=HTTPStatus.NO_CONTENT)
    blocks = stream(
        petiole.journal,
        snapshot.feed,
        cursor,
        owner=snapshot.owner,
        limit=petiole.settings.read_limit,
        sleep=petiole.socketio.sleep,
        may_watch=petiole.still_may("watch", snapshot.feed),
        rights_check=petiole.settings.rights_check,
    )
    response = Response(blocks, mimetype=MEDIA_TYPE)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # nginx would hold it back
    return response


def links(snapshot: Snapshot) -> dict[str, Any]:
    """Return where a task's monitor, events and cancel are, and where it can be started again, if it can."""
    task_id = feed_id(snapshot.feed)
    found = {
        "self": url_for("petiole.task", task_id=task_id),
        "events": url_for("petiole.events", task_id=task_id),
        "cancel": url_for("petiole.cancel", task_id=task_id),
    }
    if snapshot.document.get("state") in REPEATABLE:
        found["retry"] = url_for("petiole.retry", task_id=task_id)
    return found


def _own_tasks(petiole: Petiole) -> Response:
    asked = {name: value for name in ("state", "name", "limit") if (value := request.args.get(name)) is not None}
    page = petiole.tasks(
        state=asked.get("state"),
        name=asked.get("name"),
        limit=_limit(asked.get("limit")),
        cursor=request.args.get("cursor"),
    )
    response = jsonify({"tasks": [petiole.to_wire(snapshot) for snapshot in page]})
    response.headers["Cache-Control"] = "private, no-cache"
    if page.cursor is not None:
        query = urlencode({"cursor": page.cursor} | asked)
        response.headers["Link"] = f'<{url_for("petiole.tasks")}?{query}>; rel="next"'
    return response


def _limit(text: str | None) -> int:
    if text is None:
        return PAGE_SIZE
    # What isn't a number is no more a limit than 0 is.
    return int(text) if text.isdecimal() and len(text) <= 4 else 0


def _ready(petiole: Petiole) -> Response:
    closed, degraded = petiole.readiness.closed(), petiole.readiness.degraded()
    if closed is None:
        return _uncached(jsonify({"ready": True} | ({} if degraded is None else {"degraded": degraded})))
    response = jsonify({"ready": False, "reason": closed})
    response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    response.headers["Retry-After"] = RETRY_AFTER
    return _uncached(response)


def _uncached(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response


def _malformed(error: InvalidName) -> Response:
    return Problem(HTTPStatus.BAD_REQUEST, "Bad request", str(error)).to_response()


def _away(error: Unavailable) -> Response:
    return unavailable(error).to_response()

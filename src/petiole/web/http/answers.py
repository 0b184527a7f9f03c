"""Answers about feeds: a started task's 202, a document, the events after a cursor."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Response, jsonify, request

from petiole.journal.answers import Snapshot
from petiole.journal.rules import INBOX_START
from petiole.protocol import states
from petiole.protocol.events import Cursor, feed_id
from petiole.web.http.page import see, wants_page
from petiole.web.http.polling import RETRY_AFTER, keep_asking
from petiole.web.http.stream import MEDIA_TYPE, stream
from petiole.web.problems import Problem, not_found
from petiole.web.service.authorization import Authorization
from petiole.web.state import current_state


def answer_started(wire: dict[str, Any]) -> Response:
    """Return the 202 that names the task's monitor; to a form a 303 to its page."""
    if wants_page():
        return see(wire["links"]["self"])
    response = jsonify(wire)
    response.status_code = HTTPStatus.ACCEPTED
    response.headers["Location"] = wire["links"]["self"]
    response.headers["Retry-After"] = RETRY_AFTER
    response.headers["Cache-Control"] = "no-store"
    response.vary.add("Accept")
    return response


def answer_snapshot(snapshot: Snapshot, wire: dict[str, Any]) -> Response:
    """Return a document with its ETag; 304 to a client that has it already."""
    response = jsonify(wire)
    # The tag is the cursor, which clients know already; with the lengths of texts, so that a client sees if there is more
    # of them. But all empty inboxes have one cursor, and one address.
    cursor = snapshot.cursor
    response.set_etag(f"{feed_id(snapshot.feed)}.{cursor}" if cursor == INBOX_START else str(cursor))
    response.vary.add("Accept")
    keep_asking(response, snapshot.document)
    response.make_conditional(request)
    return response


def answer_events(rules: Authorization, snapshot: Snapshot, *, document_at: str) -> Response:
    """Return the facts after the cursor that the request names: as JSON, or as a stream by `Accept`.

    Raises:
        Problem: 410, they aren't kept any more; `document_at` is the address of the document.
    """
    after = request.args.get("after") or request.headers.get("Last-Event-ID")
    lengths = request.args.get("texts")
    texts = lengths != "false"
    cursor = Cursor.parse(after, lengths if texts else None) if after else None
    if request.accept_mimetypes.best_match(("application/json", MEDIA_TYPE)) == MEDIA_TYPE:
        return _streamed(rules, snapshot, cursor)
    state = current_state()
    reading = state.journal.read(snapshot.feed, cursor, limit=state.settings.read_limit, texts=texts)
    if reading is None:
        raise not_found()
    if not reading.recovered and reading.start is None:
        raise Problem(
            HTTPStatus.GONE,
            "Gone",
            "The events after that cursor are no longer kept. Read the document and go on from its cursor.",
            members={"links": {"self": document_at}},
        )
    response = jsonify(reading.to_wire())
    keep_asking(response, reading.document)
    return response


def _streamed(rules: Authorization, snapshot: Snapshot, cursor: Cursor | None) -> Response:
    if cursor == snapshot.cursor and states.is_terminal(snapshot.document.get("state")):
        # An EventSource takes this as the end; any other answer makes it ask again.
        return Response(status=HTTPStatus.NO_CONTENT)
    state = current_state()
    blocks = stream(
        state.journal,
        snapshot.feed,
        cursor,
        owner=snapshot.owner,
        limit=state.settings.read_limit,
        sleep=state.socketio.sleep,
        may_watch=rules.still_may("watch", snapshot.feed),
        rights_check=state.settings.rights_check,
    )
    response = Response(blocks, mimetype=MEDIA_TYPE)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # nginx would hold it back
    return response

"""The inbox of who is asking, over HTTP and for the socket: its routes, and what an acknowledgement may say."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from flask import Blueprint, Response, jsonify, request, url_for

from petiole.dispatch.message import NOBODY
from petiole.errors import InvalidName
from petiole.events import Draft, feed_id, inbox_feed, task_feed
from petiole.journal.contract import Snapshot
from petiole.web.access import refuse_foreign_origin
from petiole.web.monitor import answer_events, answer_snapshot
from petiole.web.problems import Problem, not_found

if TYPE_CHECKING:
    from petiole.web.extension import Petiole

MOST_AT_ONCE: Final = 100


def inbox_of(petiole: Petiole, owner: str) -> Snapshot:
    """Return a person's inbox, made if there is none yet, so that it can be watched."""
    feed = inbox_feed(owner)
    found = petiole.journal.snapshot(feed)
    if found is None:
        petiole.journal.open(feed, owner=owner, draft=Draft("inbox", {"unread": 0, "earlier": 0}))
        found = petiole.journal.snapshot(feed)
    if found is None:
        raise not_found()
    return found


def acknowledge(petiole: Petiole, owner: str | None, message: object) -> None:
    """Acknowledge what a message names: `{"tasks": [id, …]}`, or `{"all": true}`; of somebody unknown there is nothing to.

    Raises:
        Problem: 422, the message is neither.
    """
    chosen = message if isinstance(message, dict) else {}
    tasks = chosen.get("tasks")
    everything = chosen.get("all") is True and tasks is None
    if not everything and not (isinstance(tasks, list) and len(tasks) <= MOST_AT_ONCE):
        detail = f'Send {{"tasks": [id, …]}} with at most {MOST_AT_ONCE} ids, or {{"all": true}}.'
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "Invalid", detail)
    try:
        keys = None if everything else [task_feed(str(task)) for task in tasks or ()]
    except InvalidName as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "Invalid", str(error)) from None
    if owner is not None:
        petiole.journal.acknowledge(owner, keys)


def add_inbox(blueprint: Blueprint, petiole: Petiole) -> None:
    """Add the routes of the inbox of who is asking."""

    def own() -> Snapshot:
        return inbox_of(petiole, petiole.owner_asking() or petiole.user(create=True) or NOBODY)

    @blueprint.get("/inbox")
    def inbox() -> Response:
        snapshot = own()
        return answer_snapshot(snapshot, _wire(snapshot))

    @blueprint.get("/inbox/events")
    def inbox_events() -> Response:
        return answer_events(petiole, own(), gone=url_for("petiole.inbox"))

    @blueprint.post("/inbox/acknowledge")
    def inbox_acknowledge() -> Response:
        refuse_foreign_origin()
        acknowledge(petiole, petiole.owner_asking(), request.get_json(silent=True))
        return jsonify(_wire(own()))


def _wire(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "id": feed_id(snapshot.feed),
        "feed": snapshot.feed,
        "cursor": str(snapshot.cursor),
        "document": snapshot.document,
        "links": {
            "self": url_for("petiole.inbox"),
            "events": url_for("petiole.inbox_events"),
            "acknowledge": url_for("petiole.inbox_acknowledge"),
        },
    }

"""The inbox of who is asking, over HTTP and for the socket: its routes, and what an acknowledgement may say."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from flask import Blueprint, Response, jsonify, url_for

from petiole.dispatch.message import NOBODY
from petiole.errors import InvalidName
from petiole.journal import Journal
from petiole.journal.answers import Snapshot
from petiole.journal.rules import INBOX_START, empty_inbox
from petiole.protocol.events import feed_id, inbox_feed, task_feed
from petiole.web.access.origins import refuse_foreign_origin
from petiole.web.http.bodies import read_json
from petiole.web.http.tasks import answer_events, answer_snapshot
from petiole.web.problems import Problem

if TYPE_CHECKING:
    from petiole.web.extension import Petiole

MOST_AT_ONCE: Final = 100


def inbox_of(journal: Journal, owner: str) -> Snapshot:
    """Return a person's inbox. Nothing is made where nothing has come into it: it is empty, and can be watched."""
    return journal.snapshot(inbox_feed(owner)) or Snapshot(inbox_feed(owner), owner, INBOX_START, empty_inbox())


def unmade_inbox(feed: str, user: str | None) -> Snapshot | None:
    """Return the inbox of somebody for whom nothing has come, if `feed`, which isn't there, is that."""
    if user is None or feed != inbox_feed(user):
        return None
    return Snapshot(feed, user, INBOX_START, empty_inbox())


def acknowledge(petiole: Petiole, owner: str | None, message: object) -> None:
    """Acknowledge what a message names: `{"tasks": [id, …]}`, or `{"all": true}`; of somebody unknown there is nothing to.

    A notice that hasn't come yet never will. Where no notice has come at all that is kept of one's own tasks only: who has
    started nothing leaves nothing behind.

    Raises:
        Problem: 422, the message is neither.
    """
    chosen = message if isinstance(message, dict) else {}
    tasks = chosen.get("tasks")
    everything = chosen.get("all") is True and tasks is None
    named = [] if everything else _named(tasks)
    if named is None:
        detail = f'Send {{"tasks": [id, …]}} with at most {MOST_AT_ONCE} ids of tasks, or {{"all": true}}.'
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "Invalid", detail)
    if owner is None:
        return
    inbox = inbox_feed(owner)
    heads = petiole.journal.heads([inbox, *named])
    if inbox in heads:
        petiole.journal.acknowledge(owner, None if everything else named)
        return
    own = [task for task in named if task in heads and heads[task].owner == owner]
    if own:
        petiole.journal.acknowledge(owner, own)


def _named(tasks: object) -> list[str] | None:
    """Return the feeds of a list of tasks' ids; of anything else `None`: no other JSON is taken for an id."""
    if not isinstance(tasks, list) or len(tasks) > MOST_AT_ONCE or not all(isinstance(task, str) for task in tasks):
        return None
    try:
        return [task_feed(task) for task in tasks]
    except InvalidName:
        return None


def add_inbox(blueprint: Blueprint, petiole: Petiole) -> None:
    """Add the routes of the inbox of who is asking."""

    def own() -> Snapshot:
        return inbox_of(petiole.journal, petiole.owner_asking() or petiole.user(create=True) or NOBODY)

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
        acknowledge(petiole, petiole.owner_asking(), read_json())
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

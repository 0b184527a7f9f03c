"""The routes of the inbox of who is asking."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, url_for

from petiole.dispatch.message import NOBODY
from petiole.journal.answers import Snapshot
from petiole.protocol.events import feed_id
from petiole.web.access.origins import refuse_foreign_origin
from petiole.web.bodies import read_json
from petiole.web.http.answers import answer_events, answer_snapshot
from petiole.web.service.inbox import acknowledge, inbox_of
from petiole.web.service.service import Service


def add_inbox(blueprint: Blueprint, service: Service) -> None:
    """Add the inbox's routes."""

    def own() -> Snapshot:
        return inbox_of(service.journal, service.owner_asking() or service.user(create=True) or NOBODY)

    @blueprint.get("/inbox")
    def inbox() -> Response:
        snapshot = own()
        return answer_snapshot(snapshot, _wire(snapshot))

    @blueprint.get("/inbox/events")
    def inbox_events() -> Response:
        return answer_events(service, own(), document_at=url_for("petiole.inbox"))

    @blueprint.post("/inbox/acknowledge")
    def inbox_acknowledge() -> Response:
        refuse_foreign_origin()
        acknowledge(service.journal, service.owner_asking(), read_json())
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

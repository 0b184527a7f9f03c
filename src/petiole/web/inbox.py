"""Inboxes: who started a task has one notice of its end, until it is acknowledged, on whichever page or device.

The web side delivers: a worker may not write into a person's inbox. Any number of web processes may deliver: the journal keeps
one notice for each task, and a task whose notice was acknowledged before it came leaves a tombstone.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from flask import Blueprint, Response, jsonify, request, url_for

from petiole.dispatch import NOBODY, now_ms
from petiole.errors import InvalidEvent, InvalidName, PetioleError, Unavailable
from petiole.events import Document, Draft, feed_id, inbox_feed, task_feed
from petiole.journal import Journal
from petiole.journal.contract import Snapshot, encode_notice
from petiole.web.access import refuse_foreign_origin
from petiole.web.monitor import answer_events, answer_snapshot
from petiole.web.problems import Problem, not_found

if TYPE_CHECKING:
    from petiole.web.extension import Petiole

log = logging.getLogger(__name__)

TICK: Final = 0.5
PAUSE: Final = 5.0
AT_ONCE: Final = 100
TITLE_LIMIT: Final = 80
MOST_AT_ONCE: Final = 100


def notice_of(snapshot: Snapshot) -> Document:
    """Return what an inbox says of a finished task: title, state and instant, and as much more as fits into a notice."""
    document = snapshot.document
    title = str(document.get("title") or "Task")
    notice: Document = {
        "title": title if len(title) <= TITLE_LIMIT else f"{title[: TITLE_LIMIT - 1]}…",
        "state": document.get("state"),
        "at": document.get("finished_at") or now_ms(),
    }
    artifacts = document.get("artifacts") or [{}]
    file = {name: artifacts[0][name] for name in ("name", "url", "expires_at") if artifacts[0].get(name) is not None}
    for name, value in (("artifact", file), ("reason", document.get("reason"))):
        if value:
            try:
                encode_notice({**notice, name: value})
            except InvalidEvent:
                continue  # the task's page has it
            notice[name] = value
    return notice


class Courier:
    """Delivers, twice a second, the notices of tasks that have ended. `run` blocks until `close`."""

    def __init__(self, journal: Journal, *, wait: Callable[[float], bool] | None = None) -> None:
        self._journal = journal
        self._closed = threading.Event()
        self._wait = wait or self._closed.wait
        self._set_aside: set[str] = set()

    def run(self) -> None:
        """Deliver, and deliver again, until `close`."""
        while not self._closed.is_set():
            try:
                self.deliver()
                pause = TICK
            except Unavailable as error:
                log.warning("courier_waits", extra={"error": str(error)})
                pause = PAUSE
            self._wait(pause * random.uniform(0.8, 1.2))

    def deliver(self) -> None:
        """Deliver every notice that waits.

        Raises:
            Unavailable: the journal is away; what wasn't delivered still waits.
        """
        for feed in self._journal.pending(limit=AT_ONCE):
            if feed in self._set_aside:
                continue
            try:
                snapshot = self._journal.snapshot(feed)
                if snapshot is not None and snapshot.owner != NOBODY:
                    self._journal.notify(snapshot.owner, key=feed, notice=notice_of(snapshot))
                self._journal.settle(feed)
            except Unavailable:
                raise
            except PetioleError:
                # It keeps its place for somebody who can read it, and the others go on.
                log.exception("notice_set_aside", extra={"feed": feed})
                self._set_aside.add(feed)

    def close(self) -> None:
        """End `run`."""
        self._closed.set()


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
        return inbox_of(petiole, petiole.user(create=True) or NOBODY)

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
        acknowledge(petiole, petiole.user(create=False), request.get_json(silent=True))
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

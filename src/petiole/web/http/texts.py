"""A task's texts over HTTP: one of them as plain text, and what the page without JavaScript shows of them."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from flask import Response, request, url_for
from werkzeug.exceptions import RequestedRangeNotSatisfiable

from petiole.journal import Journal
from petiole.journal.answers import Snapshot
from petiole.protocol import states
from petiole.protocol.events import feed_id
from petiole.protocol.texts import is_text_name, size_of
from petiole.web.http.polling import RETRY_AFTER, keep_asking
from petiole.web.problems import Problem

# How many characters of a text the page shows: the last ones, because it asks for itself again while the text grows.
SHOWN: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page shows of a text. `size` is the whole text's, in bytes."""

    name: str
    url: str
    size: int
    end: str
    cut: bool


def answer_text(journal: Journal, snapshot: Snapshot, name: str) -> Response:
    """Return a text as far as it is written, or the range of its bytes that the request names.

    Raises:
        Problem: 404, there is no text of this name; 416, there are no such bytes (yet).
    """
    text = journal.text(snapshot.feed, name) if is_text_name(name) else None
    # To a text that still grows the same client comes back.
    later = {} if states.is_terminal(snapshot.document.get("state")) else {"Retry-After": RETRY_AFTER}
    if text is None:
        raise Problem(
            HTTPStatus.NOT_FOUND,
            "Not found",
            "The task has no text of this name. The links of its snapshot name those that it has.",
            headers=later,
        )
    written = text.encode()
    response = Response(written, mimetype="text/plain")
    response.headers["X-Content-Type-Options"] = "nosniff"
    # By content: a later run writes other bytes to the same length.
    response.add_etag()
    keep_asking(response, snapshot.document)
    try:
        response.make_conditional(request, accept_ranges=True, complete_length=len(written))
    except RequestedRangeNotSatisfiable:
        raise Problem(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            "Range not satisfiable",
            f"The text has {len(written):,} bytes, and none in that range. Ask for bytes before its end, or later.",
            headers={"Content-Range": f"bytes */{len(written)}", **later},
        ) from None
    return response


def shown_texts(journal: Journal, snapshot: Snapshot) -> list[Shown]:
    """Return what the page shows of each text."""
    shown = []
    for name, _ in snapshot.cursor.texts.lengths:
        text = journal.text(snapshot.feed, name)
        if text is not None:
            url = url_for("petiole.text", task_id=feed_id(snapshot.feed), name=name)
            shown.append(Shown(name, url, size_of(text), text[-SHOWN:], len(text) > SHOWN))
    return shown

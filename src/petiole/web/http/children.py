"""The tasks of a group over HTTP: the list, and what the page without JavaScript shows of those that have failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flask import Response, jsonify, request, url_for

from petiole.journal import Journal
from petiole.journal.answers import ListedChild, Snapshot
from petiole.journal.groups import UNSUCCESSFUL
from petiole.protocol.events import feed_id, is_group
from petiole.web.http.counts import number_of
from petiole.web.http.lists import asked_for, limit_of, link_next
from petiole.web.http.polling import keep_asking
from petiole.web.service.children import PAGE_SIZE, list_children
from petiole.web.service.service import Service

# How many failed tasks the page shows.
SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class FailedChild:
    """What the page shows of a task that has failed. `number`: from 1, as for people. `url`: its own page, if it has one."""

    number: int
    state: str
    reason: str
    reference: str | None
    url: str | None


def answer_children(service: Service, group: Snapshot) -> Response:
    """Return a page of a group's tasks as JSON."""
    asked = asked_for("state", "limit")
    page = service.children(
        group,
        state=asked.get("state"),
        limit=limit_of(asked.get("limit"), otherwise=PAGE_SIZE),
        cursor=request.args.get("cursor"),
    )
    listed = [service.child_to_wire(child, followed=child.task_id in page.followed) for child in page]
    response = jsonify({"children": listed, "next": page.cursor})
    # By content: a child changes more often than its group says so.
    response.add_etag()
    keep_asking(response, group.document)
    link_next(response, url_for("petiole.children", task_id=feed_id(group.feed)), asked, page.cursor)
    response.make_conditional(request)
    return response


def failed_children(journal: Journal, snapshot: Snapshot) -> list[FailedChild]:
    """Return the first tasks of a group that have failed; none of a single task."""
    if not is_group(snapshot.feed) or not number_of(snapshot.document, UNSUCCESSFUL):
        return []
    page = list_children(journal, snapshot, state=",".join(UNSUCCESSFUL), limit=SHOWN, cursor=None)
    return [_shown(child, followed=child.task_id in page.followed) for child in page]


def _shown(child: ListedChild, *, followed: bool) -> FailedChild:
    error = child.error or {}
    return FailedChild(
        number=child.number + 1,
        state=child.state,
        reason=str(error.get("message") or ("Its worker disappeared." if child.state == "lost" else "It failed.")),
        reference=error.get("reference"),
        url=url_for("petiole.task", task_id=child.task_id) if followed else None,
    )

"""A task as a plain page: what a form's answer leads to, and what works without JavaScript."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from flask import Response, make_response, redirect, render_template, request

from petiole.journal.groups import UNSUCCESSFUL
from petiole.protocol import states
from petiole.web.http.counts import counts_in_words, number_of

if TYPE_CHECKING:
    from petiole.web.http.children import FailedChild
    from petiole.web.http.texts import Shown
    from petiole.web.problems import Problem

REFRESH: Final = 3
# The most that is shown before the task has succeeded.
NEARLY: Final = 0.99
HTML: Final = "text/html"

_SENTENCES: Final = {
    states.QUEUED: "Waiting for a worker.",
    states.RUNNING: "Running.",
    states.RETRYING: "It failed and is tried again.",
    states.STALLED: "There is no news from its worker.",
    states.CANCELLING: "Stopping.",
    states.SUCCEEDED: "Done.",
    states.FAILED: "It failed.",
    states.CANCELLED: "Cancelled.",
    states.LOST: "It was lost with its worker.",
}


def wants_page() -> bool:
    """Whether this request is a browser's that shows a page; what takes anything gets JSON."""
    return request.accept_mimetypes.best_match(("application/json", HTML)) == HTML


def see(url: str) -> Response:
    """Lead a browser that has sent a form to a page: 303."""
    response = make_response(redirect(url, HTTPStatus.SEE_OTHER))
    response.headers["Cache-Control"] = "no-store"
    response.vary.add("Accept")
    return response


def task_page(wire: dict[str, Any], texts: Sequence[Shown], failed: Sequence[FailedChild]) -> Response:
    """Return a snapshot as a page that asks for itself again until the end. Template: `petiole/task.html`.

    `failed`: tasks of a group that have failed, the first ones.
    """
    document = wire["document"]
    state = document.get("state")
    reason = document.get("reason")
    counts = counts_in_words(document)
    # The server says itself what these sentences say, and of a group how many have failed.
    told = reason and (state in (states.STALLED, states.LOST) or (state == states.FAILED and counts is not None))
    progress = document.get("progress") or {}
    active = not states.is_terminal(state)
    html = render_template(
        "petiole/task.html",
        task=wire,
        document=document,
        title=document.get("title") or "Task",
        sentence=reason if told else _SENTENCES.get(state, "Unknown."),
        reason=None if told else reason,
        fraction=known_fraction(document),
        active=active,
        refresh=REFRESH,
        cancellable=active and state != states.CANCELLING,
        texts=texts,
        counts=counts,
        steps=document.get("steps") if isinstance(document.get("steps"), list) else (),
        step=progress.get("step"),
        failed=failed,
        unshown=max(number_of(document, UNSUCCESSFUL) - len(failed), 0) if counts is not None else 0,
        downloads=[artifact for artifact in document.get("artifacts") or () if _is_web(artifact.get("url"))],
    )
    return _page(html)


def known_fraction(document: Mapping[str, Any]) -> float | None:
    """Return the share of the task that is done, as `browser/src/words/` has it: 1 once it has succeeded, and never before."""
    if document.get("state") == states.SUCCEEDED:
        return 1.0
    progress = document.get("progress") or {}
    fraction, completed, total = (progress.get(name) for name in ("fraction", "completed", "total"))
    if fraction is None or (total is not None and (completed or 0) > total):
        return None
    return float(min(fraction, NEARLY))


def problem_page(problem: Problem) -> Response:
    """Return a refusal as a page."""
    response = _page(render_template("petiole/problem.html", problem=problem))
    response.status_code = problem.status
    response.headers.extend(problem.headers)
    return response


def _page(html: str) -> Response:
    response = make_response(html)
    response.headers["Cache-Control"] = "private, no-store"
    response.headers["Content-Security-Policy"] = "default-src 'none'; form-action 'self'; frame-ancestors 'self'"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.vary.add("Accept")
    return response


def _is_web(url: object) -> bool:
    """Whether an address is one of the web, or of this site; never `javascript:`."""
    return isinstance(url, str) and urlsplit(url).scheme in ("", "http", "https")

"""How errors are answered over HTTP: as a problem object, or as a page to a browser that shows pages."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response, request

from petiole.dispatch.revoked import TaskCancelled
from petiole.errors import InvalidName, Unavailable
from petiole.web.http.page import problem_page, wants_page
from petiole.web.problems import MEDIA_TYPE, Problem, not_found, unavailable
from petiole.web.state import current_state


def answer_problem(problem: Problem) -> Response:
    """Answer a problem that a view has raised, and log its cause where the server is at fault."""
    current_state().refusals.explain(problem, call=f"{request.method} {request.path}")
    return problem_page(problem) if wants_page() else problem.to_response()


def answer_outage(error: Unavailable) -> Response:
    return answer_problem(unavailable(error))


def answer_invalid_name(error: InvalidName) -> Response:
    return Problem(HTTPStatus.BAD_REQUEST, "Bad request", str(error)).to_response()


def answer_cancelled(error: TaskCancelled) -> Response:
    """Answer a view that has asked Celery for the result of a cancelled task.

    The fields are those of the status route in Flask's documentation, so that its page stops asking.
    """
    members = {"ready": True, "successful": False, "value": None}
    return answer_problem(Problem(HTTPStatus.GONE, "Cancelled", str(error), members=members))


def refused_by_routing(response: Response) -> Response:
    """Return Flask's own 404 or 405 page as a problem object unless a browser shows it; return other answers as they are."""
    if response.mimetype == MEDIA_TYPE or response.status_code not in (404, 405) or wants_page():
        return response
    if response.status_code == HTTPStatus.NOT_FOUND:
        return not_found().to_response()
    allowed = response.headers.get("Allow", "")
    detail = f"This address doesn't take that method. Use one of: {allowed}."
    return Problem(405, "Method not allowed", detail, headers={"Allow": allowed}).to_response()

"""Errors as RFC 9457 problem objects, the same over HTTP and Socket.IO."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final

from flask import Response, jsonify

from petiole.errors import PetioleError, Unavailable

MEDIA_TYPE: Final = "application/problem+json"


class Problem(PetioleError):
    """An answer that says what is wrong and what to do; a view raises it."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        members: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.members = dict(members or {})
        self.headers = dict(headers or {})

    def to_wire(self) -> dict[str, Any]:
        return {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.members,
        }

    def to_response(self) -> Response:
        response = jsonify(self.to_wire())
        response.status_code = self.status
        response.mimetype = MEDIA_TYPE
        response.headers["Cache-Control"] = "no-store"
        response.headers.extend(self.headers)
        return response


def not_found() -> Problem:
    """Return the one answer for a task that isn't there and for one that isn't yours."""
    return Problem(HTTPStatus.NOT_FOUND, "Not found", "There is no such task here, or it isn't yours.")


def unknown() -> Problem:
    """Return the answer to a watcher of a task that the journal has lost."""
    detail = "Nothing is known of this task any more: what was kept of it is gone. It may still run; load the page again later."
    return Problem(HTTPStatus.NOT_FOUND, "Unknown", detail)


def invalid(detail: str) -> Problem:
    """Return the answer to a call whose fields have values that it doesn't take."""
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "Invalid", detail)


def unavailable(error: Exception) -> Problem:
    """Return the answer while journal or broker are away. `error` is its cause, which the log tells and the client isn't."""
    problem = Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Temporarily unavailable",
        "The task service is temporarily unavailable. Nothing was started or changed; try again in a few seconds.",
        headers={"Retry-After": "3"},
        members={"retry_after": 3},
    )
    problem.__cause__ = error
    return problem


@contextmanager
def outages_as_problems() -> Iterator[None]:
    """Raise an `Unavailable` as the problem that answers it."""
    try:
        yield
    except Unavailable as error:
        raise unavailable(error) from error


def too_many(detail: str, retry_after: int) -> Problem:
    """Return the answer to a client that asks for more than its share."""
    return Problem(
        HTTPStatus.TOO_MANY_REQUESTS,
        "Too many requests",
        f"{detail} Try again in {retry_after} s.",
        headers={"Retry-After": str(retry_after)},
        members={"retry_after": retry_after},
    )

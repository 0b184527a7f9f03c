"""The bodies of requests to Petiole's routes: JSON, and bounded before anything of it is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final, NoReturn

from flask import request
from werkzeug.exceptions import BadRequest, ClientDisconnected, HTTPException, RequestEntityTooLarge

from petiole.web.problems import Problem

MOST_BODY: Final = 64 * 1024


def bound_body(most: int = MOST_BODY) -> None:
    """Refuse a body whose declared length is over the limit, unread; one without a length ends at the limit.

    An application's own limit holds where it is lower.

    Raises:
        Problem: 413.
    """
    own = request.max_content_length
    request.max_content_length = most if own is None else min(own, most)
    if (request.content_length or 0) > request.max_content_length:
        raise _too_large()


def read_json(*, required: bool = False, most: int = MOST_BODY) -> Any:
    """Return the request's body, whatever JSON it is; `None` where it has none, or says that it is something else.

    `required`: an empty body isn't JSON either. `most`: the limit in bytes.

    Raises:
        Problem: 413, it is over the limit; 411, it comes in parts and this server reads none of those; 400, it isn't JSON.
    """
    bound_body(most)
    if not request.is_json:
        return None
    if request.headers.get("Transfer-Encoding") and "wsgi.input_terminated" not in request.environ:
        detail = "This server reads a body by its length only. Send it with a Content-Length."
        raise Problem(HTTPStatus.LENGTH_REQUIRED, "Length required", detail)
    try:
        text = read_all()
        # Deeper than Python can go is a RecursionError, all else a ValueError: no UTF-8, too many digits.
        return json.loads(text, parse_constant=_refuse_constant) if text or required else None
    except RequestEntityTooLarge:
        raise _too_large() from None
    except (BadRequest, ValueError, RecursionError):
        detail = "The body isn't valid JSON. Send one object, or no body where none is needed."
        raise Problem(HTTPStatus.BAD_REQUEST, "This is not JSON", detail) from None


def read_all() -> bytes:
    """Return the whole body, of a request that has a limit.

    Raises:
        RequestEntityTooLarge: it is over the limit; Werkzeug returns the beginning of one that comes without a length.
        BadRequest: it ended before its length, or can't be read.
    """
    with malformed_at_worst():
        body, limit = request.get_data(cache=True), request.max_content_length
    length = request.content_length
    if limit is not None and length is None and len(body) >= limit:
        raise RequestEntityTooLarge
    if length is not None and len(body) < length:
        raise ClientDisconnected
    return body


@contextmanager
def malformed_at_worst() -> Iterator[None]:
    """Raise `BadRequest` for what a server raises while it reads a body: each has its own words for a chunk that is none."""
    try:
        yield
    except HTTPException:
        raise
    except Exception as error:
        raise BadRequest from error


def _too_large() -> Problem:
    detail = f"The body is over the limit. Send at most {request.max_content_length:,} bytes."
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "This is too large", detail)


def _refuse_constant(name: str) -> NoReturn:
    # Python's own NaN and Infinity, which JSON hasn't.
    raise ValueError(name)

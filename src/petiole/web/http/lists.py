"""What lists have in common: what a request asks of them, and the link to the next page."""

from __future__ import annotations

from urllib.parse import urlencode

from flask import Response, request


def asked_for(*names: str) -> dict[str, str]:
    """Return those of these parameters that the query string has."""
    return {name: value for name in names if (value := request.args.get(name)) is not None}


def limit_of(text: str | None, *, otherwise: int) -> int:
    """Return the number that a limit is; 0, which no list takes, for what isn't one."""
    if text is None:
        return otherwise
    return int(text) if text.isdecimal() and len(text) <= 4 else 0


def link_next(response: Response, url: str, asked: dict[str, str], cursor: str | None) -> None:
    """Name the next page, which has the same parameters, in the header `Link`; nothing after the last page."""
    if cursor is not None:
        response.headers["Link"] = f'<{url}?{urlencode({"cursor": cursor} | asked)}>; rel="next"'

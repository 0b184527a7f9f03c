"""Pages of other sites: the same that Socket.IO lets in may make Petiole's HTTP calls, with a token and without cookies.

Every route of Petiole's that changes something looks where the request comes from; so it needs no token of a form.
"""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from flask import Response, current_app, request
from flask_socketio import SocketIO

from petiole.errors import SetupError
from petiole.web.access.tokens import bearer
from petiole.web.problems import Problem

_ALLOWED: Final = {
    "Access-Control-Allow-Methods": "GET, POST, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID",
    "Access-Control-Expose-Headers": "Content-Disposition, Content-Range, ETag, Link, Location, Retry-After, WWW-Authenticate",
    "Access-Control-Max-Age": "600",
}

_PORTS: Final = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """Where a page is from, with the port that its scheme has by default."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Origin | None:
        """Read `https://host[:port]`; `None` for anything else, as for `null`."""
        try:
            parts = urlsplit(text)
            port = parts.port or _PORTS[parts.scheme]
        except (ValueError, KeyError):
            return None
        return cls(parts.scheme, parts.hostname, port) if parts.hostname else None


def refuse_foreign_origin() -> None:
    """Refuse a request that another site's page has sent with this site's cookies. Who sends a token needs none.

    Raises:
        Problem: 403.
    """
    if bearer(None) is not None:
        return
    # The browser's own word, which no page can set, and no proxy changes. Only over TLS and for localhost there is one.
    fetched = request.headers.get("Sec-Fetch-Site")
    if fetched in ("same-origin", "none"):
        return
    origin = request.headers.get("Origin")
    if origin is None and fetched != "cross-site":
        return
    if origin is not None and _is_own(Origin.parse(origin)):
        return
    raise Problem(
        HTTPStatus.FORBIDDEN,
        "Foreign origin",
        f"This request comes from a page of another site than {request.host}. Send it from a page of this one; behind a proxy "
        "name this site's origin in cors_allowed_origins.",
    )


def _is_own(origin: Origin | None) -> bool:
    """Say whether a page of this origin is this site's, by the addresses that Engine.IO takes for it, too.

    A proxy may take the port from `Host`. Then the site's own origin is named for the sockets: the one of the same host.
    """
    if origin is None:
        return False
    own = [found for text in _own_origins() if (found := Origin.parse(text)) is not None]
    if origin in own:
        return True
    state = current_app.extensions.get("petiole")
    named = named_origins(state.socketio) if state is not None else None
    texts = (named,) if isinstance(named, str) else named if isinstance(named, list | tuple | set) else ()
    return origin.host in {each.host for each in own} and any(Origin.parse(text) == origin for text in texts)


def _own_origins() -> Iterator[str]:
    yield f"{request.scheme}://{request.host}"
    scheme, host, port = (request.headers.get(f"X-Forwarded-{name}") for name in ("Proto", "Host", "Port"))
    if scheme or host or port:
        told = f"{_first(scheme) or request.scheme}://{_first(host) or request.host}"
        yield told
        found = Origin.parse(told)
        if found is not None and _first(port).isdecimal():
            yield f"{found.scheme}://{f'[{found.host}]' if ':' in found.host else found.host}:{_first(port)}"


def _first(header: str | None) -> str:
    return (header or "").partition(",")[0].strip()


def named_origins(socketio: SocketIO) -> Any:
    """Return the `cors_allowed_origins` of a Socket.IO server, as they were given."""
    if socketio.server is None:
        return socketio.server_options.get("cors_allowed_origins")
    return getattr(socketio.server.eio, "cors_allowed_origins", None)


def check_origins(origins: Any) -> None:
    """Refuse a Socket.IO server that answers pages of any site; `origins` is its `cors_allowed_origins`.

    Raises:
        SetupError: it lets everybody in.
    """
    if origins in ("*", []) or (isinstance(origins, list | tuple | set) and "*" in origins):
        raise SetupError(
            f"cors_allowed_origins={origins!r} lets a page of any site use this site's sockets with its visitors' cookies. "
            "Name the origins, or set PETIOLE_ALLOW_ANY_ORIGIN to true if you want that."
        )


def answer_other_sites(response: Response, origins: Any) -> Response:
    """Let a page read this answer if its origin is named in `origins`; never with the visitor's cookies."""
    if not origins or origins == "*":
        return response
    response.vary.add("Origin")
    origin = request.headers.get("Origin")
    named = (origins,) if isinstance(origins, str) else origins
    if origin is not None and isinstance(named, list | tuple | set) and origin in named:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers.update(_ALLOWED)
    return response

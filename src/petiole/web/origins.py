"""Pages of other sites: the same that Socket.IO lets in may make Petiole's HTTP calls, with a token and without cookies."""

from __future__ import annotations

from typing import Any, Final

from flask import Response, request
from flask_socketio import SocketIO

_ALLOWED: Final = {
    "Access-Control-Allow-Methods": "GET, POST, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID",
    "Access-Control-Expose-Headers": "Content-Disposition, ETag, Link, Location, Retry-After, WWW-Authenticate",
    "Access-Control-Max-Age": "600",
}


def named_origins(socketio: SocketIO) -> Any:
    """Return the `cors_allowed_origins` of a Socket.IO server, as they were given."""
    if socketio.server is None:
        return socketio.server_options.get("cors_allowed_origins")
    return getattr(socketio.server.eio, "cors_allowed_origins", None)


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

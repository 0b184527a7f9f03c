"""The HTTP contract as an OpenAPI 3.1 document. A test compares it with the routes and with what they answer."""

from __future__ import annotations

from typing import Any, Final

from petiole.journal.groups import CHILD_STATES
from petiole.protocol import states
from petiole.protocol.events import VERSION
from petiole.web.service.children import LARGEST_PAGE as MOST_CHILDREN
from petiole.web.service.listing import LARGEST_PAGE

_JSON: Final = "application/json"
_PROBLEM: Final = "application/problem+json"
_HTML: Final = "text/html"
_STREAM: Final = "text/event-stream"
_PLAIN: Final = "text/plain"

_BODIES: Final[dict[int, tuple[str, str | None]]] = {
    400: ("not JSON", None),
    411: ("in parts, which this server doesn't read", None),
    413: ("over 64 KiB", None),
}
_CHILD_STATES: Final = "|".join(CHILD_STATES)
_STATES: Final = [*states.ACTIVE, *states.TERMINAL]


def describe(prefix: str) -> dict[str, Any]:
    """Return the document of the routes below `prefix`."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Petiole", "version": str(VERSION), "description": "Celery tasks, live and lossless."},
        "servers": [{"url": prefix or "/"}],
        "security": [{"session": []}, {"token": []}],
        "paths": _paths(),
        "components": {"schemas": _schemas(), "securitySchemes": _security()},
    }


def _paths() -> dict[str, Any]:
    task_id = {"name": "task_id", "in": "path", "required": True, "schema": {"type": "string", "maxLength": 128}}
    return {
        "/alive": {"get": _call("Whether this process answers", {200: ("alive", "Alive")})},
        "/ready": {"get": _call("Whether it should get new pages", {200: ("yes", "Ready"), 503: ("no", "Ready")})},
        "/openapi.json": {"get": _call("This document", {200: ("this document", None)})},
        "/tasks": {
            "get": _call(
                "The user's own tasks, newest first; Link: rel=next while there are more",
                {200: ("a page of them", "Tasks"), 400: ("not a cursor", None), 422: ("no such state or limit", None)},
                parameters=[
                    _query("state", {"enum": _STATES}),
                    _query("name", {"type": "string"}),
                    _query("limit", {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE}),
                    _query("cursor", {"type": "string"}),
                    _query("children", {"enum": ["0", "1"]}),
                ],
            )
        },
        "/tasks/{task_id}": {
            "parameters": [task_id],
            "get": _call(
                "A task", {200: ("its snapshot", "Snapshot"), 304: ("not changed", None), **_refusals()}, page=True
            ),
            "delete": _call("Remove a task, stopped if it runs", {204: ("removed", None), **_refusals(changes=True)}),
        },
        "/tasks/{task_id}/children": {
            "parameters": [task_id],
            "get": _call(
                "The tasks of a group, in the order in which they may begin; Link: rel=next while there are more",
                {
                    200: ("a page of them", "Children"),
                    304: ("not changed", None),
                    400: ("not a cursor", None),
                    422: ("no such state or limit", None),
                    **_refusals(),
                },
                parameters=[
                    _query("state", {"type": "string", "pattern": f"^({_CHILD_STATES})(,({_CHILD_STATES}))*$"}),
                    _query("limit", {"type": "integer", "minimum": 1, "maximum": MOST_CHILDREN}),
                    _query("cursor", {"type": "string"}),
                ],
            ),
        },
        "/tasks/{task_id}/text/{name}": {
            "parameters": [
                task_id,
                {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "maxLength": 32}},
            ],
            "get": _call(
                "A text as far as it is written",
                {
                    200: ("all of it", _PLAIN),
                    206: ("the bytes of the range", _PLAIN),
                    304: ("not changed", None),
                    416: ("no such bytes yet", None),
                    **_refusals(),
                },
                parameters=[_header("Range"), _header("If-Range"), _header("If-None-Match")],
            ),
        },
        "/tasks/{task_id}/events": {
            "parameters": [task_id],
            "get": _call(
                "The events after a cursor, as JSON or as a stream",
                {
                    200: ("a reading", "Reading"),
                    204: ("a stream: nothing follows", None),
                    400: ("not a cursor", None),
                    410: ("not kept any more", None),
                    **_refusals(),
                },
                parameters=[
                    _query("after", {"type": "string"}),
                    _query("texts", {"type": "string"}),
                    _header("Last-Event-ID"),
                ],
                stream=True,
            ),
        },
        "/tasks/{task_id}/cancel": {
            "parameters": [task_id],
            "post": _call(
                "Ask a task to stop",
                {
                    202: ("asked", "Snapshot"),
                    200: ("asked before", "Snapshot"),
                    303: ("a form's way to the page", None),
                    409: ("it has ended, or can't be forced yet", None),
                    422: ("force is neither true nor false", None),
                    **_BODIES,
                    **_refusals(changes=True),
                },
                body={"type": "object", "properties": {"force": {"type": "boolean"}}},
            ),
        },
        "/tasks/{task_id}/retry": {
            "parameters": [task_id],
            "post": _call(
                "Start a task again that has failed, was cancelled or lost; of a group its failed tasks",
                {
                    202: ("the new task, or the same group", "Snapshot"),
                    303: ("a form's way to its page", None),
                    400: ("not an idempotency key", None),
                    409: ("it can't be, or the first request is under way", None),
                    **_refusals(changes=True),
                },
                parameters=[_header("Idempotency-Key")],
            ),
        },
        "/inbox": {
            "get": _call("Own inbox", {200: ("the inbox", "Snapshot"), 304: ("not changed", None)}),
        },
        "/inbox/events": {
            "get": _call(
                "The events after a cursor, as JSON or as a stream",
                {200: ("a reading", "Reading"), 400: ("not a cursor", None), 410: ("not kept any more", None)},
                parameters=[_query("after", {"type": "string"}), _header("Last-Event-ID")],
                stream=True,
            )
        },
        "/inbox/acknowledge": {
            "post": _call(
                "Take notices out",
                {
                    200: ("what is left", "Snapshot"),
                    403: ("another site's page", None),
                    422: ("neither", None),
                    **_BODIES,
                },
                body={
                    "oneOf": [
                        {
                            "type": "object",
                            "required": ["tasks"],
                            "properties": {"tasks": {"type": "array", "maxItems": 100, "items": {"type": "string"}}},
                        },
                        {"type": "object", "required": ["all"], "properties": {"all": {"const": True}}},
                    ]
                },
            )
        },
    }


def _call(
    summary: str,
    answers: dict[int, tuple[str, str | None]],
    *,
    parameters: list[dict[str, Any]] | None = None,
    body: dict[str, Any] | None = None,
    page: bool = False,
    stream: bool = False,
) -> dict[str, Any]:
    call: dict[str, Any] = {"summary": summary, "responses": {}}
    for status, (meaning, schema) in answers.items():
        response: dict[str, Any] = {"description": meaning}
        if schema == _PLAIN:
            response["content"] = {_PLAIN: {"schema": {"type": "string"}}}
        elif schema is not None:
            response["content"] = {_JSON: {"schema": _reference(schema)}}
            if status == 200 and page:
                response["content"][_HTML] = {}
            if status == 200 and stream:
                response["content"][_STREAM] = {}
        elif status >= 400:
            response["content"] = {_PROBLEM: {"schema": _reference("Problem")}}
        call["responses"][str(status)] = response
    call["responses"]["default"] = {
        "description": "a problem, such as 503 while the journal is away",
        "content": {_PROBLEM: {"schema": _reference("Problem")}},
    }
    if parameters:
        call["parameters"] = parameters
    if body:
        call["requestBody"] = {"content": {_JSON: {"schema": body}}}
    return call


def _refusals(*, changes: bool = False) -> dict[int, tuple[str, str | None]]:
    forbidden = "beyond the token's scope" + (", or another site's page" if changes else "")
    return {401: ("the token has ended or is none", None), 403: (forbidden, None), 404: ("not there, or foreign", None)}


def _schemas() -> dict[str, Any]:
    place = r"^[0-9a-f]{8}\.[0-9]+\.[0-9]+\.[0-9a-f]{16}"
    cursor = {"type": "string", "pattern": f"{place}$"}
    lengths = {"type": "string", "pattern": "^[0-9]+(~[A-Za-z0-9_-]{1,32}~[0-9]+)*$"}
    count = {"type": "integer", "minimum": 0}
    return {
        "Alive": _object({"alive": {"const": True}}),
        "Ready": _object({"ready": {"type": "boolean"}}, reason={"type": "string"}, degraded={"type": "string"}),
        "Tasks": _object({"tasks": {"type": "array", "items": _reference("Snapshot")}}),
        "Snapshot": _object(
            {
                "id": {"type": "string"},
                "feed": {"type": "string"},
                "cursor": cursor,
                "document": _reference("Document"),
                "links": {"type": "object", "additionalProperties": {"type": "string"}},
            }
        ),
        "Children": _object(
            {"children": {"type": "array", "items": _reference("Child")}, "next": {"type": ["string", "null"]}}
        ),
        "Child": _object(
            {
                "number": count,
                "id": {"type": "string"},
                "state": {"enum": list(CHILD_STATES)},
                "attempt": count,
                "fraction": {"type": ["number", "null"]},
                "since": {"type": ["integer", "null"]},
                "error": {"type": ["object", "null"]},
                "links": {"type": "object", "additionalProperties": {"type": "string"}},
            }
        ),
        "Document": {
            "type": "object",
            "properties": {
                "state": {"enum": _STATES},
                "title": {"type": "string"},
                "texts": {"type": "object", "additionalProperties": _reference("TextReceipt")},
            },
        },
        "TextReceipt": _object({"length": count, "sha256": {"type": "string"}}, omitted=count),
        "Chunk": _object({"name": {"type": "string"}, "at": count, "chunk": {"type": "string"}}),
        "Lengths": _object({"run": count, "lengths": {"type": "object", "additionalProperties": count}}),
        "Reading": _object(
            {
                "feed": {"type": "string"},
                "document": _reference("Document"),
                "events": {"type": "array", "items": _reference("Event")},
                "cursor": cursor,
                "recovered": {"type": "boolean"},
                "more": {"type": "boolean"},
            },
            start=cursor,
            texts=_object({"after": lengths, "chunks": {"type": "array", "items": _reference("Chunk")}}),
        ),
        "Event": _object(
            {
                "v": {"const": VERSION},
                "id": {"type": "string"},
                "feed": {"type": "string"},
                "epoch": {"type": "string"},
                "seq": {"type": "integer"},
                "run": {"type": "integer"},
                "facts": {"type": "integer"},
                "chain": {"type": "string"},
                "at": {"type": "integer"},
                "kind": {"type": "string"},
                "patch": {"type": "object"},
                "progress": {"type": ["object", "null"]},
            },
            data={},
            texts=_reference("Lengths"),
        ),
        "Problem": _object(
            {"type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"}},
            detail={"type": "string"},
            retry_after={"type": "number"},
        ),
    }


def _security() -> dict[str, Any]:
    return {
        "session": {"type": "apiKey", "in": "cookie", "name": "session", "description": "or the application's login"},
        "token": {"type": "http", "scheme": "bearer", "description": "a token that the application has minted"},
    }


def _object(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": {**required, **optional}}


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _query(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema}


def _header(name: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "schema": {"type": "string"}}

"""Whether JSON is what a schema of the OpenAPI document says."""

from __future__ import annotations

import re
from typing import Any, Final

KINDS: Final[dict[str, Any]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": int | float,
    "boolean": bool,
    "null": type(None),
}


def conforms(value: Any, schema: dict[str, Any], document: dict[str, Any]) -> None:
    """Assert that a value is of a schema. It knows as much of JSON Schema as the document uses."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "type" in schema:
        kind = schema["type"]
        assert isinstance(value, tuple(KINDS[name] for name in (kind if isinstance(kind, list) else [kind])))
    assert value in schema.get("enum", [value])
    assert value == schema.get("const", value)
    if "pattern" in schema:
        assert re.match(schema["pattern"], value)
    if isinstance(value, dict) and "required" in schema:
        assert set(schema["required"]) <= set(value) <= set(schema["properties"])
    for name, own in schema.get("properties", {}).items():
        if isinstance(value, dict) and name in value:
            conforms(value[name], own, document)
    for element in value if isinstance(value, list) else ():
        conforms(element, schema["items"], document)

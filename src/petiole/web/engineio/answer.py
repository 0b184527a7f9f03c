"""An answer to a browser's call whose JSON text is at hand: made once, for all who get the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from petiole.protocol.encoding import to_json


@dataclass(frozen=True, slots=True)
class Answer:
    """JSON text in place of an object. Python-socketio would encode an object for each connection anew."""

    text: str

    def with_fields(self, fields: Mapping[str, Any]) -> Answer:
        """Return the answer with more fields at its end."""
        return Answer(f"{self.text.removesuffix('}')},{to_json(dict(fields)).removeprefix('{')}") if fields else self


def text_of(data: Any) -> str | None:
    """Return the text of what a handler answered, if it is one `Answer`."""
    return data[0].text if isinstance(data, list) and len(data) == 1 and isinstance(data[0], Answer) else None

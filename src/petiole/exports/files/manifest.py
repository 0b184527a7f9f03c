"""An exported file's description, and the name of the file with its bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from petiole.errors import InvalidName

_KEY: Final = re.compile(r"(?!\.)[A-Za-z0-9._~@-]{1,128}\Z")
_SHA256: Final = re.compile(r"[0-9a-f]{64}\Z")


def check_key(key: object) -> str:
    """Return `key` if it is valid: without a path separator and a leading dot.

    Raises:
        InvalidName: it isn't.
    """
    if not isinstance(key, str) or not _KEY.match(key):
        raise InvalidName(
            "That is not the key of a file. Use 1 to 128 letters, digits and . _ ~ @ - with no dot in front."
        )
    return key


@dataclass(frozen=True, slots=True)
class Manifest:
    """One published file. `size` in bytes; instants in milliseconds since 1970, by the writer's clock."""

    key: str
    filename: str
    size: int
    sha256: str
    rows: int
    media_type: str
    created_at: int
    expires_at: int

    @property
    def data_name(self) -> str:
        """The name of the file with the bytes. Other bytes have another name, so a file never changes its content."""
        return f"{self.key}.{self.sha256}.data"

    @classmethod
    def from_text(cls, text: str | bytes) -> Manifest:
        """Read a manifest.

        Raises:
            ValueError: it isn't one.
        """
        try:
            stored = json.loads(text)
        except RecursionError:
            raise ValueError("a manifest is nested too deeply") from None
        if not isinstance(stored, Mapping):
            raise ValueError("a manifest isn't a JSON object")
        values: dict[str, Any] = {}
        for field in fields(cls):
            value = stored.get(field.name)
            if type(value) is not (int if field.type == "int" else str):
                raise ValueError(f"a manifest has no {field.name} of type {field.type}")
            values[field.name] = value
        if not _KEY.match(values["key"]) or not _SHA256.match(values["sha256"]):
            raise ValueError("a manifest has a key or a checksum of another form")
        return cls(**values)

    def to_text(self) -> str:
        """Return the manifest as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

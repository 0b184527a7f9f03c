"""What the end of a task says of its texts, and whether a reader has exactly that. No I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from petiole.protocol.events import Document


@dataclass(frozen=True, slots=True)
class TextReceipt:
    """One text as its run wrote it: its length in bytes and its hash. `omitted`: so many bytes past the limit were left out.

    `complete`: the reader has exactly these bytes.
    """

    length: int
    sha256: str
    omitted: int
    complete: bool


def text_receipts(document: Document, texts: Mapping[str, str]) -> dict[str, TextReceipt]:
    """Compare what the document of an ended task says of its texts with the texts of a reader.

    Empty for a task that has written none, and for one whose run couldn't say it, because it was lost.
    """
    told = document.get("texts")
    if not isinstance(told, Mapping):
        return {}
    receipts = {}
    for name, each in told.items():
        held = texts.get(name, "").encode()
        length, sha256 = each["length"], each["sha256"]
        complete = length == len(held) and sha256 == hashlib.sha256(held).hexdigest()
        receipts[name] = TextReceipt(length, sha256, each.get("omitted", 0), complete)
    return receipts

"""What a run has written of its texts: kept whole until its end, so that whatever the journal loses is sent again."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from typing import Final

from petiole.protocol.events import Document
from petiole.protocol.texts import MAX_CHUNK_BYTES, MAX_TEXTS, Chunk, Texts, boundary

# Fresh characters are encoded once they are so many: until then a write only appends to a list.
ENCODED_AT: Final = 16 * 1024


@dataclass(slots=True)
class _Text:
    kept: bytearray = field(default_factory=bytearray)
    # What was written since, and how many characters that has.
    fresh: list[str] = field(default_factory=list)
    size: int = 0
    # The first half of a surrogate pair: the other half may come with the next write.
    half: str = ""
    # How much of `kept` the journal has, and how many bytes past the limit were left out.
    acknowledged: int = 0
    omitted: int = 0

    @property
    def waits(self) -> bool:
        return bool(self.fresh) or self.acknowledged < len(self.kept)


class WrittenTexts:
    """The texts of `run`, at most `limit` bytes in all. Thread-safe."""

    def __init__(self, run: int, *, limit: int) -> None:
        self._run = run
        self._limit = limit
        self._left = limit
        self._texts: dict[str, _Text] = {}
        self._turn = 0
        self._closed = False
        self._lock = threading.Lock()

    def write(self, name: str, text: str) -> bool:
        """Add to a text; false if that isn't possible: there are too many texts, or they are closed."""
        with self._lock:
            found = self._texts.get(name)
            if found is None:
                if len(self._texts) >= MAX_TEXTS or self._closed:
                    return False
                found = self._texts[name] = _Text()
            elif self._closed:
                return False
            found.fresh.append(text)
            found.size += len(text)
            if found.size >= ENCODED_AT:
                self._encode(found)
            return True

    @property
    def has_begun(self) -> bool:
        """Whether anything was written."""
        return bool(self._texts)

    @property
    def waiting(self) -> bool:
        """Whether the journal lacks something."""
        return any(text.waits for text in list(self._texts.values()))

    @property
    def acknowledged(self) -> Texts:
        """How much of each text the journal has."""
        with self._lock:
            return Texts.of(self._run, {name: text.acknowledged for name, text in self._texts.items()})

    @property
    def omitted(self) -> str | None:
        """The name of a text of which something was left out."""
        return next((name for name, text in list(self._texts.items()) if text.omitted), None)

    def next_chunk(self) -> Chunk | None:
        """Return what to send next; the texts take turns. It is the next one until it is acknowledged."""
        with self._lock:
            names = list(self._texts)
            for step in range(len(names)):
                name = names[(self._turn + step) % len(names)]
                text = self._texts[name]
                self._encode(text)
                at = text.acknowledged
                if at < len(text.kept):
                    self._turn = (self._turn + step + 1) % len(names)
                    return Chunk(name, at, text.kept[at : boundary(text.kept, at + MAX_CHUNK_BYTES)].decode())
            return None

    def acknowledge(self, chunk: Chunk) -> None:
        """Take note that the journal has this chunk, and what is before it."""
        with self._lock:
            self._texts[chunk.name].acknowledged = chunk.end

    def rewind(self, texts: Texts) -> None:
        """Take note of how much the journal has."""
        with self._lock:
            for name, text in self._texts.items():
                # A length that isn't ours is somebody else's: from the start, then.
                length = texts.length(name)
                text.acknowledged = length if length <= len(text.kept) else 0

    def close(self) -> Document:
        """Accept no more, and return what the receipt says of each text."""
        with self._lock:
            self._closed = True
            receipt: Document = {}
            for name, text in self._texts.items():
                self._encode(text, whole=True)
                receipt[name] = {"length": len(text.kept), "sha256": hashlib.sha256(text.kept).hexdigest()}
                if text.omitted:
                    receipt[name]["omitted"] = text.omitted
            return receipt

    def discard(self) -> None:
        """Accept and send no more; in a forked process too, in which the lock may be held for ever."""
        self._lock = threading.Lock()
        self._closed = True
        self._texts = {}

    def _encode(self, text: _Text, *, whole: bool = False) -> None:
        if not text.fresh and not (whole and text.half):
            return
        fresh, text.fresh, text.size, text.half = text.half + "".join(text.fresh), [], 0, ""
        try:
            encoded = fresh.encode()
        except UnicodeEncodeError:
            if "\ud800" <= fresh[-1] <= "\udbff" and not whole:
                text.half, fresh = fresh[-1], fresh[:-1]
            encoded = fresh.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
        room = encoded[: boundary(encoded, self._left)]
        self._left -= len(room)
        text.kept += room
        if len(room) < len(encoded):
            # Nothing after a gap: what is shown is the text's beginning.
            self._left = 0
            text.omitted += len(encoded) - len(room)

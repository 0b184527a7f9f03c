"""What a run has written of its texts: kept whole until its end, so that whatever the journal loses is sent again."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from petiole.protocol.events import Document
from petiole.protocol.texts import MAX_CHUNK_BYTES, MAX_TEXTS, Chunk, Texts, boundary

# Fresh characters are encoded once they are so many: until then a write only appends to a list.
ENCODED_AT: Final = 16 * 1024


class _Progress(NamedTuple):
    """How far a text is encoded. Replaced as a whole: a time limit may interrupt the task between any two steps."""

    length: int
    # What was written since; before it, the first half of a character, whose other half may come with the next write.
    fresh: list[str]
    half: str = ""
    # How many bytes past the limit were left out.
    omitted: int = 0


@dataclass(slots=True)
class _Text:
    # Its first `length` bytes count; the others are of an attempt that was interrupted.
    kept: bytearray = field(default_factory=bytearray)
    progress: _Progress = field(default_factory=lambda: _Progress(0, []))
    # How many characters are fresh, and how many bytes the journal has.
    size: int = 0
    acknowledged: int = 0

    @property
    def waits(self) -> bool:
        return bool(self.progress.fresh) or self.acknowledged < self.progress.length

    def encoded(self) -> bytes:
        return bytes(self.kept[: self.progress.length])


class WrittenTexts:
    """The texts of `run`, at most `limit` bytes in all. Thread-safe."""

    def __init__(self, run: int, *, limit: int) -> None:
        self._run = run
        self._limit = limit
        self._texts: dict[str, _Text] = {}
        self._turn = 0
        self._closed = False
        self._lock = threading.Lock()

    def write(self, name: str, text: str) -> bool:
        """Add to a text, unless they are closed; false if there are too many texts."""
        with self._lock:
            if self._closed:
                return True
            found = self._texts.get(name)
            if found is None:
                if len(self._texts) >= MAX_TEXTS:
                    return False
                found = self._texts[name] = _Text()
            found.progress.fresh.append(text)
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
        # Copied at once: another thread may begin a text meanwhile.
        return any(text.waits for text in tuple(self._texts.values()))

    @property
    def acknowledged(self) -> Texts:
        """How much of each text the journal has."""
        with self._lock:
            return Texts.of(self._run, {name: text.acknowledged for name, text in self._texts.items()})

    @property
    def omitted(self) -> str | None:
        """The name of a text of which something was left out."""
        return next((name for name, text in tuple(self._texts.items()) if text.progress.omitted), None)

    def next_chunk(self) -> Chunk | None:
        """Return what to send next; the texts take turns. It is the next one until it is acknowledged."""
        with self._lock:
            names = list(self._texts)
            for step in range(len(names)):
                name = names[(self._turn + step) % len(names)]
                text = self._texts[name]
                self._encode(text)
                at, length = text.acknowledged, text.progress.length
                if at < length:
                    self._turn = (self._turn + step + 1) % len(names)
                    end = at + MAX_CHUNK_BYTES
                    end = boundary(text.kept, end) if end < length else length
                    return Chunk(name, at, text.kept[at:end].decode())
            return None

    def acknowledge(self, chunk: Chunk) -> None:
        """Take note that the journal has this chunk, and what is before it."""
        with self._lock:
            if (text := self._texts.get(chunk.name)) is not None:
                text.acknowledged = chunk.end

    def rewind(self, texts: Texts) -> None:
        """Take note of how much the journal has."""
        with self._lock:
            for name, text in self._texts.items():
                # A length that isn't ours is somebody else's: from the start, then.
                length = texts.length(name)
                text.acknowledged = length if length <= text.progress.length else 0

    def close(self) -> Document:
        """Accept no more, and return what the receipt says of each text."""
        with self._lock:
            self._closed = True
            receipt: Document = {}
            for name, text in self._texts.items():
                self._encode(text, whole=True)
                encoded, omitted = text.encoded(), text.progress.omitted
                receipt[name] = {"length": len(encoded), "sha256": hashlib.sha256(encoded).hexdigest()}
                if omitted:
                    receipt[name]["omitted"] = omitted
            return receipt

    def discard(self) -> None:
        """Accept and send no more; in a forked process too, in which the lock may be held for ever."""
        self._lock = threading.Lock()
        self._closed = True
        self._texts = {}

    def _encode(self, text: _Text, *, whole: bool = False) -> None:
        length, fresh, half, omitted = text.progress
        if not fresh and not (whole and half):
            return
        joined, half = half + "".join(fresh), ""
        try:
            encoded = joined.encode()
        except UnicodeEncodeError:
            if "\ud800" <= joined[-1] <= "\udbff" and not whole:
                joined, half = joined[:-1], joined[-1]
            encoded = joined.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
        room = encoded[: boundary(encoded, self._room())]
        del text.kept[length:]
        text.kept += room
        text.progress = _Progress(length + len(room), [], half, omitted + len(encoded) - len(room))
        text.size = 0

    def _room(self) -> int:
        """Return how many bytes there is room for; none after a gap, so that what is shown is a text's beginning."""
        texts = self._texts.values()
        if any(text.progress.omitted for text in texts):
            return 0
        return self._limit - sum(text.progress.length for text in texts)

"""The token that a client sends, and its renewal."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Renewal:
    """The token that a client sends. `source` returns a new one. It may block, so it never runs in a socket's thread."""

    def __init__(self, source: Callable[[], str] | str | None) -> None:
        self._source = source if callable(source) else None
        self._text = None if callable(source) else source
        self._lock = threading.Lock()
        self._asking = threading.Lock()

    @property
    def renews(self) -> bool:
        return self._source is not None

    @property
    def held(self) -> str | None:
        return self._text

    @property
    def ready(self) -> bool:
        """Whether `get` returns at once."""
        return self._source is None or self._text is not None

    def get(self) -> str | None:
        """Return the token, or fetch one if there is none; raises what the source raises."""
        with self._asking:
            if self._text is None and self._source is not None:
                found = self._source()
                with self._lock:
                    self._text = found
            return self._text

    def forget(self, text: str | None) -> None:
        """Discard `text`, so that `get` fetches a new one; nothing if it was renewed already."""
        with self._lock:
            if self._source is not None and self._text == text:
                self._text = None

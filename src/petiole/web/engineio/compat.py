"""Turns a protection off where a library lacks what it needs, and logs that once.

The application's sockets go on by what the library documents.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from petiole.logs import logger

log = logger(__name__)

# The lowest that pyproject.toml allows, and the newest that the tests about hostile clients were run with.
KNOWN: Final = {"python-engineio": ("4.15.1", "4.15.1"), "python-socketio": ("5.16.2", "5.18.1")}


class DisabledProtections:
    """Says once of each protection that it is off, and remembers it."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def __contains__(self, protection: str) -> bool:
        return protection in self._said

    def add(self, protection: str, missing: object) -> None:
        """Turn a protection off, because `missing` is."""
        if protection in self._said:
            return
        self._said.add(protection)
        known = " and ".join(f"{name} {_span(*versions)}" for name, versions in KNOWN.items())
        here = ", ".join(f"{name} {_installed(name)}" for name in KNOWN)
        log.warning(
            "Petiole: the protection %s is off: %s is missing in %s. "
            "Tested versions: %s. Install one of those, or upgrade Petiole.",
            *(protection, missing, here, known),
        )


def missing_of(thing: Any, *paths: str) -> str | None:
    """Return the first of these dotted paths that `thing` doesn't have."""
    for path in paths:
        found = thing
        for name in path.split("."):
            try:
                found = getattr(found, name)
            except AttributeError:
                return path
    return None


def _span(oldest: str, newest: str) -> str:
    return oldest if oldest == newest else f"{oldest} to {newest}"


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"

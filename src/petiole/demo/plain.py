"""A task on a page without JavaScript: words, a value for `<progress>`, and the URL of its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_WORDS: Final = {
    "queued": "Waiting for a worker",
    "running": "Running",
    "stalled": "No news from the worker",
    "retrying": "Waiting for its next run",
    "cancelling": "Stopping…",
    "cancelled": "Cancelled",
    "failed": "Failed",
    "lost": "The worker disappeared",
    "succeeded": "Finished",
}
_UNDER_WAY: Final = ("queued", "running", "stalled", "retrying", "cancelling")


@dataclass(frozen=True, slots=True)
class Plain:
    """One task in words. `fraction` is `None` while it is unknown; `url`: of a file that can be downloaded."""

    title: str
    words: str
    under_way: bool
    fraction: float | None
    url: str | None
    file: str | None


def describe(wire: Mapping[str, Any], *, now: int) -> Plain:
    """Describe a snapshot as `Petiole.to_wire` returns it; `now` in milliseconds since 1970."""
    document = wire["document"]
    state = document.get("state")
    words = _WORDS.get(state, str(state))
    why = (document.get("error") or {}).get("message") or document.get("reason")
    artifact: Mapping[str, Any] = next(iter(document.get("artifacts") or ()), {})
    expired = artifact.get("expires_at", now + 1) <= now
    has_file = state == "succeeded" and bool(artifact) and not expired
    return Plain(
        title=str(document.get("title") or document.get("task") or "Task"),
        words=_with(words, why) if why else "The file has been removed" if expired else words,
        under_way=state in _UNDER_WAY,
        fraction=(document.get("progress") or {}).get("fraction"),
        url=wire["links"].get("file") if has_file else None,
        file=artifact.get("name"),
    )


def _with(words: str, why: str) -> str:
    """Append a reason, which may begin with the same words."""
    return why.removesuffix(".") if why.startswith(words) else f"{words}: {why}"

"""When a client that polls asks again."""

from __future__ import annotations

from typing import Any, Final

from flask import Response

from petiole.protocol import states

RETRY_AFTER: Final = "3"


def keep_asking(response: Response, document: dict[str, Any]) -> None:
    """Have a client come back until the task has ended, and use no stored answer without asking."""
    response.headers["Cache-Control"] = "private, no-cache"
    if not states.is_terminal(document.get("state")):
        response.headers["Retry-After"] = RETRY_AFTER

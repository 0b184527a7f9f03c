"""Texts of tasks, as a terminal may show them."""

from __future__ import annotations

import re
from typing import Final

from petiole.protocol.events import Document, Event

# A task's words may be of anybody, and these would move the cursor, set colours or answer for the user.
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_ANSI: Final = re.compile(r"\x1b\[[0-9;:?]*[ -/]*[@-~]")


def printable(text: object) -> str:
    """Return a text without colours and with a "�" for each other control character; new lines and tabs stay."""
    return _CONTROLS.sub("�", _ANSI.sub("", str(text)).replace("\r\n", "\n"))


def said_of(event: Event) -> str | None:
    """Return a fact as a line for a person; `None` for one that says nothing new."""
    data = event.data if isinstance(event.data, dict) else {}
    match event.kind:
        case "state":
            state, reason = event.patch.get("state"), event.patch.get("reason")
            return None if state is None else printable(f"{state}: {reason}" if reason else state)
        case "stage":
            return printable(f"— {data.get('name')}")
        case "log":
            level = data.get("level")
            return printable(f"{'' if level == 'info' else f'{level}: '}{data.get('message')}")
        case "artifact":
            said = [f"file: {data.get('name')}", *([str(data["url"])] if data.get("url") else [])]
            return printable("  ".join(said))
        case "custom":
            return printable(f"{data.get('name')}: {data.get('data')}")
        case kind:
            return printable(kind)


def progress_of(document: Document) -> str:
    """Return a document's progress in words: `Writing, 120 of 500 rows, 30/s, 0:12 left`."""
    progress = document.get("progress")
    if not isinstance(progress, dict):
        return ""
    unit = f" {progress['unit']}" if progress.get("unit") else ""
    completed, total, rate, left = (progress.get(name) for name in ("completed", "total", "rate", "time_left"))
    parts = [progress.get("stage"), progress.get("description")]
    if total:
        parts.append(f"{_number(completed)} of {_number(total)}{unit}")
    elif completed:
        parts.append(f"{_number(completed)}{unit}")
    parts.append(f"{_number(rate)}/s" if rate else None)
    parts.append(f"{int(left) // 60}:{int(left) % 60:02} left" if left is not None else None)
    return printable(", ".join(str(part) for part in parts if part))


def _number(value: object) -> str:
    if not isinstance(value, int | float):
        return "0"
    return f"{value:,.0f}" if float(value).is_integer() or value >= 100 else f"{value:,.1f}"

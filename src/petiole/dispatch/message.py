"""What a message says: Petiole's header in it, and its text, by which it can be sent again."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kombu import serialization
from kombu.exceptions import EncodeError

from petiole.errors import InvalidEvent
from petiole.events import VERSION, Document
from petiole.state import QUEUED

log = logging.getLogger(__name__)

HEADER: Final = "petiole"
NOBODY: Final = "nobody"
MESSAGE_LIMIT: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Header:
    """What a message says about its feed, so that a worker can open it again after the journal has forgotten it."""

    feed: str
    epoch: str
    owner: str
    title: str

    def to_message(self) -> dict[str, Any]:
        header = {"v": VERSION, "feed": self.feed, "epoch": self.epoch, "owner": self.owner, "title": self.title}
        return {HEADER: header}

    @classmethod
    def from_message(cls, headers: Mapping[str, Any] | None) -> Header | None:
        """Read it from a message's headers; `None` where Petiole didn't start the task, or a newer version did."""
        header = (headers or {}).get(HEADER)
        if not isinstance(header, Mapping):
            return None
        if header.get("v") != VERSION:
            log.error("header_version", extra={"version": header.get("v"), "known": VERSION})
            return None
        read = [header.get(name) for name in ("feed", "epoch", "owner", "title")]
        if not all(isinstance(text, str) for text in read):
            return None  # somebody else's
        return cls(*map(str, read))


def text_of(message: Mapping[str, Any], *, level: int = logging.INFO) -> str:
    """Return a message as JSON text; empty, and a line in the log, if it isn't JSON or too long."""
    try:
        text: str = serialization.dumps(message, serializer="json")[2]  # type: ignore[no-untyped-call]
    except EncodeError as error:
        log.log(level, "message_not_kept", extra={"task": message["task"], "error": str(error)})
        return ""
    if len(text.encode()) > MESSAGE_LIMIT:
        log.log(level, "message_not_kept", extra={"task": message["task"], "error": f"over {MESSAGE_LIMIT:,} bytes"})
        return ""
    return text


def message_in(name: str, body: object) -> str:
    """Return what a message that is being published would be started by again; empty if it can't be kept."""
    # Celery's protocol 2: arguments, keyword arguments, and what follows the task. A task that has something to follow it
    # is one step of a workflow, and repeated alone it would be something else.
    match body:
        case [[*args], {**kwargs}, {**after}] if not any(after.values()):
            return text_of({"task": name, "args": args, "kwargs": kwargs, "options": {}})
        case _:
            return ""


def read_message(text: str) -> tuple[str, list[Any], dict[str, Any], str | None]:
    """Return the task, arguments, keyword arguments and queue of a kept message."""
    kept = serialization.loads(text, "application/json", "utf-8")  # type: ignore[no-untyped-call]
    queue = (kept.get("options") or {}).get("queue")
    return str(kept["task"]), list(kept["args"]), dict(kept["kwargs"]), queue if isinstance(queue, str) else None


def queued_document(title: str, name: str) -> Document:
    """Return the document of a task that has just been asked for.

    Raises:
        InvalidEvent: the title is too long.
    """
    if len(title) > 200:
        raise InvalidEvent(f"A title of {len(title)} characters is too long. Use at most 200.")
    return {"state": QUEUED, "title": title, "task": name, "retries": 0, "queued_at": now_ms()}


def now_ms() -> int:
    """Return this machine's time in milliseconds since 1970, as documents have it."""
    return int(time.time() * 1000)

"""A task's message: Petiole's header in it, and its JSON text, from which it can be sent again."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from kombu import serialization
from kombu.exceptions import EncodeError

from petiole.logs import logger
from petiole.protocol.events import VERSION, Document, mint_publication
from petiole.protocol.states import QUEUED
from petiole.protocol.values import readable, words

log = logger(__name__)

HEADER: Final = "petiole"
INNER: Final = "headers"
DEEPEST: Final = 3
NOBODY: Final = "nobody"
MESSAGE_LIMIT: Final = 64 * 1024
# 200 characters of any kind.
TITLE_BYTES: Final = 1200
# The fields of a body of protocol 1 that name what follows the task.
_FOLLOWING: Final = ("callbacks", "errbacks", "chord")


@dataclass(frozen=True, slots=True)
class Header:
    """A message's feed, so that a worker can open it again after the journal has lost it.

    `publication` is minted for each publish call and kept through every redelivery. `copied`: Petiole itself has published the
    same message again.
    """

    feed: str
    epoch: str
    owner: str
    title: str
    publication: str = ""
    copied: bool = False

    def to_message(self) -> dict[str, Any]:
        header = {"v": VERSION, "feed": self.feed, "epoch": self.epoch, "owner": self.owner, "title": self.title}
        if self.publication:
            header["publication"] = self.publication
        if self.copied:
            header["copied"] = True
        return {HEADER: header}

    def anew(self) -> Header:
        """Return the header of another publication of the same task."""
        return replace(self, publication=mint_publication(), copied=False)

    @classmethod
    def from_message(cls, headers: object, task_id: object) -> Header | None:
        """Read it from a message's headers, at any depth to which instrumentations have moved it.

        `None`: Petiole didn't start the task, a newer version did, or the header is another task's.
        """
        header = found_header(headers, HEADER)
        if header is None:
            return None
        if header.get("v") != VERSION:
            log.error(
                "header_version",
                extra={
                    "version": header.get("v"),
                    "known": VERSION,
                    "reason": "A newer Petiole sent the message. Upgrade this one.",
                },
            )
            return None
        texts = {name: str(header.get(name)) for name in ("feed", "epoch", "owner", "title")}
        if texts["feed"] != f"task:{task_id}":
            return None
        return cls(**texts, publication=str(header.get("publication") or ""), copied=header.get("copied") is True)

    @classmethod
    def from_request(cls, request: Any) -> Header | None:
        """Read it from Celery's request, which has the message's headers as attributes, in `headers`, or both."""
        given = {HEADER: getattr(request, HEADER, None), INNER: getattr(request, INNER, None)}
        return cls.from_message(given, getattr(request, "id", None))


def found_header(headers: object, name: str) -> Mapping[str, Any] | None:
    """Return one of a message's headers, at any depth to which instrumentations have moved it."""
    return _found(headers, name, DEEPEST)


def _found(headers: object, name: str, deepest: int) -> Mapping[str, Any] | None:
    # Sentry and Datadog put headers into a header of that name, and Celery then shows only those.
    if not isinstance(headers, Mapping):
        return None
    header = headers.get(name)
    if isinstance(header, Mapping):
        return header
    return _found(headers.get(INNER), name, deepest - 1) if deepest else None


def message_text(message: Mapping[str, Any], *, level: int = logging.INFO) -> str:
    """Return a message as JSON text; empty, with a log line, if it isn't JSON or is too long."""
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
    """Return the JSON text from which a message that is being published could be started again; empty if it can't be kept."""
    # Celery's protocol 2: arguments, keyword arguments, and what follows the task. A task with a successor is a step of a
    # workflow, which repeated alone would be something else.
    match body:
        case [[*args], {**kwargs}, {**after}] if not any(after.values()):
            return message_text({"task": name, "args": args, "kwargs": kwargs, "options": {}})
        case {"args": [*args], "kwargs": {**kwargs}, **more} if not any(more.get(after) for after in _FOLLOWING):
            return message_text({"task": name, "args": args, "kwargs": kwargs, "options": {}})  # protocol 1
        case _:
            return ""


def fields_in(body: object) -> dict[str, Any]:
    """Return the fields that Celery's protocol 1 has in the body, and protocol 2 among the headers."""
    if not isinstance(body, dict) or "task" not in body:
        return {}
    return {name: body.get(name) for name in ("id", "retries", "eta")}


def read_message(text: str) -> tuple[str, list[Any], dict[str, Any], str | None]:
    """Return the task, arguments, keyword arguments and queue of a kept message."""
    kept = serialization.loads(text, "application/json", "utf-8")  # type: ignore[no-untyped-call]
    queue = (kept.get("options") or {}).get("queue")
    return str(kept["task"]), list(kept["args"]), dict(kept["kwargs"]), queue if isinstance(queue, str) else None


def title_of(given: object, name: str) -> str:
    """Return a task's title on its page: the given one, of any kind, or else the words of its name."""
    return ("" if given is None else words(given, size=TITLE_BYTES).strip()) or readable(name)


def queued_document(title: str, name: str, *, group: str | None = None) -> Document:
    """Return the document of a task that has just been requested; `group`: the feed of the group that it is part of."""
    document: Document = {
        "state": QUEUED,
        "title": words(title, size=TITLE_BYTES),
        "task": name,
        "retries": 0,
        "queued_at": now_ms(),
    }
    return document if group is None else {**document, "group": group}


def now_ms() -> int:
    """Return this machine's time in milliseconds since 1970, the unit of documents."""
    return int(time.time() * 1000)

"""Which task a command is about, and where: the address of its monitor, or an id that the journal knows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

import click

from petiole.errors import InvalidName
from petiole.protocol.events import feed_id, task_feed

LOOKS_LIKE: Final = "It looks like https://app.example.com/petiole/tasks/0b5f1c1e"

_TASK = re.compile(r"(?P<prefix>.*)/tasks/(?P<id>[^/]+)/?\Z")
_LIST = re.compile(r"(?P<prefix>.*?)(/tasks)?/?\Z")


@dataclass(frozen=True, slots=True)
class Target:
    """A task's feed. `server` has it (an origin, with Petiole's `prefix` below it), or without one the journal."""

    feed: str
    server: str | None = None
    prefix: str = "/petiole"

    @property
    def url(self) -> str:
        """The address of its monitor."""
        return f"{self.server}{self.prefix}/tasks/{feed_id(self.feed)}"


def target_of(text: str) -> Target:
    """Read what a user has given: an address, an id, or a feed's name.

    Raises:
        click.BadParameter: it is none of them.
    """
    try:
        if "://" not in text:
            return Target(task_feed(text.removeprefix("task:")))
        server, path = _split(text)
        found = _TASK.match(path)
        if found is None:
            raise click.BadParameter(f"{text} isn't the address of a task. {LOOKS_LIKE}")
        return Target(task_feed(unquote(found["id"])), server, found["prefix"])
    except InvalidName:
        raise click.BadParameter(f"{text} is neither the id of a task nor its address. {LOOKS_LIKE}") from None


def list_of(text: str) -> tuple[str, str]:
    """Read the address of an application, or of Petiole in it, as its origin and Petiole's prefix.

    Raises:
        click.BadParameter: it is none.
    """
    server, path = _split(text)
    found = _LIST.match(path)
    return server, (found["prefix"] if found else "") or "/petiole"


def _split(text: str) -> tuple[str, str]:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise click.BadParameter(f"{text} isn't an http:// or https:// address. {LOOKS_LIKE}")
    return f"{parts.scheme}://{parts.netloc}", parts.path

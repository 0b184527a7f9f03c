"""The header of a task that is part of a group: in which group it counts, and as which of its children."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from celery import Signature

from petiole.dispatch.message import INNER, found_header
from petiole.logs import logger
from petiole.protocol.events import VERSION, is_group
from petiole.protocol.values import finite

log = logger(__name__)

PART: Final = "petiole_part"


@dataclass(frozen=True, slots=True)
class Part:
    """A task's place in a group: the group's `feed` and `run`, and the child's number.

    `task_id`: whose header it is, in case that it is handed on to another task. `light`: the child has no feed of its own.
    `step`: its place in the group's chain, from 1 on, and the name of that step. `base` is added to Celery's `retries`: a task
    that another one replaces is a later attempt.
    """

    feed: str
    run: int
    child: int
    owner: str
    task_id: str
    light: bool = True
    step: tuple[int, str] | None = None
    base: int = 0

    def to_message(self) -> dict[str, Any]:
        header: dict[str, Any] = {
            "v": VERSION,
            "feed": self.feed,
            "run": self.run,
            "child": self.child,
            "owner": self.owner,
            "id": self.task_id,
            "light": self.light,
        }
        if self.step is not None:
            header["step"] = list(self.step)
        if self.base:
            header["base"] = self.base
        return {PART: header}

    def replaced(self, attempt: int) -> Part:
        """Return the part of what replaces a task in this attempt."""
        return replace(self, base=attempt + 1)

    @classmethod
    def from_message(cls, headers: object, task_id: object) -> Part | None:
        """Read it from a message's headers, as `Header.from_message` does; `None`: the task is no group's part."""
        header = found_header(headers, PART)
        if header is None or header.get("id") != task_id:
            return None
        numbers = [finite(header.get(name, 0)) for name in ("run", "child", "base")]
        feed, step = str(header.get("feed")), header.get("step")
        if header.get("v") != VERSION or None in numbers or not is_group(feed):
            reason = "A newer Petiole sent the message, or something has changed it. Upgrade this one."
            log.error("part_not_understood", extra={"feed": feed, "version": header.get("v"), "reason": reason})
            return None
        run, child, base = (int(number or 0) for number in numbers)
        place = (int(step[0]), str(step[1])) if isinstance(step, list | tuple) and len(step) == 2 else None
        owner, light = str(header.get("owner") or ""), header.get("light") is not False
        return cls(feed, run, child, owner, str(task_id), light, place, base)

    @classmethod
    def from_request(cls, request: Any) -> Part | None:
        """Read it from Celery's request."""
        given = {PART: getattr(request, PART, None), INNER: getattr(request, INNER, None)}
        return cls.from_message(given, getattr(request, "id", None))


def by_group(parts: Iterable[Part]) -> dict[tuple[str, int], list[int]]:
    """Return the numbers of children by their group and its run."""
    groups: dict[tuple[str, int], list[int]] = {}
    for part in parts:
        groups.setdefault((part.feed, part.run), []).append(part.child)
    return groups


def with_headers(signature: Signature, headers: Mapping[str, Any]) -> None:
    """Add headers to those of a signature."""
    given = signature.options.get("headers")
    signature.options["headers"] = {**given, **headers} if isinstance(given, Mapping) else dict(headers)


def parts_in(message: object) -> Iterable[dict[str, Any]]:
    """Yield the headers of parts anywhere in a message: of its task, and of those that follow it."""
    if isinstance(message, Mapping):
        for name, value in message.items():
            if name == PART and isinstance(value, dict):
                yield value
            else:
                yield from parts_in(value)
    elif isinstance(message, list | tuple):
        for value in message:
            yield from parts_in(value)

"""The tasks of a group, as the server lists them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import requests

from petiole.client.refused import Refused, problem_of
from petiole.protocol.events import Document

PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Child:
    """A task of a group. `number`: its place in the order in which they may begin, from 0.

    `fraction` is done of it while it runs, since `since` (ms since 1970). `error` is `{message, reference, type}`. `url`: its
    own monitor, if it has one.
    """

    number: int
    id: str
    state: str
    attempt: int
    fraction: float | None
    since: int | None
    error: Document | None
    url: str | None

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Child:
        """Read it from its JSON object."""
        return cls(
            number=wire["number"],
            id=wire["id"],
            state=wire["state"],
            attempt=wire["attempt"],
            fraction=wire["fraction"],
            since=wire["since"],
            error=wire["error"],
            url=wire["links"].get("self"),
        )


def children_of(
    get: Callable[[str, dict[str, str]], requests.Response], feed: str, *, state: str | None
) -> Iterator[Child]:
    """Yield the tasks of a group, page by page; `get` reads a path below Petiole's prefix."""
    asked = {"limit": str(PAGE)} | ({} if state is None else {"state": state})
    while True:
        response = get(f"/tasks/{quote(feed, safe=':')}/children", asked)
        if response.status_code != 200:
            raise Refused(problem_of(response))
        page = response.json()
        yield from map(Child.from_wire, page["children"])
        if page["next"] is None:
            return
        asked["cursor"] = page["next"]

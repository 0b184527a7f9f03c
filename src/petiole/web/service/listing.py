"""The list of one person's tasks, newest first, page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from petiole.journal import Journal
from petiole.journal.answers import Snapshot
from petiole.protocol import states
from petiole.web.problems import Problem, invalid
from petiole.web.service.children import parent_of

PAGE_SIZE: Final = 50
LARGEST_PAGE: Final = 100
# How many tasks are looked through at most for a page.
SEARCHED: Final = 500


@dataclass(frozen=True, slots=True)
class Page:
    """Tasks, newest first. `cursor` is where the older ones begin, `None` if there are none."""

    snapshots: tuple[Snapshot, ...]
    cursor: str | None

    def __iter__(self) -> Iterator[Snapshot]:
        return iter(self.snapshots)


def list_tasks(
    journal: Journal,
    owner: str,
    *,
    state: str | None,
    name: str | None,
    limit: int,
    cursor: str | None,
    children: bool = False,
) -> Page:
    """Return a page of an owner's tasks: those in `state`, those of the task `name`; at most `limit`.

    A group is one entry; its tasks that have feeds of their own are listed if `children` says so. A page may have fewer, even
    none, though older ones follow: it searches so many tasks and no more.

    Raises:
        Problem: 422, there is no such state, or the limit isn't one; 400, that is not a cursor.
    """
    if state is not None and state not in (*states.ACTIVE, *states.TERMINAL):
        known = ", ".join((*states.ACTIVE, *states.TERMINAL))
        raise invalid(f"There is no state {state[:40]!r}. Use one of {known}.")
    if not 1 <= limit <= LARGEST_PAGE:
        raise invalid(f"A page has 1 to {LARGEST_PAGE} tasks. Choose a limit in this range.")
    mark = None if cursor is None else _mark(cursor)
    chosen = state is not None or name is not None

    def fits(snapshot: Snapshot) -> bool:
        document = snapshot.document
        right = (state is None or document.get("state") == state) and (name is None or document.get("task") == name)
        return right and (children or parent_of(snapshot) is None)

    found: list[Snapshot] = []
    searched = 0
    while True:
        wanted = limit - len(found)
        # Where nothing is chosen, all of the first piece fits as a rule.
        piece = max(wanted, PAGE_SIZE) if chosen or searched else wanted
        fitting, mark = _piece(journal, owner, fits, wanted=wanted, piece=piece, before=mark)
        found += fitting
        searched += piece
        if mark is None or len(found) == limit or searched >= SEARCHED:
            return Page(tuple(found), None if mark is None else str(mark))


def _piece(
    journal: Journal,
    owner: str,
    fits: Callable[[Snapshot], bool],
    *,
    wanted: int,
    piece: int,
    before: int | None,
) -> tuple[list[Snapshot], int | None]:
    """Return at most `wanted` fitting tasks of the next `piece`, and the mark after those that were searched."""
    while True:
        listed, mark = journal.list(owner, limit=piece, before=before)
        fitting = [index for index, snapshot in enumerate(listed) if fits(snapshot)]
        if len(fitting) <= wanted:
            return [listed[index] for index in fitting], mark
        # Only the end of a piece has a mark: read it again, up to the last one that is wanted.
        piece = fitting[wanted - 1] + 1


def _mark(cursor: str) -> int:
    if not cursor.isdecimal() or len(cursor) > 16:
        raise Problem(HTTPStatus.BAD_REQUEST, "Bad request", "That is not a cursor of this list. Use its Link header.")
    return int(cursor)

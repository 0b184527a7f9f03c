"""The children of a group, page by page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from petiole.journal import Journal
from petiole.journal.answers import ListedChild, Snapshot
from petiole.journal.groups import CHILD_STATES
from petiole.protocol.events import Document, feed_of, is_group
from petiole.web.problems import Problem, invalid, not_found

PAGE_SIZE: Final = 50
LARGEST_PAGE: Final = 500
# A child's number has at most so many digits: those that every journal can compare.
MOST_DIGITS: Final = 9


@dataclass(frozen=True, slots=True)
class ChildPage:
    """Children by their numbers. `cursor` is where the next page begins, `None` at the end.

    `followed`: the ids of those that have feeds of their own, which a task gets when it begins.
    """

    children: tuple[ListedChild, ...]
    cursor: str | None
    followed: frozenset[str]

    def __iter__(self) -> Iterator[ListedChild]:
        return iter(self.children)


def list_children(journal: Journal, group: Snapshot, *, state: str | None, limit: int, cursor: str | None) -> ChildPage:
    """Return a page of a group's children: those in `state`, or in one of several, as in `failed,lost`; at most `limit`.

    With a state a page may have fewer, even none, though others follow.

    Raises:
        Problem: 404, it isn't a group; 422, there is no such state, or the limit isn't one; 400, that is not a cursor.
    """
    if not is_group(group.feed):
        raise Problem(HTTPStatus.NOT_FOUND, "Not a group", "This is a single task, so it has no list of children.")
    states = None if state is None else _states(state)
    if not 1 <= limit <= LARGEST_PAGE:
        raise invalid(f"A page has 1 to {LARGEST_PAGE} children. Choose a limit in this range.")
    after = -1 if cursor is None else _number(cursor)
    found, last = _page(journal, group.feed, states, after=after, limit=limit)
    return ChildPage(tuple(found), None if last is None else str(last), _followed(journal, group, found))


def every_child(journal: Journal, group: Snapshot, states: Sequence[str] | None = None) -> Iterator[ListedChild]:
    """Yield a group's children in these states, or all of them; page by page, so each as of when its page was read."""
    after: int | None = -1
    while after is not None:
        found, after = _page(journal, group.feed, states, after=after, limit=LARGEST_PAGE)
        yield from found


def followed_children(journal: Journal, group: Snapshot, states: Sequence[str] | None = None) -> Iterator[Snapshot]:
    """Yield the feeds that children of a group have of their own; those in these states, or of all."""
    for child in every_child(journal, group, states) if is_full(group.document) else ():
        feed = feed_of(child.task_id)
        found = None if feed is None else journal.snapshot(feed)
        # An application chooses the ids of its tasks: another task may have this one.
        if found is not None and parent_of(found) == group.feed:
            yield found


def is_full(document: Document) -> bool:
    """Say whether the children of a group, which has this document, have feeds of their own once they begin."""
    return document.get("light") is False


def parent_of(snapshot: Snapshot) -> str | None:
    """Return the feed of the group that a task belongs to, `None` if it belongs to none."""
    group = snapshot.document.get("group")
    return group if isinstance(group, str) and is_group(group) else None


def _followed(journal: Journal, group: Snapshot, children: Sequence[ListedChild]) -> frozenset[str]:
    if not is_full(group.document):
        return frozenset()
    feeds = {feed: child.task_id for child in children if (feed := feed_of(child.task_id)) is not None}
    heads = journal.heads(list(feeds))
    return frozenset(feeds[feed] for feed, head in heads.items() if head.owner == group.owner)


def _page(
    journal: Journal, feed: str, states: Sequence[str] | None, *, after: int, limit: int
) -> tuple[list[ListedChild], int | None]:
    """Return children in any of these states by number, and the number to go on after."""
    found: dict[int, ListedChild] = {}
    # Each state was searched to its own place: what is beyond the nearest of them comes on the next page.
    searched: int | None = None
    for state in (None,) if states is None else states:
        answer = journal.children(feed, state=state, after=after, limit=limit)
        if answer is None:
            raise not_found()
        children, last = answer
        found |= {child.number: child for child in children}
        if last is not None:
            searched = last if searched is None else min(searched, last)
    page = [found[number] for number in sorted(found) if searched is None or number <= searched]
    if len(page) <= limit:
        return page, searched
    return page[:limit], page[limit - 1].number


def _states(text: str) -> tuple[str, ...]:
    named = tuple(dict.fromkeys(text.split(",")))
    for name in named:
        if name not in CHILD_STATES:
            known = ", ".join(CHILD_STATES)
            raise invalid(
                f"There is no state {name[:40]!r} of a child. Use one of {known}, or several with commas between."
            )
    return named


def _number(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdecimal()) or len(cursor) > MOST_DIGITS:
        raise Problem(HTTPStatus.BAD_REQUEST, "Bad request", "That is not a cursor of this list. Use its Link header.")
    return int(cursor)

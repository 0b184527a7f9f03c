"""The list of a group's children: several states, and a journal that searches a little at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from petiole.journal.answers import ListedChild
from petiole.settings import Settings
from petiole.web.service.children import every_child, list_children
from tests.support.memory_journal import MemoryJournal
from tests.support.open_group import OpenGroup


class Short(MemoryJournal):
    """Looks through so few children for one state, and fewer for another one."""

    def children(
        self, feed: str, *, state: str | None = None, after: int = -1, limit: int
    ) -> tuple[list[ListedChild], int | None] | None:
        looked = 4 if state == "failed" else 7
        answer = super().children(feed, after=after, limit=looked)
        assert answer is not None
        found = [child for child in answer[0] if state in (None, child.state)]
        if len(found) > limit:
            return found[:limit], found[limit - 1].number
        return found, answer[1]


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
def test_each_child_of_several_states_comes_once_in_order(make_settings: Callable[..., Settings], limit: int) -> None:
    journal = Short(make_settings())
    group = OpenGroup(journal, 40)
    group.begin(*range(40))
    group.fail(*range(0, 40, 5))
    group.end(*range(1, 40, 5))
    snapshot = journal.snapshot(group.feed)
    assert snapshot is not None
    found: list[int] = []
    cursor: str | None = None
    while True:
        page = list_children(journal, snapshot, state="failed,succeeded", limit=limit, cursor=cursor)
        found += [child.number for child in page]
        cursor = page.cursor
        if cursor is None:
            break
    expected = [number for number in range(40) if number % 5 < 2]
    assert found == expected
    assert [child.number for child in every_child(journal, snapshot, ("failed", "succeeded"))] == expected

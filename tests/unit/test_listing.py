"""The list of one user's tasks: pages by state and name, each task once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from petiole.journal import Journal
from petiole.protocol.events import Draft
from petiole.settings import Settings
from petiole.web.problems import Problem
from petiole.web.service.listing import Page, list_tasks
from tests.support.memory_journal import MemoryJournal

ANN = "user:ann"


@pytest.fixture
def journal(make_settings: Callable[..., Settings]) -> Journal:
    """120 tasks of Ann's: every third has failed, every fourth is named `report`; and one of Bob's."""
    journal = MemoryJournal(make_settings())
    for number in range(120):
        name = "report" if number % 4 == 0 else "count"
        journal.open(f"task:{number}", owner=ANN, draft=Draft("state", {"state": "queued", "task": name}))
        if number % 3 == 0:
            journal.append(f"task:{number}", Draft("state", {"state": "failed"}))
    journal.open("task:bob", owner="user:bob", draft=Draft("state", {"state": "queued", "task": "report"}))
    return journal


def page(
    journal: Journal, state: str | None = None, name: str | None = None, limit: int = 50, cursor: str | None = None
) -> Page:
    return list_tasks(journal, ANN, state=state, name=name, limit=limit, cursor=cursor)


@pytest.mark.parametrize(
    ("state", "name", "limit", "expected"),
    [
        (None, None, 50, list(range(119, -1, -1))),
        (None, None, 7, list(range(119, -1, -1))),
        ("failed", None, 1, list(range(117, -1, -3))),
        ("failed", None, 9, list(range(117, -1, -3))),
        (None, "report", 100, list(range(116, -1, -4))),
        ("failed", "report", 4, list(range(108, -1, -12))),
        ("lost", None, 50, []),
        (None, "rep", 50, []),
    ],
)
def test_the_pages_have_each_task_once_and_never_more_than_the_limit(
    journal: Journal, state: str | None, name: str | None, limit: int, expected: list[int]
) -> None:
    found: list[str] = []
    cursor: str | None = None
    while True:
        one = page(journal, state, name, limit, cursor)
        assert len(one.snapshots) <= limit
        found += [snapshot.feed for snapshot in one]
        cursor = one.cursor
        if cursor is None:
            break
        assert len(one.snapshots) == limit  # one search covers all of them
    assert found == [f"task:{number}" for number in expected]


def test_a_search_ends_and_goes_on_where_it_ended(journal: Journal) -> None:
    for number in range(600):
        journal.open(f"task:new-{number}", owner=ANN, draft=Draft("state", {"state": "queued", "task": "count"}))
    first = page(journal, "failed")
    assert first.snapshots == ()
    assert first.cursor is not None
    assert len(page(journal, "failed", cursor=first.cursor).snapshots) == 40


@pytest.mark.parametrize("limit", [0, -1, 101])
def test_a_limit_that_is_none_is_refused_with_those_that_are(journal: Journal, limit: int) -> None:
    with pytest.raises(Problem, match="1 to 100"):
        page(journal, limit=limit)

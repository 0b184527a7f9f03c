"""A canvas that a followed task publishes by itself is a group with a feed, of the task's owner."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import group

from petiole.journal.answers import Snapshot
from petiole.protocol import states
from petiole.protocol.events import is_group
from tests.support.groups import OWNER, Groups, counts, groups_of
from tests.support.system import System
from tests.support.waiting import wait_until


@pytest.fixture
def groups(system: System, tmp_path: Path) -> Iterator[Groups]:
    with groups_of(system, tmp_path / "lines") as groups:
        yield groups


def listed(groups: Groups) -> list[Snapshot]:
    """The groups of the owner, newest first."""
    found, _ = groups.tracking.journal.list(OWNER, limit=100)
    return [snapshot for snapshot in found if is_group(snapshot.feed)]


def result_of(groups: Groups, kind: str) -> str:
    """Have a followed task publish a canvas; returns the id of its result."""
    handle = groups.tracking.start(groups.task("fan_out", kind, str(groups.file)), owner=OWNER)
    groups.wait(handle)
    return str(groups.document(handle)["result"])


@pytest.mark.parametrize(("kind", "children"), [("group", 5), ("chord", 6), ("chain", 5), ("chunks", 3), ("nested", 7)])
def test_each_of_its_tasks_counts_once(groups: Groups, kind: str, children: int) -> None:
    before = len(listed(groups))
    result_of(groups, kind)
    assert len(listed(groups)) == before + 1
    feed = listed(groups)[0].feed

    def ended() -> Snapshot | None:
        snapshot = listed(groups)[0]
        return snapshot if states.is_terminal(snapshot.document["state"]) else None

    snapshot = wait_until(ended, what="the group has ended", timeout=20)
    assert snapshot.feed == feed
    assert counts(snapshot.document) == {"succeeded": children}
    assert snapshot.document["title"] == "Followed part"


def test_its_results_are_celerys(groups: Groups) -> None:
    result_id = result_of(groups, "chord")
    assert groups.celery_app.AsyncResult(result_id).get(timeout=10) == [f"{number}" for number in range(5)]
    result_id = result_of(groups, "group")
    assert listed(groups)[0].feed == f"group:{result_id}"
    page = groups.tracking.journal.children(f"group:{result_id}", limit=10)
    assert page is not None
    values = [groups.celery_app.AsyncResult(child.task_id).get(timeout=10) for child in page[0]]
    assert values == [f"{number}" for number in range(5)]


def test_tasks_that_are_not_declared_are_published_as_ever(groups: Groups) -> None:
    before = len(listed(groups))
    result_of(groups, "undeclared")
    wait_until(lambda: len(groups.lines()) == 5, what="all have run")
    assert len(listed(groups)) == before


def test_a_task_without_a_feed_of_its_own_publishes_a_group_too(groups: Groups) -> None:
    before = len(listed(groups))
    handle = groups.start(group(groups.task("fan_out_in_light", str(groups.file))), light=True)
    assert counts(groups.wait(handle)) == {"succeeded": 1}
    assert len(listed(groups)) == before + 2

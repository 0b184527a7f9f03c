"""The header by which a task knows its place in a group."""

from __future__ import annotations

from dataclasses import replace

import pytest
from celery.app.task import Context

from petiole.dispatch.part import PART, Part, parts_in

GIVEN = Part("group:all", 2, 17, "user:ann", "child-17", step=(2, "Resize"))


@pytest.mark.parametrize("part", [GIVEN, replace(GIVEN, light=False, step=None), GIVEN.replaced(3)])
def test_it_is_read_as_it_was_written(part: Part) -> None:
    assert Part.from_message(part.to_message(), "child-17") == part
    assert Part.from_request(Context({"id": "child-17", **part.to_message()})) == part


def test_instrumentations_may_move_it() -> None:
    moved = {"headers": {"sentry-trace": "x", "headers": GIVEN.to_message()}}
    assert Part.from_message(moved, "child-17") == GIVEN
    assert Part.from_request(Context({"id": "child-17", "headers": GIVEN.to_message()})) == GIVEN


def test_another_tasks_header_is_not_its_own() -> None:
    assert Part.from_message(GIVEN.to_message(), "another") is None


@pytest.mark.parametrize(
    "change", [{"v": 2}, {"run": None}, {"child": "x"}, {"child": float("nan")}, {"feed": "task:one"}, {"feed": None}]
)
def test_what_it_does_not_understand_is_no_part(change: dict[str, object]) -> None:
    header = {**GIVEN.to_message()[PART], **change}
    assert Part.from_message({PART: header}, "child-17") is None


def test_an_attempt_of_what_replaces_a_task_is_later_than_all_before() -> None:
    assert GIVEN.replaced(3).base == 4


def test_the_parts_of_what_follows_a_task_are_found() -> None:
    chained = {"options": {"chain": [{"task": "b", "options": {"headers": replace(GIVEN, child=18).to_message()}}]}}
    message = {"task": "a", "options": {"headers": GIVEN.to_message(), **chained["options"]}}
    assert [part["child"] for part in parts_in(message)] == [17, 18]

"""A task's own code reports for the task, wherever Celery, or the task itself, calls it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from petiole.client import TaskView
from petiole.protocol.events import Event
from tests.support.system import System


def ran(system: System, name: str, *args: Any) -> tuple[TaskView, list[str]]:
    """Run a task to its end; return its view and its log lines."""
    events: list[Event] = []
    view = system.client("ann").start(f"/start/{name}", {"args": list(args)}, on_event=events.append)
    view.wait(timeout=20)
    assert view.receipt.complete
    return view, [event.data["message"] for event in events if event.kind == "log"]


def test_a_task_that_calls_itself_goes_on_in_its_run(system: System, tmp_path: Path) -> None:
    file, began = tmp_path / "depths", system.log_size()
    view, said = ran(system, "walk", 5, str(file))
    depths = [f"depth {depth}" for depth in range(5, -1, -1)]
    assert (view.document["state"], view.document["result"], view.document["run"]) == ("succeeded", 5, 1)
    assert said == file.read_text().splitlines() == depths
    assert not any("task_runs_already" in line for line in system.log[began:])


def test_a_bound_task_that_calls_its_run_goes_on_in_it(system: System) -> None:
    view, said = ran(system, "walk_by_run", 3)
    assert (view.document["state"], view.document["result"]) == ("succeeded", 3)
    assert said == ["depth 3", "depth 2", "depth 1", "depth 0"]


def test_a_task_that_calls_another_speaks_for_both(system: System, tmp_path: Path) -> None:
    view, said = ran(system, "walk_by_another", 2, str(tmp_path / "depths"))
    assert (view.document["state"], view.document["result"]) == ("succeeded", 2)
    assert said == ["depth 2", "depth 1", "depth 0"]


@pytest.mark.parametrize(
    ("how", "state", "expected"),
    [
        ("return", "succeeded", ["before_start", "call", "run", "called", "on_success", "after_return"]),
        ("fail", "failed", ["before_start", "call", "run", "on_failure", "after_return"]),
        (
            "retry",
            "succeeded",
            [
                *("before_start", "call", "run", "on_retry"),
                *("before_start", "call", "run", "called", "on_success", "after_return"),
            ],
        ),
    ],
)
def test_what_a_base_class_says_in_its_hooks_arrives(system: System, how: str, state: str, expected: list[str]) -> None:
    view, said = ran(system, "speak_everywhere", how)
    assert view.document["state"] == state
    assert said == expected


def test_a_class_that_replaces_the_call_is_tracked_to_its_end(system: System) -> None:
    view, said = ran(system, "replace_the_call", 7)
    assert (view.document["state"], view.document["result"]) == ("succeeded", [7])
    assert said == ["its own call"]

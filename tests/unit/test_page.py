"""What the page without JavaScript says."""

from __future__ import annotations

import pytest

from petiole.web.page import known_fraction


@pytest.mark.parametrize(
    ("state", "progress", "fraction"),
    [
        ("running", None, None),
        ("running", {"completed": 1, "total": 4, "fraction": 0.25}, 0.25),
        ("running", {"completed": 4, "total": 4, "fraction": 1.0}, 0.99),
        ("running", {"completed": 10, "total": 3, "fraction": 1.0}, None),
        ("running", {"completed": 10, "total": 40, "fraction": None}, None),
        ("succeeded", {"completed": 10, "total": 3, "fraction": 1.0}, 1.0),
        ("succeeded", None, 1.0),
    ],
)
def test_all_of_a_task_is_done_when_it_has_succeeded_and_not_before(state, progress, fraction):
    assert known_fraction({"state": state, "progress": progress}) == fraction

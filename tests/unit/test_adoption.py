"""What Celery users write into a state's meta, read as progress."""

from __future__ import annotations

from decimal import Decimal

import pytest

from petiole.worker.adoption import Said, understand


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        ({"current": 3, "total": 10}, Said(3, 10)),
        ({"done": 3, "total": 10, "message": "Reading"}, Said(3, 10, "Reading")),
        ({"completed": 3, "total": 10}, Said(3, 10)),
        ({"current": 3, "total": 10, "status": "Adjusting the dilithium…"}, Said(3, 10, "Adjusting the dilithium…")),
        # celery-progress's recorder, with and without a total
        ({"pending": False, "current": 3, "total": 10, "percent": 30.0, "description": "Rows"}, Said(3, 10, "Rows")),
        ({"pending": False, "current": 3, "total": 0, "percent": 0, "description": ""}, Said(3, None)),
        ({"current": Decimal(3), "total": Decimal(10)}, Said(3.0, 10.0)),
        ({"current": 7}, Said(7, None)),
        ({"percent": 42}, Said(42, 100)),
        ({"percent": 0.5}, Said(0.5, 100)),
        ({"current": 3, "percent": 42}, Said(42, 100)),
        ({"progress": 42}, Said(42, 100)),
        ({"progress": 1}, Said(1, 100)),
        ({"progress": 0.42}, Said(42.0, 100)),
        ({"progress": 1.0}, Said(100.0, 100)),
        ({"progress": 3, "total": 10}, Said(3, 10)),
        ({"status": "Waiting for the other side"}, Said(None, None, "Waiting for the other side")),
        ({"description": "", "status": "second"}, Said(None, None, "second")),
    ],
)
def test_what_is_known_is_read(meta, said):
    assert understand(meta) == said


@pytest.mark.parametrize(
    "meta",
    [None, "half", 5, [1, 2], {}, {"rows": 5}, {"current": "3"}, {"current": None, "total": None}, {"current": True},
     {"current": -1}, {"percent": float("nan")}, {"progress": float("inf")}, {"progress": {"done": 3}}, {"status": 200},
     {"total": 10}, {5: 6}, {"exc_type": "ValueError", "exc_message": ["no"]}, {"current": 10**40}],
)  # fmt: skip
def test_what_is_not_known_is_passed_over(meta):
    assert understand(meta) == Said()

"""The words of the pages without JavaScript."""

from __future__ import annotations

import pytest

from petiole.demo.plain import describe
from petiole.web.http.page import known_fraction


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


@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        ("lost", "The worker disappeared.", "The worker disappeared"),
        ("lost", "The worker was shut down.", "The worker disappeared: The worker was shut down."),
        ("stalled", "No news from the worker w@host.", "No news from the worker w@host"),
        ("failed", "The disk is full.", "Failed: The disk is full."),
    ],
)
def test_the_demos_page_says_once_what_its_words_and_the_reason_say(state, reason, words):
    assert describe({"document": {"state": state, "reason": reason}, "links": {}}, now=0).words == words

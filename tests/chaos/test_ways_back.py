"""How long a browser was away, from its records."""

from __future__ import annotations

import math

from chaos.scenarios.web import ways_back


def test_each_lost_connection_is_as_long_as_the_next_answer_takes() -> None:
    assert ways_back([10.0, 20.0], [1.0, 12.0, 20.5], since=0.0) == [2.0, 0.5]


def test_what_is_lost_again_before_an_answer_is_one_way() -> None:
    assert ways_back([10.0, 11.0, 12.0], [14.0], since=0.0) == [4.0]


def test_what_was_lost_earlier_does_not_count() -> None:
    assert ways_back([10.0, 20.0], [11.0, 21.0], since=15.0) == [1.0]


def test_who_is_never_answered_is_away_for_ever() -> None:
    assert ways_back([10.0], [9.0], since=0.0) == [math.inf]

from __future__ import annotations

import math

from petiole.web.times import Times


def test_names_are_taken_once_in_the_order_of_their_times():
    times = Times()
    for name, at in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
        times.set(name, at)
    assert times.first() == 1.0
    assert times.take(0.9) == []
    assert times.take(2.0) == ["a", "b"]
    assert times.take(2.0) == []
    assert times.take(math.inf) == ["c"]
    assert times.first() == math.inf


def test_only_the_last_time_of_a_name_counts():
    times = Times()
    times.set("later", 1.0)
    times.set("later", 2.0)
    times.set("sooner", 2.0)
    times.set("sooner", 1.0)
    assert len(times) == 2
    assert times.take(1.0) == ["sooner"]
    assert times.take(2.0) == ["later"]
    assert times.take(math.inf) == []


def test_a_dropped_name_is_not_taken_and_may_come_again():
    times = Times()
    times.set("a", 1.0)
    times.drop("a")
    times.drop("unknown")
    assert len(times) == 0
    assert times.take(1.0) == []
    times.set("a", 1.0)
    assert times.take(1.0) == ["a"]


def test_at_most_so_many_are_taken_and_what_was_dropped_is_none_of_them():
    times = Times()
    for number in range(5):
        times.set(f"n{number}", float(number))
    times.drop("n0")
    assert times.take(9.0, limit=2) == ["n1", "n2"]
    assert times.take(9.0, limit=2) == ["n3", "n4"]

from __future__ import annotations

from petiole.web.engineio.deadlines import Deadlines

ALL = 1000


def test_names_are_taken_once_in_the_order_of_their_times():
    some = Deadlines()
    for name, at in (("c", 103.0), ("a", 101.0), ("b", 102.0)):
        some.set(name, at)
    assert some.take(100.9, limit=ALL) == []
    assert some.take(102.0, limit=ALL) == ["a", "b"]
    assert some.take(102.0, limit=ALL) == []
    assert some.take(200.0, limit=ALL) == ["c"]
    assert len(some) == 0


def test_nothing_is_taken_before_its_time():
    some = Deadlines()
    some.set("a", 101.1)
    assert some.take(101.0, limit=ALL) == []
    assert some.take(101.1, limit=ALL) == ["a"]


def test_only_the_last_time_of_a_name_counts():
    some = Deadlines()
    some.set("later", 101.0)
    some.set("later", 102.0)
    some.set("sooner", 102.0)
    some.set("sooner", 101.0)
    assert len(some) == 2
    assert some.take(101.0, limit=ALL) == ["sooner"]
    assert some.take(102.0, limit=ALL) == ["later"]
    assert some.take(200.0, limit=ALL) == []


def test_what_is_set_to_a_time_that_has_passed_is_taken_next():
    some = Deadlines()
    assert some.take(150.0, limit=ALL) == []
    some.set("a", 120.0)
    assert some.take(150.5, limit=ALL) == ["a"]


def test_a_dropped_name_is_not_taken_and_may_come_again():
    some = Deadlines()
    some.set("a", 101.0)
    some.drop("a")
    some.drop("unknown")
    assert len(some) == 0
    assert some.take(101.0, limit=ALL) == []
    some.set("a", 101.0)
    assert some.take(102.0, limit=ALL) == ["a"]


def test_at_most_so_many_are_taken_and_what_was_dropped_is_none_of_them():
    some = Deadlines()
    for number in range(5):
        some.set(f"n{number}", 101.0 + number)
    some.set("n5", 105.0)
    some.drop("n0")
    assert some.take(109.0, limit=2) == ["n1", "n2"]
    assert some.take(109.0, limit=2) == ["n3", "n4"]
    assert some.take(109.0, limit=2) == ["n5"]

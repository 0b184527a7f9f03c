from __future__ import annotations

from petiole.web.relay.idle import IdleTracker


def test_who_was_not_heard_of_for_so_many_whole_turns_is_said_once():
    idle = IdleTracker(2)
    idle.hear("a")
    assert [idle.turn() for _ in range(6)] == [set(), set(), {"a"}, set(), set(), set()]


def test_who_is_heard_of_in_time_is_never_said():
    idle = IdleTracker(2)
    said = []
    for number in range(12):
        idle.hear("each")
        if number % 2 == 0:
            idle.hear("every second")
        if number % 4 == 0:
            idle.hear("every fourth")
        said.append(sorted(idle.turn()))
    assert [number for number, names in enumerate(said) if names] == [2, 6, 10]
    assert all(names in ([], ["every fourth"]) for names in said)


def test_who_has_been_silent_may_be_heard_of_again():
    idle = IdleTracker(1)
    idle.hear("a")
    assert [idle.turn(), idle.turn()] == [set(), {"a"}]
    idle.hear("a")
    assert [idle.turn(), idle.turn()] == [set(), {"a"}]


def test_who_stays_silent_is_said_every_so_many_turns():
    idle = IdleTracker(3)
    idle.hear("a")
    said = []
    for number in range(12):
        if idle.turn():
            said.append(number)
            idle.ask("a")
    assert said == [3, 6, 9]


def test_who_is_asked_for_before_the_first_turn_is_said_in_time():
    idle = IdleTracker(3)
    idle.ask("a")
    assert [idle.turn() for _ in range(4)] == [set(), set(), {"a"}, set()]

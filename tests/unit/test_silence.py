from __future__ import annotations

from petiole.web.engineio.idle import Silence


def test_who_was_not_heard_of_for_so_many_whole_turns_is_said_once():
    silence = Silence(2)
    silence.hear("a")
    assert [silence.turn() for _ in range(6)] == [set(), set(), {"a"}, set(), set(), set()]


def test_who_is_heard_of_in_time_is_never_said():
    silence = Silence(2)
    said = []
    for number in range(12):
        silence.hear("each")
        if number % 2 == 0:
            silence.hear("every second")
        if number % 4 == 0:
            silence.hear("every fourth")
        said.append(sorted(silence.turn()))
    assert [number for number, names in enumerate(said) if names] == [2, 6, 10]
    assert all(names in ([], ["every fourth"]) for names in said)


def test_who_has_been_silent_may_be_heard_of_again():
    silence = Silence(1)
    silence.hear("a")
    assert [silence.turn(), silence.turn()] == [set(), {"a"}]
    silence.hear("a")
    assert [silence.turn(), silence.turn()] == [set(), {"a"}]


def test_who_stays_silent_is_said_every_so_many_turns():
    silence = Silence(3)
    silence.hear("a")
    said = []
    for number in range(12):
        if silence.turn():
            said.append(number)
            silence.ask("a")
    assert said == [3, 6, 9]


def test_who_is_asked_for_before_the_first_turn_is_said_in_time():
    silence = Silence(3)
    silence.ask("a")
    assert [silence.turn() for _ in range(4)] == [set(), set(), {"a"}, set()]

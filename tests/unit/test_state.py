from __future__ import annotations

import pytest

from petiole.protocol.states import ACTIVE, ENDS_RUN, PREDECESSORS, TERMINAL, is_terminal, may_follow

STATES = ("queued", "running", "retrying", "stalled", "cancelling", "succeeded", "failed", "cancelled", "lost")

# Every state (row) with the states that it may come from (1) or not (0), in the order of STATES.
TABLE = {
    #             queued running retrying stalled cancelling | terminal
    "queued": (0, 0, 0, 0, 0, 0, 0, 0, 0),
    "running": (1, 1, 1, 1, 0, 0, 0, 0, 0),
    "retrying": (0, 1, 0, 1, 0, 0, 0, 0, 0),
    "stalled": (1, 1, 1, 0, 0, 0, 0, 0, 0),
    "cancelling": (1, 1, 1, 1, 0, 0, 0, 0, 0),
    "succeeded": (1, 1, 1, 1, 1, 0, 0, 0, 0),
    "failed": (1, 1, 1, 1, 1, 0, 0, 0, 0),
    "cancelled": (1, 1, 1, 1, 1, 0, 0, 0, 0),
    "lost": (1, 1, 1, 1, 1, 0, 0, 0, 0),
}


@pytest.mark.parametrize("current", STATES)
@pytest.mark.parametrize("state", STATES)
def test_the_table_of_states_is_total(state, current):
    assert may_follow(state, current) is bool(TABLE[state][STATES.index(current)])


@pytest.mark.parametrize("state", STATES)
def test_any_state_may_be_a_feeds_first(state):
    assert may_follow(state, None)


def test_every_state_is_either_active_or_terminal():
    assert sorted((*ACTIVE, *TERMINAL)) == sorted(STATES) == sorted(PREDECESSORS)


@pytest.mark.parametrize("state", STATES)
def test_only_the_four_last_states_are_terminal(state):
    assert is_terminal(state) is (state in ("succeeded", "failed", "cancelled", "lost"))


def test_a_feed_without_a_state_is_not_terminal():
    assert not is_terminal(None)


def test_a_run_ends_with_a_terminal_state_or_a_retry():
    assert sorted(ENDS_RUN) == sorted(("retrying", *TERMINAL))


@pytest.mark.parametrize("state", ACTIVE)
def test_every_active_state_can_end(state):
    assert any(state in PREDECESSORS[last] for last in TERMINAL)


@pytest.mark.parametrize("state", [state for state in STATES if state != "queued"])
def test_every_state_can_be_reached_from_queued(state):
    reached = {"queued"}
    for _ in STATES:
        reached |= {name for name, before in PREDECESSORS.items() if reached & set(before)}
    assert state in reached


def test_an_unknown_state_is_an_error_and_not_an_answer():
    with pytest.raises(KeyError):
        may_follow("finished", "running")

"""The guarantee in a small world, explored exhaustively: every order of every step, with every fault. `-s` prints the size."""

from __future__ import annotations

import pytest

from petiole.protocol import reader as feed
from petiole.protocol.events import ZERO_CHAIN
from petiole.protocol.reader import Verdict
from tests.unit.exploration import explore
from tests.unit.world import (
    AGAIN,
    DOUBLE,
    DROP,
    FIRST_RUN,
    LONGER_RUN,
    NO_RUN,
    STALE,
    SWAP,
    Rules,
    Violation,
)

# Each world with its minimum number of states: a world that shrinks unnoticed proves less.
WORLDS = {
    "two runs, each fault alone": (Rules(), 80_000),
    "one run, every two faults": (Rules(plans=(FIRST_RUN, NO_RUN), budget=2), 80_000),
    "one longer run, each fault alone": (Rules(plans=(LONGER_RUN, NO_RUN)), 15_000),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_the_guarantee_holds_in_every_state_of_a_small_world(name):
    rules, least = WORLDS[name]
    explored = explore(rules)
    print(f"\n{name}: {explored.states:,} states, {explored.steps:,} steps, {explored.settled:,} settled")
    assert explored.states > least
    assert explored.settled > 100


def test_without_the_head_check_the_last_event_is_lost_for_good():
    with pytest.raises(Violation, match=r"I1: the page stands at .* a ring is lost"):
        explore(Rules(faults=DROP, head_check=False))


def test_without_progress_in_every_ring_a_lost_counter_is_lost_for_good():
    with pytest.raises(Violation, match="I4: the page shows"):
        explore(Rules(faults=DROP, progress_in_every_ring=False))


def test_without_the_fence_an_earlier_run_is_shown_after_a_later_one():
    with pytest.raises(Violation, match="I6: run 1 was shown after run 2 had begun"):
        explore(Rules(faults=0, fence=False))


def test_without_the_chain_a_stale_copy_is_not_noticed(monkeypatch):
    def no_chain(chain, event_id):
        return ZERO_CHAIN

    monkeypatch.setattr(feed, "advance_chain", no_chain)
    with pytest.raises(Violation, match=r"I4: .* a stale copy takes over"):
        explore(Rules(faults=STALE, advance=no_chain))


@pytest.mark.parametrize("fault", [DROP, DOUBLE, SWAP])
def test_a_reader_that_applies_whatever_comes_is_found(monkeypatch, fault):
    monkeypatch.setattr(feed, "judge", lambda cursor, event: Verdict.APPLY)
    with pytest.raises(Violation):
        explore(Rules(faults=fault))


def test_an_id_that_is_used_again_is_a_part_of_the_world():
    assert explore(Rules(faults=AGAIN)).states > explore(Rules(faults=0)).states

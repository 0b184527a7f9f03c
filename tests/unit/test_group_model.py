"""The rules of groups in a small world, explored exhaustively: every order of every step. `-s` prints the size.

Three children; messages that come twice or late, contributions that come twice or late, retries, workers that die or are slow,
verdicts, cancelling, and failed children that run again.
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import replace
from types import ModuleType
from typing import NamedTuple

import pytest

from petiole.journal import groups
from tests.unit.group_world import ALONE, CHAIN, CHORD, PAIR_AND_ONE, GroupModel, Rules, Violation, World


class Explored(NamedTuple):
    """The size of the explored world."""

    states: int
    steps: int
    settled: int


def explore(rules: Rules) -> Explored:
    """Visit every reachable world, breadth first, and check the promises in each.

    Raises:
        Violation: one doesn't hold in a world; the message has the shortest path to it.
    """
    model = GroupModel(rules)
    first = model.begin()
    came_from: dict[World, tuple[World | None, str]] = {first: (None, "")}
    worlds = [first]
    steps = settled = 0
    for world in worlds:  # the list grows during the loop: a breadth-first queue
        try:
            model.check(world)
            settled += model.is_settled(world)
            for name, after in model.steps(world):
                steps += 1
                if after not in came_from:
                    came_from[after] = world, name
                    worlds.append(after)
        except Violation as violation:
            raise Violation(f"{violation}. The way there: {_way(came_from, world)}") from None
    return Explored(len(worlds), steps, settled)


def _way(came_from: dict[World, tuple[World | None, str]], world: World) -> str:
    names = []
    at: World | None = world
    while at is not None:
        at, name = came_from[at]
        names.append(name)
    return ", ".join(reversed(names[:-1])) or "none"


# Each world with its minimum number of states: a world that shrinks unnoticed proves less.
WORLDS = {
    "three alone, each fault alone, a retry": (Rules(ALONE, cancels=0, repeats=0), 8_000),
    "a link and one alone, each fault alone": (Rules(PAIR_AND_ONE), 90_000),
    "a link and one alone, acknowledged late": (Rules(PAIR_AND_ONE, late=True, repeats=0), 14_000),
    "a link and one alone, acknowledged late, run again": (Rules(PAIR_AND_ONE, late=True, retries=0), 14_000),
    "a link and one alone, every two faults": (Rules(PAIR_AND_ONE, faults=2, retries=0, cancels=0, repeats=0), 8_000),
    "a chain, each fault alone": (Rules(CHAIN), 15_000),
    "a chain, acknowledged late": (Rules(CHAIN, late=True), 15_000),
    "a chain, every two faults": (Rules(CHAIN, faults=2, retries=0, cancels=0), 12_000),
    "a chord, each fault alone": (Rules(CHORD), 45_000),
    "a chord, acknowledged late": (Rules(CHORD, late=True, retries=0), 7_000),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_a_group_counts_each_child_once_and_ends_once_in_every_state_of_a_small_world(name):
    rules, least = WORLDS[name]
    explored = explore(rules)
    print(f"\n{name}: {explored.states:,} states, {explored.steps:,} steps, {explored.settled:,} settled")
    assert explored.states > least
    assert explored.settled > 100


def mutated(before: str, after: str) -> ModuleType:
    """Return the rules of groups with a line that is another."""
    source = inspect.getsource(groups)
    assert source.count(before) == 1, f"The rules have no line {before!r} any more. Adapt the mutation."
    module = ModuleType("petiole.journal.mutated_groups")
    # Dataclasses look for their module by its name.
    sys.modules[module.__name__] = module
    try:
        exec(compile(source.replace(before, after), inspect.getfile(groups), "exec"), module.__dict__)
    finally:
        del sys.modules[module.__name__]
    return module


MUTATIONS = {
    "without the key: counts are added": (
        Rules(ALONE, faults=1, retries=0, cancels=0, repeats=0),
        "moved(group.counts, child.state, state), group.partly",
        "moved(group.counts, states.QUEUED, state), group.partly",
        r"it counts .*, there are",
    ),
    "an end that isn't final": (
        Rules(PAIR_AND_ONE, retries=1, cancels=0, repeats=0),
        "return child.has_ended or (cancelled and child.state in states.WAITING)",
        "return cancelled and child.state in states.WAITING",
        r"was .*, which is final, and is",
    ),
    "without the check of attempts": (
        Rules(PAIR_AND_ONE, faults=1, retries=1, cancels=0, repeats=0),
        "return wanted > known or (wanted == known and said.state == states.RUNNING)",
        "return True",
        r"is back at attempt 0",
    ),
    "a verdict over a child that is alive": (
        Rules(ALONE, faults=1, retries=0, cancels=0, repeats=0),
        "one.child in expired and child.state == states.RUNNING",
        "child.state == states.RUNNING",
        r"is lost by a verdict, and it is alive",
    ),
    "a verdict over a child that doesn't run": (
        Rules(ALONE, faults=2, retries=0, cancels=0, repeats=0),
        "elif not (accepts(child, one) if expired is None else one.child in expired and child.state == states.RUNNING):",
        "elif expired is None and not accepts(child, one):",
        r"by a verdict, and it is alive",
    ),
    "voids that aren't followed": (
        Rules(CHAIN, faults=0, retries=0, cancels=0, repeats=0),
        "                    ranges.append(child.voids)",
        "                    pass",
        r"nothing happens any more, and its children are \['failed', 'skipped', 'queued'\]",
    ),
    "nothing is voided": (
        Rules(PAIR_AND_ONE, faults=0, retries=0, cancels=0, repeats=0),
        "if after.is_void_making and not group.cancel:",
        "if False:",
        r"nothing happens any more, and its children are",
    ),
    "what is cancelled is skipped as well": (
        Rules(PAIR_AND_ONE, faults=0, retries=0, repeats=0),
        "if after.is_void_making and not group.cancel:",
        "if after.is_void_making:",
        r"it counts .*, there are",
    ),
    "a retry waits in a cancelled group": (
        Rules(ALONE, faults=0, repeats=0),
        "state = states.CANCELLED if group.cancel and said.state in states.WAITING else said.state",
        "state = said.state",
        r"it (counts|is cancelling)",
    ),
    "a child runs again that another one voids": (
        Rules(CHORD, faults=0, retries=0, cancels=0),
        "if runs and number >= void:",
        "if runs:",
        r"nothing happens any more, and its children are .*queued",
    ),
    "what was skipped stays so": (
        Rules(PAIR_AND_ONE, faults=0, retries=0, cancels=0),
        "runs = number < revived and child.state in (SKIPPED, states.CANCELLED)",
        "runs = False",
        r"is skipped after \['queued'\]",
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_world_finds_a_rule_that_is_wrong(name):
    rules, before, after, violation = MUTATIONS[name]
    explore(rules)  # it holds with the right rule
    with pytest.raises(Violation, match=violation):
        explore(replace(rules, rules=mutated(before, after)))


def test_without_the_fence_an_earlier_run_speaks_for_a_later_one():
    rules = Rules(PAIR_AND_ONE, faults=1, retries=0, cancels=0)
    explore(rules)
    with pytest.raises(Violation, match="which no execution of it was"):
        explore(replace(rules, fence=False))

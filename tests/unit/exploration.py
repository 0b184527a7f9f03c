"""Visits every state of a small world, breadth first, and checks the guarantee in each."""

from __future__ import annotations

from dataclasses import dataclass

from tests.unit.model import Model
from tests.unit.world import Rules, Violation


@dataclass(frozen=True)
class Explored:
    """The size of the explored world."""

    states: int
    steps: int
    settled: int


def explore(rules: Rules) -> Explored:
    """Visit every reachable world, breadth first, and check the guarantee in each.

    Raises:
        Violation: it doesn't hold in a world; the message has the shortest path to it.
    """
    model = Model(rules)
    worlds = [model.begin()]
    numbers = {worlds[0]: 0}
    came_from: list[tuple[int, str]] = [(0, "")]
    nearer: list[int | None] = []
    settled: set[int] = set()
    steps = 0
    for number, world in enumerate(worlds):  # the list grows during the loop: a breadth-first queue
        nearer.append(None)
        try:
            if model.is_settled(world):
                model.check_settled(world)
                settled.add(number)
            for name, after, helps in model.steps(world):
                steps += 1
                to = numbers.setdefault(after, len(worlds))
                if to == len(worlds):
                    worlds.append(after)
                    came_from.append((number, name))
                if helps and nearer[number] is None:
                    nearer[number] = to
        except Violation as violation:
            raise Violation(f"{violation}. The way there: {_way(came_from, number)}") from None
    _check_settles(came_from, nearer, settled)
    return Explored(len(worlds), steps, len(settled))


def _way(came_from: list[tuple[int, str]], number: int) -> str:
    names = []
    while number:
        number, name = came_from[number]
        names.append(name)
    return ", ".join(reversed(names)) or "none"


def _check_settles(came_from: list[tuple[int, str]], nearer: list[int | None], settled: set[int]) -> None:
    """From every world, deliveries, reads and head checks alone lead to a settled one."""
    settles = set(settled)
    for start in range(len(nearer)):
        way: list[int] = []
        at: int | None = start
        while at not in settles:
            if at is None or len(way) > len(nearer):
                raise Violation(f"I8: the page never comes to the head. The way there: {_way(came_from, start)}")
            way.append(at)
            at = nearer[at]
        settles.update(way)

"""A small world of a group: its journal by the real rules, and around it a broker, workers and a reaper that may fail.

`GroupModel.steps` lists what may happen next. What a god sees is kept beside what the journal counts; `check` compares them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from types import ModuleType
from typing import Final, NamedTuple, TypeVar

from petiole.journal import groups as real_rules
from petiole.journal.groups import SKIPPED, Child, Contribution, Group
from petiole.protocol import states

T = TypeVar("T")

# A child's lease, as the journal has it.
NONE, ALIVE, ENDED = range(3)
UNSUCCESSFUL: Final = (states.FAILED, states.LOST, states.CANCELLED)


class Violation(AssertionError):
    """A promise doesn't hold in a world."""


@dataclass(frozen=True)
class Canvas:
    """Three children: what each voids, and by whose success each is published; without any it is so from the start."""

    voids: tuple[tuple[int, int], ...]
    needs: tuple[frozenset[int], ...]


ALONE: Final = Canvas(((0, 0),) * 3, (frozenset(),) * 3)
# A link voids the next one, and that one the next: the closure is the journal's.
CHAIN: Final = Canvas(((1, 2), (2, 3), (0, 0)), (frozenset(), frozenset({0}), frozenset({1})))
CHORD: Final = Canvas(((2, 3), (2, 3), (0, 0)), (frozenset(), frozenset(), frozenset({0, 1})))
PAIR_AND_ONE: Final = Canvas(((1, 2), (0, 0), (0, 0)), (frozenset(), frozenset({0}), frozenset()))


@dataclass(frozen=True)
class Rules:
    """What may happen in a world, how often; and the rules of its journal, which a test may break.

    `faults`: a message that is delivered again, a contribution that comes late or twice, a worker that dies or is slow.
    `late`: messages are acknowledged late. `fence`: a contribution of an earlier run is refused.
    """

    canvas: Canvas = ALONE
    late: bool = False
    faults: int = 1
    retries: int = 1
    cancels: int = 1
    repeats: int = 1
    fence: bool = True
    rules: ModuleType = real_rules


class Message(NamedTuple):
    child: int
    attempt: int
    run: int


class Execution(NamedTuple):
    """`owes`: what it has yet to contribute, in order. It is over once it isn't `on` and owes nothing."""

    child: int
    attempt: int
    run: int
    on: bool
    owes: tuple[str, ...]


class Said(NamedTuple):
    """A contribution on its way: a verdict, or one that comes a second time."""

    child: int
    attempt: int
    run: int
    state: str
    verdict: bool


class Seen(NamedTuple):
    """What a god knows of a child in this run.

    `ends`: how its executions ended. `attempt`: the newest that the journal has heard of. `unheard`: one has died with its
    worker before the journal could hear that it had begun, and nobody has its message any more.
    """

    ends: frozenset[str] = frozenset()
    attempt: int = 0
    unheard: bool = False


@dataclass(frozen=True, eq=False)
class Kept:
    """What the journal keeps of the group. There is one object for each value, so that worlds are compared quickly."""

    group: Group
    children: tuple[Child, ...]
    leases: tuple[int, ...]

    @cached_property
    def is_terminal(self) -> bool:
        return states.is_terminal(self.group.state)

    @cached_property
    def shown(self) -> list[str]:
        return [real_rules.listed(child, cancelled=self.group.cancel > 0) for child in self.children]


class World(NamedTuple):
    kept: Kept
    queue: tuple[Message, ...]
    executions: tuple[Execution, ...]
    flying: tuple[Said, ...]
    seen: tuple[Seen, ...]
    succeeded: frozenset[int]
    # How often this run has ended.
    ends: int
    faults: int
    retries: int
    cancels: int
    repeats: int


Step = tuple[str, World]


class Taken(NamedTuple):
    """What became of a contribution."""

    kept: Kept
    counted: bool
    may_run: bool


class GroupModel:
    """The worlds by one set of rules."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._values: dict[tuple[Group, tuple[Child, ...], tuple[int, ...]], Kept] = {}
        self._taken: dict[tuple[Kept, Said], Taken] = {}
        self._leased: dict[tuple[Kept, int, int], Kept] = {}
        self._sound: set[Kept] = set()

    def begin(self) -> World:
        """Return the world in which the group has been opened, and its first messages are published."""
        rules, number = self._rules, len(self._rules.canvas.voids)
        group = Group(states.QUEUED, 0, 0, real_rules.first_counts(number))
        children = tuple(Child(str(at), voids) for at, voids in enumerate(rules.canvas.voids))
        return World(
            self._keep(group, children, (NONE,) * number),
            tuple(Message(at, 0, 0) for at, needs in enumerate(rules.canvas.needs) if not needs),
            (),
            (),
            (Seen(),) * number,
            frozenset(),
            0,
            rules.faults,
            rules.retries,
            rules.cancels,
            rules.repeats,
        )

    def is_settled(self, world: World) -> bool:
        """Say whether nothing happens any more by itself."""
        return not (world.queue or world.executions or world.flying or any(world.kept.leases))

    def steps(self, world: World) -> Iterator[Step]:
        """Yield each step by which this world may go on, and the world after it."""
        for message in dict.fromkeys(world.queue):
            yield from self._deliver(world, message)
        for execution in dict.fromkeys(world.executions):
            if execution.on:
                yield from self._go_on(world, execution)
            else:
                rest = _replace_one(world, execution, owes=execution.owes[1:])
                yield from self._arrive(rest, _said(execution, execution.owes[0]), f"{_name(execution)} is heard late")
        for said in dict.fromkeys(world.flying):
            rest = world._replace(flying=_without(world.flying, said))
            yield f"{_name(said)} {said.state} arrives", self._contribute(rest, said)[0]
        yield from self._time_passes(world)
        yield from self._people(world)

    def check(self, world: World) -> None:
        """Check what the journal counts against what a god sees."""
        kept = world.kept
        self._check_counts(kept)
        _promise(world.ends == kept.is_terminal, f"this run has ended {world.ends} times")
        for number, (child, seen) in enumerate(zip(kept.children, world.seen, strict=True)):
            _promise(child.attempt >= seen.attempt, f"{number} is back at attempt {child.attempt}")
            if child.state in (states.SUCCEEDED, states.FAILED):
                _promise(child.state in seen.ends, f"{number} is {child.state}, which no execution of it was")
            if child.state == states.CANCELLED:
                asked = world.cancels < self._rules.cancels
                _promise(asked, f"{number} is cancelled, which nobody has asked for")
        is_unheard = any(
            seen.unheard and state in states.WAITING for seen, state in zip(world.seen, kept.shown, strict=True)
        )
        if self.is_settled(world) and not is_unheard:
            _promise(kept.is_terminal, f"nothing happens any more, and its children are {kept.shown}")

    def _check_counts(self, kept: Kept) -> None:
        if kept in self._sound:
            return
        shown = kept.shown
        counts = tuple(shown.count(state) for state in real_rules.CHILD_STATES)
        _promise(kept.group.counts == counts, f"it counts {kept.group.counts}, there are {counts}")
        ended = all(state not in real_rules.OPEN for state in shown)
        _promise(kept.is_terminal == ended, f"it is {kept.group.state} while its children are {shown}")
        for number, state in enumerate(shown):
            before = [shown[at] for at, (first, end) in enumerate(self._rules.canvas.voids) if first <= number < end]
            unsuccessful = any(one in (*UNSUCCESSFUL, SKIPPED) for one in before)
            _promise(state != SKIPPED or unsuccessful, f"{number} is skipped after {before}")
        self._sound.add(kept)

    def _keep(self, group: Group, children: tuple[Child, ...], leases: tuple[int, ...]) -> Kept:
        plain = replace(group, told=0, untold=False, rate=0.0, rate_at=0, rate_ended=0)
        if states.is_terminal(group.state):
            leases = (NONE,) * len(children)
        value = plain, children, leases
        return self._values.setdefault(value, Kept(*value))

    def _deliver(self, world: World, message: Message) -> Iterator[Step]:
        rest = world._replace(queue=_without(world.queue, message))
        name = f"{_name(message)} is delivered"
        for again in (False, True)[: 1 + (world.faults > 0)]:
            # A copy stays with the broker: it comes a second time, at once or late.
            before = world._replace(faults=world.faults - 1) if again else rest
            after, runs = self._contribute(before, _said(message, states.RUNNING))
            yield name + " and will be again" * again, _execute(after, message, ()) if runs else after
        if world.faults:
            after = _execute(rest._replace(faults=world.faults - 1), message, (states.RUNNING,))
            yield name + " with the journal away", after

    def _go_on(self, world: World, execution: Execution) -> Iterator[Step]:
        child, attempt, run, _, owes = execution
        name, is_current = _name(execution), run == world.kept.group.run
        if owes:
            rest = _replace_one(world, execution, owes=owes[1:])
            yield f"{name} is heard", self._contribute(rest, _said(execution, owes[0]))[0]
        ends = [states.SUCCEEDED, states.FAILED]
        if is_current and world.kept.group.cancel:
            ends.append(states.CANCELLED)
        if world.retries:
            ends.append(states.RETRYING)
        for end in ends:
            rest = self._ended(world, execution, end)
            if end == states.RETRYING:
                again = _with(rest.queue, Message(child, attempt + 1, run))
                rest = rest._replace(queue=again, retries=world.retries - 1)
            if owes:
                yield f"{name} ends, {end}", _replace_one(rest, execution, on=False, owes=(*owes, end))
                continue
            over = _replace_one(rest, execution, on=False)
            yield from self._arrive(over, _said(execution, end), f"{name} ends, {end}")
            if world.faults:
                late = _replace_one(rest, execution, on=False, owes=(end,))
                yield f"{name} ends, {end}, and isn't heard yet", late._replace(faults=world.faults - 1)
        if world.faults:
            rest = _replace_one(world, execution, on=False, owes=())._replace(faults=world.faults - 1)
            if self._rules.late:
                rest = rest._replace(queue=_with(rest.queue, Message(child, attempt, run)))
            elif owes and is_current:
                rest = rest._replace(seen=_put(rest.seen, child, rest.seen[child]._replace(unheard=True)))
            yield f"{name} is killed", rest
        if is_current and world.kept.leases[child] == ENDED and not owes:
            yield f"{name} renews its lease", self._lease(world, child, ALIVE)

    def _ended(self, world: World, execution: Execution, end: str) -> World:
        """Return the world once an execution has ended so, before anybody has heard of it."""
        child = execution.child
        if execution.run != world.kept.group.run:
            return world  # what it publishes is fenced
        seen = world.seen[child]
        world = world._replace(seen=_put(world.seen, child, seen._replace(ends=seen.ends | {end})))
        if end != states.SUCCEEDED:
            return world
        succeeded = world.succeeded | {child}
        following = [
            Message(number, 0, execution.run)
            for number, needs in enumerate(self._rules.canvas.needs)
            # A link publishes the next one whenever it succeeds, the last of a chord's header its body.
            if child in needs and needs <= succeeded and (len(needs) == 1 or child not in world.succeeded)
        ]
        return world._replace(succeeded=succeeded, queue=_with(world.queue, *following))

    def _arrive(self, world: World, said: Said, name: str) -> Iterator[Step]:
        after = self._contribute(world, said)[0]
        yield name, after
        if world.faults:
            flying = _with(after.flying, said)
            yield f"{name}, and it will be said again", after._replace(flying=flying, faults=world.faults - 1)

    def _time_passes(self, world: World) -> Iterator[Step]:
        kept = world.kept
        for child, lease in enumerate(kept.leases):
            if lease == ALIVE:
                is_alive = any(one.on and one.child == child and one.run == kept.group.run for one in world.executions)
                if not is_alive:
                    yield f"the lease of {child} ends", self._lease(world, child, ENDED)
                elif world.faults:
                    slow = self._lease(world, child, ENDED)._replace(faults=world.faults - 1)
                    yield f"the lease of {child} ends while it runs", slow
            elif lease == ENDED:
                state = states.QUEUED if self._rules.late else states.LOST
                verdict = Said(child, kept.children[child].attempt, kept.group.run, state, verdict=True)
                if verdict not in world.flying:
                    yield f"a reaper finds {child}", world._replace(flying=_with(world.flying, verdict))

    def _people(self, world: World) -> Iterator[Step]:
        kept = world.kept
        if not kept.is_terminal:
            asked = self._rules.rules.cancel(kept.group, force=False, now=0) if world.cancels else None
            if asked is not None:
                after = self._keep(asked, kept.children, kept.leases)
                ends = world.ends + after.is_terminal
                yield "somebody cancels", world._replace(kept=after, ends=ends, cancels=world.cancels - 1)
            return
        failed = tuple(at for at, state in enumerate(kept.shown) if state in UNSUCCESSFUL)
        for numbers in dict.fromkeys((failed, failed[:1])) if world.repeats else ():
            children = dict(enumerate(kept.children))
            again = self._rules.rules.again(kept.group, children, set(numbers))
            if again is not None:
                yield f"{numbers} run again", self._repeated(world, again, tuple(children.values()), numbers)

    def _repeated(self, world: World, again: Group, children: tuple[Child, ...], numbers: tuple[int, ...]) -> World:
        queued = {number for number, child in enumerate(children) if child.state == states.QUEUED}
        needs = self._rules.canvas.needs
        messages = [
            Message(number, 0, again.run) for number in numbers if number in queued and not needs[number] & queued
        ]
        return world._replace(
            kept=self._keep(again, children, (NONE,) * len(children)),
            queue=_with(world.queue, *messages),
            seen=tuple(Seen() if number in queued else seen for number, seen in enumerate(world.seen)),
            succeeded=world.succeeded - queued,
            ends=0,
            repeats=world.repeats - 1,
        )

    def _contribute(self, world: World, said: Said) -> tuple[World, bool]:
        """Return the world after a contribution, and whether its child may run."""
        taken = self._taken.get((world.kept, said))
        if taken is None:
            taken = self._taken[world.kept, said] = self._take(world.kept, said)
        if not taken.counted:
            return world, taken.may_run
        seen, ends = world.seen, world.ends + (taken.kept.is_terminal and not world.kept.is_terminal)
        if not said.verdict and said.attempt > seen[said.child].attempt:
            seen = _put(seen, said.child, seen[said.child]._replace(attempt=said.attempt))
        return world._replace(kept=taken.kept, seen=seen, ends=ends), taken.may_run

    def _take(self, kept: Kept, said: Said) -> Taken:
        group = kept.group
        if (self._rules.fence and said.run != group.run) or kept.is_terminal:
            return Taken(kept, counted=False, may_run=False)
        expired = {number for number, lease in enumerate(kept.leases) if lease == ENDED} if said.verdict else None
        children = dict(enumerate(kept.children))
        one = Contribution(said.child, said.state, said.attempt, late=self._rules.late)
        done = self._rules.rules.contribute(group, children, [one], now=0, expired=expired)
        [answer] = done.answers
        if not answer.counted:
            return Taken(kept, counted=False, may_run=not answer.ended)
        if said.verdict:
            _promise(kept.leases[said.child] == ENDED, f"{said.child} is {said.state} by a verdict, and it is alive")
        for number, before in enumerate(kept.children):
            final = not before.has_ended or before.state == children[number].state
            _promise(final, f"{number} was {before.state}, which is final, and is {children[number].state}")
        runs = children[said.child].state == states.RUNNING
        leases = _put(kept.leases, said.child, ALIVE if runs else NONE)
        return Taken(self._keep(done.group, tuple(children.values()), leases), counted=True, may_run=not answer.ended)

    def _lease(self, world: World, child: int, lease: int) -> World:
        kept = world.kept
        change = kept, child, lease
        if change not in self._leased:
            self._leased[change] = self._keep(kept.group, kept.children, _put(kept.leases, child, lease))
        return world._replace(kept=self._leased[change])


def _replace_one(world: World, execution: Execution, **changes: object) -> World:
    """Return the world with an execution changed, or gone once it is over."""
    rest = _without(world.executions, execution)
    changed = execution._replace(**changes)
    return world._replace(executions=_with(rest, changed) if changed.on or changed.owes else rest)


def _execute(world: World, message: Message, owes: tuple[str, ...]) -> World:
    return world._replace(executions=_with(world.executions, Execution(*message, on=True, owes=owes)))


def _said(of: Message | Execution, state: str) -> Said:
    return Said(of.child, of.attempt, of.run, state, verdict=False)


def _name(of: Message | Execution | Said) -> str:
    return f"{of.child} (attempt {of.attempt}, run {of.run})"


def _put(values: tuple[T, ...], at: int, value: T) -> tuple[T, ...]:
    return (*values[:at], value, *values[at + 1 :])


def _with(values: tuple[T, ...], *more: T) -> tuple[T, ...]:
    return tuple(sorted((*values, *more)))


def _without(values: tuple[T, ...], value: T) -> tuple[T, ...]:
    at = values.index(value)
    return values[:at] + values[at + 1 :]


def _promise(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Violation(otherwise)

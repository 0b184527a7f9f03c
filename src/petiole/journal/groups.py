"""What a journal decides of a group: how its children's contributions add up, and when it ends. Pure, as `rules`.

A child is a task of the group, named by its number. It contributes absolute values under its number; the group adds the
differences to what it has counted, so that nothing counts twice, however often it is delivered. A child's end is final.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, MutableMapping, Sequence
from dataclasses import dataclass, replace
from math import exp
from typing import Final, NamedTuple, TypeAlias

from petiole.errors import InvalidName, Refusal
from petiole.journal import rules
from petiole.journal.answers import ListedChild
from petiole.protocol import states
from petiole.protocol.events import COUNTER, Document, Draft, is_group

# A child that can't run any more, because one that it follows has ended without success.
SKIPPED: Final = "skipped"
# The states of a child. In Redis each is kept as its place in this order.
CHILD_STATES: Final = (
    states.QUEUED,
    states.RUNNING,
    states.RETRYING,
    states.SUCCEEDED,
    states.FAILED,
    states.CANCELLED,
    states.LOST,
    SKIPPED,
)
OPEN: Final = (states.QUEUED, states.RUNNING, states.RETRYING)
UNSUCCESSFUL: Final = (states.FAILED, states.LOST)
# Which of two contributions of the same attempt is the newer one.
_RANK: Final = {states.QUEUED: 0, states.RUNNING: 1, states.RETRYING: 2}
_ENDED: Final = 3

# A group rings at most this often, in ms, unless a fact is to be told.
RING_EVERY: Final = 100
# How many errors its document shows, the first ones.
ERRORS_SHOWN: Final = 5
# Of how many children that have failed a group keeps the reason, and the message to run them again.
FAILURES_KEPT: Final = 1000
# A later attempt counts as this one.
MAX_ATTEMPT: Final = 65_535
# The share of a running child that is done, in steps of 1/10,000.
WHOLE: Final = 10_000
# The rate is smoothed over so many ms, and measured so often; no time is predicted before so many children have ended.
RATE_OVER: Final = 20_000.0
RATE_EVERY: Final = 1000
MIN_ENDED: Final = 5

NO_RANGE: Final = (0, 0)


@dataclass(frozen=True, slots=True)
class Child:
    """A child as its group keeps it.

    `voids`: the first number of the children that can't run once this one ends without success, and the number after the
    last of those. `since`: when it began to run, in ms since 1970, 0 if it hasn't. `done` in `WHOLE`ths. `late`: its message
    is acknowledged late, so that the broker returns it if its worker disappears. `stops`: its contribution said so.
    """

    task_id: str
    voids: tuple[int, int] = NO_RANGE
    state: str = states.QUEUED
    attempt: int = 0
    done: int = 0
    since: int = 0
    late: bool = False
    stops: bool = False

    @property
    def has_ended(self) -> bool:
        return self.state not in OPEN

    @property
    def is_void_making(self) -> bool:
        """Whether what follows it can't run."""
        return self.stops or self.state not in (*OPEN, states.SUCCEEDED)


@dataclass(frozen=True, slots=True)
class Contribution:
    """What a child says of itself. All values are absolute: said twice, it changes nothing.

    `attempt` is Celery's `retries`. `stops`: what follows the child never runs; so it is after every end without success.
    `error` is shown: `{message, reference, type}`. `message`: from which the child can be published again, `''`: it can't.
    `stage`: the group's stage while this child runs, by its place in a chain and its name.
    """

    child: int
    state: str
    attempt: int = 0
    done: int = 0
    late: bool = False
    stops: bool = False
    error: Document | None = None
    message: str = ""
    stage: tuple[int, str] | None = None

    @property
    def kept_attempt(self) -> int:
        return min(self.attempt, MAX_ATTEMPT)

    @property
    def kept_done(self) -> int:
        return max(0, min(self.done, WHOLE)) if self.state == states.RUNNING else 0


def check_group(feed: str, children: Sequence[Child]) -> None:
    """Check that a feed is that of a group, and that each of its children comes before what it voids.

    Raises:
        InvalidName: it isn't the feed of a group.
        ValueError: a range of numbers isn't one of children that come later.
    """
    if not is_group(feed):
        raise InvalidName(f"{feed} is not a group's feed. Use group:<id> for tasks that have one feed together.")
    for number, child in enumerate(children):
        first, end = child.voids
        if child.voids != NO_RANGE and not number < first < end <= len(children):
            raise ValueError(
                f"Child {number} can't void {first} to {end}. Number children in the order in which they begin."
            )


def first_fact(draft: Draft, number: int) -> Draft:
    """Return the first fact of a group of so many children: with its progress."""
    return replace(draft, progress=progress_of(Group(states.QUEUED, 0, 0, first_counts(number))))


def listed(child: Child, *, cancelled: bool) -> str:
    """Return a child's state as lists show it: what waits in a group that was `cancelled` is cancelled."""
    return states.CANCELLED if cancelled and child.state in states.WAITING else child.state


def as_listed(number: int, child: Child, error: str | None, *, cancelled: bool) -> ListedChild:
    """Return a child as lists show it; `error` is the JSON text that is kept of it."""
    state = listed(child, cancelled=cancelled)
    return ListedChild(
        number,
        child.task_id,
        state,
        child.attempt,
        child.done / WHOLE if state == states.RUNNING else None,
        child.since or None,
        None if error is None else json.loads(error),
        child.voids,
    )


class Answer(NamedTuple):
    """What a journal answers to each contribution: whether it counted, or why not."""

    # It has changed something; a repetition of the same value hasn't.
    counted: bool
    # The child has ended, or is cancelled before it began: it mustn't run.
    ended: bool


# How many children are in each state; `CHILD_STATES` has the order.
Counts: TypeAlias = tuple[int, ...]


def count(counts: Counts, state: str) -> int:
    """Return how many children are in a state."""
    return counts[CHILD_STATES.index(state)]


def moved(counts: Counts, before: str, after: str, number: int = 1) -> Counts:
    """Return the counts once `number` children have gone from one state to another."""
    changed = list(counts)
    changed[CHILD_STATES.index(before)] -= number
    changed[CHILD_STATES.index(after)] += number
    return tuple(changed)


def first_counts(number: int) -> Counts:
    """Return the counts of a group of so many children, none of which has begun."""
    return (number, *(0 for _ in CHILD_STATES[1:]))


def left(counts: Counts) -> int:
    """Return how many children haven't ended."""
    return sum(count(counts, state) for state in OPEN)


def has_ended(child: Child, *, cancelled: bool) -> bool:
    """Say whether a child mustn't run any more: it has ended, or its group was `cancelled` before it began."""
    return child.has_ended or (cancelled and child.state in states.WAITING)


def accepts(child: Child, said: Contribution) -> bool:
    """Say whether a contribution is newer than what is known of a child that hasn't ended: older attempts are over."""
    wanted = (said.kept_attempt, _RANK.get(said.state, _ENDED))
    known = (child.attempt, _RANK.get(child.state, _ENDED))
    # A child that runs says so again and again: its lease is prolonged, and it gets on.
    return wanted > known or (wanted == known and said.state == states.RUNNING)


@dataclass(frozen=True, slots=True)
class Group:
    """A group's numbers. Instants in ms since 1970.

    `partly`: what running children have done, in `WHOLE`ths. `told`: when it rang last; `untold`: whether something has
    changed since. `rate`: ended children in a second, as of `rate_at`, when so many had ended: `rate_ended`.
    """

    state: str
    run: int
    cancel: int
    counts: Counts
    partly: int = 0
    told: int = 0
    untold: bool = False
    errors: int = 0
    stage: tuple[int, str] = (0, "")
    rate: float = 0.0
    rate_at: int = 0
    rate_ended: int = 0


class Contributed(NamedTuple):
    """A group after contributions; `patch` has what is to be told as a fact, if anything, and `tells` says to ring.

    `failed` are the contributions whose errors and messages are to be kept.
    """

    group: Group
    answers: tuple[Answer, ...]
    patch: Document
    tells: bool
    failed: tuple[Contribution, ...]


def contribute(
    group: Group,
    children: MutableMapping[int, Child],
    said: Iterable[Contribution],
    *,
    now: int,
    expired: Collection[int] | None = None,
) -> Contributed:
    """Add contributions to a group that hasn't ended; `children` is changed in place. Without any: ring what is untold.

    `expired`: these are verdicts, and the running children whose lease has ended are these. A verdict is one of whatever
    attempt runs.
    """
    answers: list[Answer] = []
    failed: list[Contribution] = []
    patch: Document = {}
    for one in said:
        child = _child(children, one.child) if one.child in range(sum(group.counts)) else None
        if child is None or has_ended(child, cancelled=group.cancel > 0):
            answers.append(Answer(counted=False, ended=True))
        elif not (accepts(child, one) if expired is None else one.child in expired and child.state == states.RUNNING):
            answers.append(Answer(counted=False, ended=False))
        else:
            attempt = one.kept_attempt if expired is None else child.attempt
            group = _count(group, children, one, child, attempt=attempt, now=now)
            if one.error is not None or one.message:
                failed.append(one)
                if one.error is not None and group.errors < ERRORS_SHOWN:
                    patch[f"error{group.errors + 1}"] = {**one.error, "id": child.task_id}
                    group = replace(group, errors=group.errors + 1)
            answers.append(Answer(counted=True, ended=False))
    group, state = _state_of(group, begins=any(answer.counted for answer in answers))
    if state is not None:
        patch = {**patch, **said_of(state, group.counts, now=now)}
    tells = bool(patch) or (group.untold and now - group.told >= RING_EVERY)
    if tells:
        group = _told(group, now=now)
    return Contributed(group, tuple(answers), patch, tells, tuple(failed))


def due(group: Group, *, now: int) -> float | None:
    """Return in how many seconds a group is to ring, `None` if it has nothing untold."""
    return (group.told + RING_EVERY - now) / 1000 if group.untold else None


def draft_of(group: Group, patch: Document) -> Draft:
    """Return the event by which a group rings: a fact, if there is a patch."""
    return Draft("state" if patch else COUNTER, patch, progress_of(group))


def _count(
    group: Group, children: MutableMapping[int, Child], said: Contribution, child: Child, *, attempt: int, now: int
) -> Group:
    runs, done = said.state == states.RUNNING, said.kept_done
    # It would wait for a run that isn't to begin.
    state = states.CANCELLED if group.cancel and said.state in states.WAITING else said.state
    counts, partly = moved(group.counts, child.state, state), group.partly + done - child.done
    begins = runs and child.state != states.RUNNING
    after = children[said.child] = replace(
        child,
        state=state,
        attempt=attempt,
        done=done,
        since=now if begins else child.since,
        late=said.late if runs else child.late,
        stops=said.stops,
    )
    # In a group that is cancelled what hasn't begun counts as cancelled already.
    if after.is_void_making and not group.cancel:
        counts = _skip(counts, children, child.voids)
    stage = max(group.stage, said.stage or (0, ""), key=lambda stage: stage[0])
    tells = (counts, partly, stage) != (group.counts, group.partly, group.stage)
    return replace(group, counts=counts, partly=partly, stage=stage, untold=group.untold or tells)


def _child(children: MutableMapping[int, Child], number: int) -> Child:
    try:
        return children[number]
    except KeyError:
        raise Refusal(f"Child {number} of a group is gone. Look for what else writes to the journal.") from None


def _skip(counts: Counts, children: MutableMapping[int, Child], voids: tuple[int, int]) -> Counts:
    """Skip the children of a range that haven't begun, and what follows those in turn."""
    ranges = [voids]
    while ranges:
        first, end = ranges.pop()
        # One of the group's other children may have had them skipped.
        if first < end and _child(children, first).has_ended and _child(children, end - 1).has_ended:
            continue
        for number in range(first, end):
            child = _child(children, number)
            if child.state == states.QUEUED:
                children[number] = replace(child, state=SKIPPED)
                counts = moved(counts, states.QUEUED, SKIPPED)
                if child.voids not in (NO_RANGE, *ranges):
                    ranges.append(child.voids)
    return counts


def _state_of(group: Group, *, begins: bool) -> tuple[Group, str | None]:
    """Return a group in its state by its counts, and that state if it is another than before. It `begins` with a child."""
    state = end_of(group.counts, cancelled=group.cancel > 0)
    if state is None and group.state == states.QUEUED and begins:
        state = states.RUNNING
    return (group, None) if state is None else (replace(group, state=state), state)


def end_of(counts: Counts, *, cancelled: bool) -> str | None:
    """Return how a group has ended, `None` if it hasn't: once no child is left."""
    if left(counts):
        return None
    if cancelled and count(counts, states.CANCELLED):
        return states.CANCELLED
    if any(count(counts, state) for state in UNSUCCESSFUL):
        return states.FAILED
    return states.CANCELLED if count(counts, states.CANCELLED) else states.SUCCEEDED


def said_of(state: str, counts: Counts, *, now: int) -> Document:
    """Return what a group says of itself when it comes to a state."""
    if not states.is_terminal(state):
        return {"state": state, "started_at": now, "unheard": None}
    failed = sum(count(counts, state) for state in UNSUCCESSFUL)
    reason = f"{failed} of {sum(counts)} tasks failed." if state == states.FAILED else None
    return {"state": state, "finished_at": now, "reason": reason, "unheard": None}


def cancel(group: Group, *, force: bool, now: int) -> Group | None:
    """Return a group that is asked to stop, `None` if it was asked before: what hasn't begun is cancelled at once."""
    wanted = rules.CANCEL_FORCED if force else rules.CANCEL_ASKED
    if group.cancel >= wanted:
        return None
    counts = group.counts
    for state in states.WAITING if group.cancel == 0 else ():
        counts = moved(counts, state, states.CANCELLED, count(counts, state))
    state = states.CANCELLING if left(counts) else states.CANCELLED
    return _told(replace(group, cancel=wanted, counts=counts, state=state), now=now)


def again(group: Group, children: MutableMapping[int, Child], numbers: Collection[int]) -> Group | None:
    """Return an ended group in which these children are to run again, `None` if none of them can.

    With them run those that couldn't run because of them, unless they can't because of another one as well.
    """
    counts = group.counts
    # By the first number of a range the number after its last: what follows children that run again, and the others.
    revives: dict[int, int] = {}
    voids: dict[int, int] = {}
    revived = void = 0
    for number, child in sorted(children.items()):
        if group.cancel and child.state in states.WAITING:
            # What was cancelled before it began is kept as waiting: it stays cancelled.
            child = children[number] = replace(child, state=states.CANCELLED)  # noqa: PLW2901
        revived, void = max(revived, revives.get(number, 0)), max(void, voids.get(number, 0))
        if number in numbers:
            runs = child.state in (*UNSUCCESSFUL, states.CANCELLED)
        else:
            runs = number < revived and child.state in (SKIPPED, states.CANCELLED)
        first, end = child.voids
        if runs and number >= void:
            children[number] = Child(child.task_id, child.voids)
            counts = moved(counts, child.state, states.QUEUED)
            revives[first] = max(end, revives.get(first, 0))
        elif child.is_void_making:
            voids[first] = max(end, voids.get(first, 0))
    if counts == group.counts:
        return None
    return Group(states.QUEUED, group.run + 1, 0, counts)


def _told(group: Group, *, now: int) -> Group:
    ended = sum(group.counts) - left(group.counts)
    rate, at, before = group.rate, group.rate_at, group.rate_ended
    if at == 0:
        at, before = now, ended
    elif now - at >= RATE_EVERY:
        weight = 1 - exp((at - now) / RATE_OVER)
        newest = (ended - before) * 1000 / (now - at)
        # The first measurement counts whole: there is nothing to smooth it with.
        rate = newest if rate == 0 else rate + weight * (newest - rate)
        at, before = now, ended
    return replace(group, told=now, untold=False, rate=rate, rate_at=at, rate_ended=before)


def progress_of(group: Group) -> Document:
    """Return a group's progress: one number over all of its children, and how many of them are in each state."""
    total, waiting = sum(group.counts), left(group.counts)
    ended = total - waiting
    fraction = int((ended * WHOLE + group.partly) / total) / WHOLE if total else 1.0
    place, name = group.stage
    return {
        "completed": ended,
        "total": total,
        "fraction": fraction,
        "rate": round(group.rate, 3) if group.rate else None,
        "time_left": int(waiting / group.rate) if group.rate and waiting and ended >= MIN_ENDED else None,
        "stage": name if place else None,
        "step": place or None,
        "unit": "tasks",
        "description": None,
        "children": {state: count(group.counts, state) for state in CHILD_STATES},
    }

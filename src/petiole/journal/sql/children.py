"""A group's rows in the database: its numbers, and its children, as a step changes them."""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from sqlalchemy import Connection, bindparam, insert, select, update

from petiole.errors import Refusal
from petiole.journal import groups
from petiole.journal.answers import Appended, Closed, Duplicate, ListedChild
from petiole.journal.groups import CHILD_STATES, UNSUCCESSFUL, Child, Group
from petiole.journal.sql import schema
from petiole.journal.sql.row import Feed, as_kept
from petiole.journal.sql.schema import read_text
from petiole.journal.sql.step import Step
from petiole.protocol import states
from petiole.protocol.encoding import to_json
from petiole.protocol.events import Draft

# How many children are loaded or written at once.
AT_ONCE: Final = 500

_rows = schema.children.c
COLUMNS: Final = (
    _rows.number,
    as_kept(_rows.task_id),
    _rows.voids_first,
    _rows.voids_end,
    _rows.state,
    _rows.attempt,
    _rows.done,
    _rows.since,
    _rows.late,
    _rows.stops,
    _rows.lease_ends,
)
# Built once: every contribution runs the first ones.
_LOAD_NUMBERS: Final = select(schema.groups.c.numbers).where(schema.groups.c.feed == bindparam("of"))
_SAVE_NUMBERS: Final = update(schema.groups).where(schema.groups.c.feed == bindparam("of"))
_LOAD: Final = (
    select(*COLUMNS)
    .where(_rows.feed == bindparam("of"), _rows.number.in_(bindparam("chosen", expanding=True)))
    .order_by(_rows.number)
)
_LOAD_BLOCK: Final = (
    select(*COLUMNS)
    .where(_rows.feed == bindparam("of"), _rows.number >= bindparam("begins"), _rows.number < bindparam("ends"))
    .order_by(_rows.number)
)
_OWN: Final = (_rows.feed == bindparam("of")) & (_rows.number == bindparam("which"))
_SAVE: Final = (
    update(schema.children)
    .where(_OWN)
    .values(
        {name: bindparam(f"new_{name}") for name in ("state", "attempt", "done", "since", "late", "stops")}
        | {"lease_ends": bindparam("new_lease_ends")}
    )
)


class ChildRows(MutableMapping[int, Child]):
    """A group's children. They are loaded when they are looked at, by blocks unless `load` has named them.

    `leases`: when the leases of those that run end, of the loaded ones.
    """

    def __init__(self, connection: Connection, feed: Feed) -> None:
        self._connection = connection
        self._feed = feed
        self._found: dict[int, Child] = {}
        self._changed: set[int] = set()
        self.leases: dict[int, int] = {}

    def load(self, numbers: Iterable[int]) -> None:
        """Load these children in one query, those of them that there are."""
        chosen = sorted(set(numbers))
        for at in range(0, len(chosen), AT_ONCE):
            self._take(self._connection.execute(_LOAD, {"of": self._feed.id, "chosen": chosen[at : at + AT_ONCE]}))

    def load_all(self) -> None:
        """Load all children."""
        self._take(self._connection.execute(select(*COLUMNS).where(_rows.feed == self._feed.id)))

    def save(self) -> None:
        """Write the children that have changed, with their leases."""
        for at in range(0, len(self._changed), AT_ONCE):
            changed = sorted(self._changed)[at : at + AT_ONCE]
            self._connection.execute(_SAVE, [self._values(number) for number in changed])
        self._changed.clear()

    def __getitem__(self, number: int) -> Child:
        if number not in self._found:
            block = {"of": self._feed.id, "begins": number, "ends": number + AT_ONCE}
            self._take(self._connection.execute(_LOAD_BLOCK, block))
        return self._found[number]

    def __setitem__(self, number: int, child: Child) -> None:
        self._found[number] = child
        self._changed.add(number)

    def __delitem__(self, number: int) -> None:
        raise NotImplementedError("A group keeps its children.")

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._found))

    def __len__(self) -> int:
        return len(self._found)

    def _take(self, rows: Iterable[Any]) -> None:
        for row in rows:
            # What this step has changed is newer.
            if row.number not in self._found:
                self._found[row.number] = child_of(self._feed, row)
                if row.lease_ends is not None:
                    self.leases[row.number] = row.lease_ends

    def _values(self, number: int) -> dict[str, Any]:
        child = self._found[number]
        return {
            "of": self._feed.id,
            "which": number,
            "new_state": CHILD_STATES.index(child.state),
            "new_attempt": child.attempt,
            "new_done": child.done,
            "new_since": child.since,
            "new_late": child.late,
            "new_stops": child.stops,
            "new_lease_ends": self.leases.get(number),
        }


def add_group(step: Step, feed: Feed, children: Sequence[Child]) -> None:
    """Keep the children of a new group, none of which has begun."""
    numbers = Group(states.QUEUED, 0, 0, groups.first_counts(len(children)))
    step.connection.execute(insert(schema.groups), {"feed": feed.id, "numbers": _text_of(numbers)})
    rows = [
        {
            "feed": feed.id,
            "number": number,
            "task_id": child.task_id,
            "voids_first": child.voids[0],
            "voids_end": child.voids[1],
            "state": CHILD_STATES.index(child.state),
            "attempt": 0,
            "done": 0,
            "since": 0,
            "late": False,
            "stops": False,
        }
        for number, child in enumerate(children)
    ]
    for at in range(0, len(rows), AT_ONCE):
        step.connection.execute(insert(schema.children), rows[at : at + AT_ONCE])


def load_group(step: Step, feed: Feed) -> Group:
    """Return a group's numbers; a feed that was opened without children is a group of none.

    Raises:
        Refusal: somebody else has written over them.
    """
    text = step.connection.scalar(_LOAD_NUMBERS, {"of": feed.id})
    state = feed.state or ""
    if text is None:
        return Group(state, feed.run, feed.cancel, groups.first_counts(0))
    try:
        values = json.loads(text)
        place, name = values["stage"]
        counts = tuple(values["counts"])
        if len(counts) != len(CHILD_STATES):
            raise ValueError(f"there are {len(counts)} counts")
        operator.index(sum(counts))
        values |= {"counts": counts, "stage": (place, name), "state": state, "run": feed.run, "cancel": feed.cancel}
        return Group(**values)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise Refusal(
            f"The numbers of {feed.name} can't be read ({error}). Look for what else writes there."
        ) from error


def save_group(step: Step, feed: Feed, group: Group) -> None:
    """Write a group's numbers."""
    step.connection.execute(_SAVE_NUMBERS, {"of": feed.id, "numbers": _text_of(group)})


def child_of(feed: Feed, row: Any) -> Child:
    """Return the child of a row that has `COLUMNS`.

    Raises:
        Refusal: somebody else has written over it.
    """
    try:
        operator.index(row.attempt + row.done + row.since + row.voids_first + row.voids_end + (row.lease_ends or 0))
        return Child(
            read_text(row.task_id),
            (row.voids_first, row.voids_end),
            CHILD_STATES[row.state],
            row.attempt,
            row.done,
            row.since,
            bool(row.late),
            bool(row.stops),
        )
    except (IndexError, TypeError) as error:
        raise _unreadable(feed, row.number, error) from error


def listed_child(feed: Feed, row: Any) -> ListedChild:
    """Return the child of a row that has `COLUMNS` and `error`, as lists show it.

    Raises:
        Refusal: somebody else has written over it.
    """
    child = child_of(feed, row)
    error = row.error if child.state in UNSUCCESSFUL else None
    try:
        return groups.as_listed(row.number, child, error, cancelled=feed.cancel > 0)
    except (TypeError, ValueError, RecursionError) as fault:
        raise _unreadable(feed, row.number, fault) from fault


def cancel_group(step: Step, feed: Feed, *, cancelling: Draft, cancelled: Draft, force: bool) -> Appended:
    """Ask a group to stop, as `cancel` does a task."""
    if states.is_terminal(feed.state):
        return Closed(feed.state or "")
    after = groups.cancel(load_group(step, feed), force=force, now=step.now)
    if after is None:
        return Duplicate(feed.cursor, cancel=True)
    save_group(step, feed, after)
    feed.cancel = after.cancel
    ends = states.is_terminal(after.state)
    if ends:
        end_leases(step, feed)
    draft = replace(cancelled if ends else cancelling, progress=groups.progress_of(after))
    return step.write(feed, draft, run=feed.run)


def end_leases(step: Step, feed: Feed) -> None:
    """End the leases of a group, and of children that run."""
    feed.lease_ends = None
    running = update(schema.children).where(_rows.feed == feed.id, _rows.lease_ends.is_not(None))
    step.connection.execute(running.values(lease_ends=None))


def _unreadable(feed: Feed, number: int, error: Exception) -> Refusal:
    return Refusal(f"Child {number} of {feed.name} can't be read ({error}). Look for what else writes there.")


def _text_of(group: Group) -> str:
    values = asdict(group)
    for name in ("state", "run", "cancel"):
        del values[name]  # they are in the feed's row
    return to_json(values)

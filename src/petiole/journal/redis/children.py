"""The records of a group's children, as Redis keeps them: one after the other in one string."""

from __future__ import annotations

import json
import struct
import uuid
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from petiole.errors import Refusal
from petiole.journal.groups import CHILD_STATES, Child
from petiole.protocol.encoding import to_json

# A UUID's bytes, state, attempt, flags, done, since (in ms, 6 bytes), and the range of the children that it voids.
RECORD: Final = struct.Struct(">16sBHBHHIII")
RECORD_SIZE: Final = RECORD.size
# Where in a record they are.
STATE_AT: Final = 16
FLAGS_AT: Final = 19
# How many a script reads at once where it reads all.
RECORDS_AT_ONCE: Final = 1000
NO_ID: Final = bytes(16)
# Flags: it is acknowledged late; nothing follows it.
LATE: Final = 1
STOPS: Final = 2


def packed(children: Sequence[Child]) -> tuple[bytes, dict[str, str]]:
    """Return the records of children that haven't begun, and by number the ids that don't fit into them, as JSON: no UUIDs."""
    records = bytearray()
    others: dict[str, str] = {}
    for number, child in enumerate(children):
        identity = _bytes_of(child.task_id)
        if identity == NO_ID:
            others[str(number)] = to_json(child.task_id)
        records += RECORD.pack(identity, CHILD_STATES.index(child.state), 0, 0, 0, 0, 0, *child.voids)
    return bytes(records), others


def unpacked(records: bytes, *, first: int, others: dict[int, str]) -> Iterator[tuple[int, Child]]:
    """Yield the children of records, of which the first has the number `first`; `others` are ids by number, as JSON.

    Raises:
        Refusal: somebody else has written over them.
    """
    try:
        for number, fields in enumerate(RECORD.iter_unpack(records), first):
            identity, state, attempt, flags, done, high, low, begins, ends = fields
            task_id = json.loads(others.get(number, '""')) if identity == NO_ID else str(uuid.UUID(bytes=identity))
            since, late, stops = (high << 32) + low, bool(flags & LATE), bool(flags & STOPS)
            yield number, Child(task_id, (begins, ends), CHILD_STATES[state], attempt, done, since, late, stops)
    except (struct.error, IndexError, ValueError) as error:
        raise Refusal(
            f"A group's children in Redis can't be read ({error}). Look for what else writes there."
        ) from error


def in_states(records: bytes, states: Collection[str] | None) -> Iterator[int]:
    """Yield the places of those records whose state is one of these, or of all; what is no state is left to `unpacked`."""
    if states is None:
        yield from range(-(-len(records) // RECORD_SIZE))
        return
    others = [number for number, state in enumerate(CHILD_STATES) if state not in states]
    for place, number in enumerate(records[STATE_AT::RECORD_SIZE]):
        if number not in others:
            yield place


def has_id(record: bytes) -> bool:
    """Say whether a child's id is in its record."""
    return not record.startswith(NO_ID)


def _bytes_of(task_id: str) -> bytes:
    try:
        found = uuid.UUID(task_id)
    except ValueError:
        return NO_ID
    return found.bytes if str(found) == task_id else NO_ID

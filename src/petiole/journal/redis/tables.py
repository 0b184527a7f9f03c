"""The tables, limits and words of Python that scripts decide by, as Lua. The loader puts in those that a script names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from petiole.journal import groups, rules
from petiole.journal.redis.calls import NO_READER, EventArguments
from petiole.journal.redis.children import FLAGS_AT, LATE, RECORD_SIZE, RECORDS_AT_ONCE, STATE_AT, STOPS
from petiole.protocol import states
from petiole.protocol.events import COUNTER, VERSION, ZERO_CHAIN
from petiole.protocol.texts import MAX_READ_BYTES, TEXT, TEXT_VERSION

# The layout of all keys of a feed. What was written in another is not for this code to read or to write into.
LAYOUT: Final = 2


def _is_one_of(name: str, members: Iterable[str]) -> str:
    said = " or ".join(f"state == '{state}'" for state in members)
    return f"local function {name}(state) return {said} end"


def _may_follow() -> str:
    pairs = (f"{before}>{state}" for state, befores in states.PREDECESSORS.items() for before in befores)
    return (
        "local function may_follow(state, before)\n"
        f"  return string.find(' {' '.join(pairs)} ', ' ' .. before .. '>' .. state .. ' ', 1, true) ~= nil\n"
        "end"
    )


def _event_fields() -> str:
    names = EventArguments._fields
    fields = ", ".join(f"{name} = ARGV[at + {offset}]" for offset, name in enumerate(names))
    return f"local function event_fields(at) return {{ {fields} }}, at + {len(names)} end"


def _constants(**values: str | int) -> dict[str, str]:
    return {
        name: f"local {name} = {value}" if isinstance(value, int) else f"local {name} = '{value}'"
        for name, value in values.items()
    }


# By the name that a script uses, what defines it.
TABLES: Final[Mapping[str, str]] = {
    **_constants(
        LAYOUT=LAYOUT,
        ZERO_CHAIN=ZERO_CHAIN,
        VERSION=str(VERSION),
        TEXT_VERSION=str(TEXT_VERSION),
        TEXT=TEXT,
        MAX_READ_BYTES=MAX_READ_BYTES,
        NO_READER=NO_READER,
        MAX_SILENT_ENDS=rules.MAX_SILENT_ENDS,
        PUBLICATIONS_KEPT=rules.PUBLICATIONS_KEPT,
        CANCEL_ASKED=rules.CANCEL_ASKED,
        CANCEL_FORCED=rules.CANCEL_FORCED,
        INBOX_EPOCH=rules.INBOX_START.epoch,
        INBOX_SHOWN=rules.INBOX_SHOWN,
        INBOX_KEPT=rules.INBOX_KEPT,
        RECORD_SIZE=RECORD_SIZE,
        RECORDS_AT_ONCE=RECORDS_AT_ONCE,
        STATE_AT=STATE_AT,
        FLAGS_AT=FLAGS_AT,
        LATE=LATE,
        STOPS=STOPS,
        CHILD_STATES=len(groups.CHILD_STATES),
        WHOLE=groups.WHOLE,
        RING_EVERY=groups.RING_EVERY,
        RATE_OVER=round(groups.RATE_OVER),
        RATE_EVERY=groups.RATE_EVERY,
        MIN_ENDED=groups.MIN_ENDED,
        ERRORS_SHOWN=groups.ERRORS_SHOWN,
        FAILURES_KEPT=groups.FAILURES_KEPT,
        COUNTER=COUNTER,
        QUEUED=states.QUEUED,
        RUNNING=states.RUNNING,
        RETRYING=states.RETRYING,
        STALLED=states.STALLED,
        CANCELLING=states.CANCELLING,
        CANCELLED=states.CANCELLED,
        SUCCEEDED=states.SUCCEEDED,
        FAILED=states.FAILED,
    ),
    "is_terminal": _is_one_of("is_terminal", states.TERMINAL),
    "ends_run": _is_one_of("ends_run", states.ENDS_RUN),
    "is_waiting": _is_one_of("is_waiting", states.WAITING),
    "is_replayable": _is_one_of("is_replayable", states.REPLAYABLE),
    "may_follow": _may_follow(),
    "event_fields": _event_fields(),
    # As `children.RECORD`, in the letters of Redis' struct: an id, a state, an attempt, flags, two numbers, a range.
    "RECORD": "local RECORD = '>c16BHBHI6I4I4'",
    "CHILD": "local CHILD = { " + ", ".join(f"{name} = {at}" for at, name in enumerate(groups.CHILD_STATES)) + " }",
    "CHILD_NAMES": "local CHILD_NAMES = { " + ", ".join(f"'{name}'" for name in groups.CHILD_STATES) + " }",
}

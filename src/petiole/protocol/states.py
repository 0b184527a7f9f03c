"""Task states and which may follow which. Pure: journal, worker and web ask here."""

from __future__ import annotations

from typing import Final

QUEUED: Final = "queued"
RUNNING: Final = "running"
RETRYING: Final = "retrying"
STALLED: Final = "stalled"
CANCELLING: Final = "cancelling"
SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
LOST: Final = "lost"

ACTIVE: Final = (QUEUED, RUNNING, RETRYING, STALLED, CANCELLING)
# A message that no worker has claimed yet.
WAITING: Final = (QUEUED, RETRYING)
TERMINAL: Final = (SUCCEEDED, FAILED, CANCELLED, LOST)

# The states that may precede each state. A terminal state is final; a task that is being cancelled ends, or ended before that.
# A waiting task can end without having begun: a worker without Petiole has run it.
PREDECESSORS: Final[dict[str, tuple[str, ...]]] = {
    QUEUED: (),
    RUNNING: (QUEUED, RUNNING, RETRYING, STALLED),
    RETRYING: (RUNNING, STALLED),
    STALLED: (QUEUED, RUNNING, RETRYING),
    CANCELLING: (QUEUED, RUNNING, RETRYING, STALLED),
    SUCCEEDED: ACTIVE,
    FAILED: ACTIVE,
    CANCELLED: ACTIVE,
    LOST: ACTIVE,
}

# These states end the run, and its lease.
ENDS_RUN: Final = (RETRYING, *TERMINAL)

# A task that ended like this runs if its message is replayed.
REPLAYABLE: Final = (FAILED, LOST)


def is_terminal(state: str | None) -> bool:
    """Say whether a task in this state takes no more events."""
    return state in TERMINAL


def may_follow(state: str, current: str | None) -> bool:
    """Say whether a task may go from `current` to `state`; any state may be a feed's first."""
    return current is None or current in PREDECESSORS[state]

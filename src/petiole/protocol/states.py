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

# Where a state may come from. A terminal state is final; a task that is being cancelled either ends or was faster.
# One that waits can end without having begun here: a worker that knows nothing of Petiole has run it.
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

# The run is over once one of these is said: its lease ends with it.
ENDS_RUN: Final = (RETRYING, *TERMINAL)

# What a task that has ended like this did not do: if its message is replayed, it runs.
REPLAYABLE: Final = (FAILED, LOST)


def is_terminal(state: str | None) -> bool:
    """Say whether a task in this state takes no more events."""
    return state in TERMINAL


def may_follow(state: str, current: str | None) -> bool:
    """Say whether a task may go from `current` to `state`; any state may be a feed's first."""
    return current is None or current in PREDECESSORS[state]

"""What a journal answers: one frozen dataclass for each way in which a call can end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from petiole.protocol.events import Cursor, Document
from petiole.protocol.texts import Texts


@dataclass(frozen=True, slots=True)
class Stored:
    """The event was kept and rung; the feed stands at `cursor`. `cancel`: somebody asked the task to stop.

    `stalled`: a reaper has marked the run as stalled.
    """

    cursor: Cursor
    cancel: bool = False
    stalled: bool = False


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The journal has this event already (an earlier reply was lost); nothing was changed."""

    cursor: Cursor
    cancel: bool = False


@dataclass(frozen=True, slots=True)
class Conflict:
    """The run's facts after `last` are missing here: send them again from `last + 1`."""

    last: int


@dataclass(frozen=True, slots=True)
class TextGap:
    """The journal has only so much of the run's texts: write on from there."""

    texts: Texts


@dataclass(frozen=True, slots=True)
class Fenced:
    """A later run has begun; this one may write no more."""

    run: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The feed's state admits no such event: it is terminal, or the new state may not follow it."""

    state: str


@dataclass(frozen=True, slots=True)
class Missing:
    """The journal doesn't know the feed (forgotten, or the server lost its data)."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The caller may run the task. `facts_written`: the run's facts so far (1, or 0 when `cancel` was set)."""

    run: int
    facts_written: int
    cursor: Cursor
    document: Document
    cancel: bool = False


@dataclass(frozen=True, slots=True)
class Busy:
    """Another execution of this task is alive, for `lease_left` seconds more unless it renews."""

    run: int
    lease_left: float


@dataclass(frozen=True, slots=True)
class Held:
    """How a run stands: `valid` while it is the feed's current run and the feed isn't closed.

    `stalled`: a reaper has marked it as stalled. `force`: its worker has to end its process, because it didn't stop by itself.
    """

    valid: bool
    cancel: bool
    stalled: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """Where a feed stands. `lease_left` in seconds, negative after its end, `None` without a lease.

    `waits`: `confirm` has said that the broker has its message.
    """

    cursor: Cursor
    state: str | None
    owner: str
    run: int
    lease_left: float | None
    waits: bool = False


class Gone(Enum):
    """Why a feed has no head."""

    REMOVED = "removed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A feed's document with its cursor and owner, of one instant."""

    feed: str
    owner: str
    cursor: Cursor
    document: Document


@dataclass(frozen=True, slots=True)
class Expired:
    """A feed whose lease has ended; `run` is 0 if no worker has begun it, `waits` as in `Head`."""

    feed: str
    run: int
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Counted:
    """The contributions were taken, of which `ended` says, in their order, whose child has ended, so that it mustn't run.

    `due`: in how many seconds an empty contribution is to be made, so that the newest numbers ring; `None`: they have rung.
    """

    cursor: Cursor
    ended: tuple[bool, ...]
    due: float | None = None
    cancel: bool = False


@dataclass(frozen=True, slots=True)
class ListedChild:
    """A child of a group as lists show it. `since`: when it began, in ms since 1970, or `None`. `fraction` while it runs.

    `voids`: the first number of the children that can't run without its success, and the number after the last of those.
    """

    number: int
    task_id: str
    state: str
    attempt: int
    fraction: float | None = None
    since: int | None = None
    error: Document | None = None
    voids: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class ExpiredChild:
    """A running child whose lease has ended. `late`: its message is acknowledged late, so that the broker returns it."""

    number: int
    task_id: str
    attempt: int
    late: bool
    since: int


Appended: TypeAlias = Stored | Duplicate | Conflict | TextGap | Fenced | Closed | Missing

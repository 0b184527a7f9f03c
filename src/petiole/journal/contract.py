"""The contract of a journal: what each verb promises. `tests/contract` holds every backend to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from petiole.events import Cursor, Document, Draft
from petiole.feed import Reading


@dataclass(frozen=True, slots=True)
class Stored:
    """The event was kept and rung; the feed stands at `cursor`. `cancel`: somebody asked the task to stop."""

    cursor: Cursor
    cancel: bool = False


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
    """The caller has the task's one execution. `facts_written`: the run's facts so far (1, or 0 when `cancel` was set)."""

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
    """A run's standing: `valid` while it is the feed's current run and the feed isn't closed.

    `stalled`: a reaper has said that there is no news of it.
    """

    valid: bool
    cancel: bool
    stalled: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """Where a feed stands. `lease_left` in seconds, negative after its end, `None` without a lease."""

    cursor: Cursor
    state: str | None
    owner: str
    run: int
    lease_left: float | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A feed's document with its cursor and owner, of one instant."""

    feed: str
    owner: str
    cursor: Cursor
    document: Document


@dataclass(frozen=True, slots=True)
class Expired:
    """A feed whose lease has ended; `run` is 0 if no worker has begun it."""

    feed: str
    run: int


# A task whose runs end this often without a word is not begun again: it is what kills its workers.
MAX_SILENT_ENDS: Final = 3

Appended: TypeAlias = Stored | Duplicate | Conflict | Fenced | Closed | Missing


class Journal(Protocol):
    """Keeps feeds: ordered, numbered, atomic.

    Every verb is one atomic step of one feed. It either took place as a whole or raises `Unavailable`; after that
    the caller can't know and sends the same event again, which the journal recognises. Instants and leases are the
    journal server's. All verbs are thread-safe.
    """

    def open(
        self, feed: str, *, owner: str, draft: Draft, lease: float | None = None, epoch: str | None = None
    ) -> Cursor:
        """Create a feed with `draft` as its first fact and return its cursor; an open feed is left as it is.

        `lease` (seconds): somebody must `confirm` or `claim` it by then, or it is `expired`. `epoch` is for a caller that
        learns a lost reply's epoch by choosing it; else it is random.
        """
        ...

    def confirm(self, feed: str) -> None:
        """End the lease of a feed that no worker has claimed: its task has been published."""
        ...

    def append(self, feed: str, draft: Draft, *, run: int = 0, fact: int = 0, counter: int = 0) -> Appended:
        """Number, fold, keep and ring one event.

        A run numbers its facts 1, 2, 3, …; a counter carries the last fact's number and its own since then. Older than the
        run's last pair: `Duplicate`; a skipped fact: `Conflict`; a later run: `Fenced`. Web and reaper have no run (`run=0`)
        and are guarded by state alone. Order within a run is the order of the numbers; a fact that is `Stored` is lost only
        with the journal's own data, which the writer learns from the next `Conflict` or `Missing`.
        """
        ...

    def read(self, feed: str, cursor: Cursor | None, *, limit: int) -> Reading | None:
        """Return the document and up to `limit` facts after `cursor`, of one instant; `None` for an unknown feed.

        Not recovered: the cursor's epoch, numbers or chain aren't this feed's, or the facts after it were trimmed.
        """
        ...

    def claim(
        self,
        feed: str,
        draft: Draft,
        *,
        worker: str,
        delivery: str,
        retries: int,
        lease: float,
        failed: Draft | None = None,
    ) -> Claimed | Busy | Closed | Missing:
        """Begin a run, with `draft` (state `running`) as its first fact.

        A run that begins while the one before is still live, without a retry, means that the one before ended without a word;
        after `MAX_SILENT_ENDS` of those `failed` is written instead, and the claim is `Closed`.

        `delivery` is minted per execution: the same one again is answered as before. A live run is `Busy`, unless
        `retries` is higher than the one it was claimed with: then it is superseded. When cancelling was asked for, the
        run is claimed without `draft`, so that the caller can say `cancelled`.
        """
        ...

    def renew(self, worker: str, feeds: Sequence[str], *, lease: float) -> dict[str, Held]:
        """Prolong the leases of those feeds that `worker` has claimed; says of each whether it is still held."""
        ...

    def check(self, feed: str, run: int) -> Held:
        """Say how a run stands. Nothing is changed."""
        ...

    def expired(self, *, limit: int) -> list[Expired]:
        """List feeds whose lease has ended, at most `limit` a partition."""
        ...

    def conclude(self, feed: str, run: int, draft: Draft, *, lease: float | None = None) -> Appended:
        """Write a verdict over a run whose lease is still expired; otherwise `Closed` with the present state.

        `lease` (seconds) is the reaper's mark: the feed is `expired` again after it. `None` ends the lease.
        """
        ...

    def rebase(
        self, feed: str, *, owner: str, run: int, last: Cursor, fact: int, document: Document, worker: str, lease: float
    ) -> Cursor | Fenced | Closed:
        """Open a feed again, in a new epoch, after the journal has lost it: the writer's document, at its numbers."""
        ...

    def cancel(self, feed: str, *, cancelling: Draft, cancelled: Draft) -> Appended:
        """Ask a task to stop: `cancelled` at once where nothing runs (queued, retrying), else `cancelling` and the flag."""
        ...

    def heads(self, feeds: Sequence[str]) -> dict[str, Head]:
        """Return the heads of many feeds in one round trip; unknown feeds are left out."""
        ...

    def snapshot(self, feed: str) -> Snapshot | None:
        """Return a feed's document, cursor and owner of one instant; `None` for an unknown feed."""
        ...

    def list(self, owner: str, *, limit: int, before: int | None = None) -> tuple[list[Snapshot], int | None]:
        """Return an owner's feeds, newest first, and the mark to go on `before`, `None` at the end.

        The index behind it is a hint: a feed that is gone is left out, and taken out of the index.
        """
        ...

    def forget(self, feed: str) -> None:
        """Delete a feed with all its facts."""
        ...

    def ping(self) -> None:
        """Raise `Unavailable` unless the journal answers."""
        ...

    def inspect(self) -> Sequence[str]:
        """Return a sentence for each thing about the server that weakens the promise, with what to change."""
        ...

    def close(self) -> None:
        """Give back connections."""
        ...

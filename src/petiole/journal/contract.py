"""The contract of a journal: what each verb promises. `tests/contract` holds every backend to it.

`Journal` is six small protocols: `Feeds`, `Runs`, `Inboxes`, `Notes`, `Groups` and `Admin`. A caller names the smallest that
it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

from petiole.journal.answers import (
    Appended,
    Busy,
    Claimed,
    Closed,
    Counted,
    Duplicate,
    Expired,
    ExpiredChild,
    Fenced,
    Gone,
    Head,
    Held,
    ListedChild,
    Missing,
    Snapshot,
    Stored,
)
from petiole.journal.groups import Child, Contribution
from petiole.protocol.events import Cursor, Document, Draft
from petiole.protocol.reader import Reading
from petiole.protocol.texts import NO_TEXTS, Texts

T_co = TypeVar("T_co", covariant=True)


class Feeds(Protocol):
    """Opens, writes, reads, lists and deletes feeds."""

    def open(
        self,
        feed: str,
        *,
        owner: str,
        draft: Draft,
        lease: float | None = None,
        epoch: str | None = None,
        message: str = "",
        publication: str = "",
        replayed: bool = False,
    ) -> Cursor:
        """Create a feed with `draft` as its first fact and return its cursor; an open feed is left as it is.

        An ended feed begins again, in a new epoch, for a `publication` that it doesn't know: a task's id is used again. A
        publication that it knows belongs to a late message of the ended task. `replayed`: the broker says that this isn't a
        redelivery; then the ended publication itself begins again, if its task ran and has failed or was lost. Run numbers
        go on.

        `message` is kept outside the document, so that the task can be sent again. `lease` (seconds): somebody must
        `confirm` or `claim` the feed by then, or it is `expired`. `epoch` is for a caller that learns a lost reply's epoch by
        choosing it; else it is random.
        """
        ...

    def append(
        self,
        feed: str,
        draft: Draft,
        *,
        run: int = 0,
        fact: int = 0,
        counter: int = 0,
        delivery: str = "",
        texts: Texts = NO_TEXTS,
    ) -> Appended:
        """Number, fold, keep and ring one event.

        A run numbers its facts 1, 2, 3, …; a counter carries the last fact's number and its own since then. Older than the
        run's last pair: `Duplicate`; a skipped fact: `Conflict`; a later run, or the same number claimed under another
        `delivery` (numbers begin again after a loss of all data): `Fenced`. Web and reaper have no run (`run=0`)
        and are guarded by state alone. An event of a run is a sign of life, and prolongs its lease. A draft with a
        `successor` ends the feed's present publication: what is delivered of that one afterwards is late. Order within a run
        is the order of the numbers; a fact that is `Stored` is lost only with the journal's own data, which the writer
        learns from the next `Conflict` or `Missing`.

        A chunk (`Draft.of_text`) is appended to its run's text if that ends where the chunk begins; a chunk that is there
        already is a `Duplicate`, any other one a `TextGap`. `texts` is what the run has written before: a journal that has less
        of it, because it has lost some, answers `TextGap` as well. The fact that begins a run, and a run's first chunk, void
        the texts of earlier runs. From its first chunk on each of a feed's events carries the lengths of its texts.
        """
        ...

    def read(self, feed: str, cursor: Cursor | None, *, limit: int, texts: bool = True) -> Reading | None:
        """Return the document and up to `limit` facts after `cursor`, of one instant; `None` for an unknown feed.

        An inbox is never unknown: one that has had no notice is empty, stands at `INBOX_START` and takes no room.

        Not recovered: the cursor's epoch, numbers or chain aren't this feed's, or the facts after it were trimmed. Without a
        cursor the first facts may have been trimmed: then the reading has its `start`, and the facts that are kept.

        `chunks` are what the texts have after the cursor's lengths, at most `MAX_READ_BYTES` (then `more`); from the start, if
        the cursor has none, is of an earlier run, or isn't recovered. The cursor of the reading has the lengths with them.
        Without `texts` it has no chunks: its reader shows none, and its cursor says how long they are all the same.
        """
        ...

    def text(self, feed: str, name: str) -> str | None:
        """Return a whole text; `None` if the feed is unknown or has none of this name."""
        ...

    def heads(self, feeds: Sequence[str]) -> dict[str, Head]:
        """Return the heads of many feeds in one round trip; unknown feeds are left out."""
        ...

    def changed_heads(self, known: Mapping[str, Cursor | None]) -> dict[str, Cursor | Gone]:
        """Return where those feeds stand that no longer stand at the known cursor, in one round trip.

        `Gone` for a feed that isn't there: somebody has removed it, or the journal doesn't know it (any more).
        """
        ...

    def snapshot(self, feed: str) -> Snapshot | None:
        """Return a feed's document, cursor and owner of one instant; `None` for an unknown feed.

        The cursor has the lengths of the feed's texts; the cursors of `heads` and `changed_heads` have none.
        """
        ...

    def list(self, owner: str, *, limit: int, before: int | None = None) -> tuple[list[Snapshot], int | None]:
        """Return an owner's tasks, newest first, and the mark to go on `before`, `None` at the end.

        The index behind it is a hint: a feed that is gone is left out, and taken out of the index.
        """
        ...

    def forget(self, feed: str) -> None:
        """Delete a feed with all its facts."""
        ...

    def remove(self, feed: str) -> None:
        """Delete a feed as `forget` does, and leave a tombstone: a late message of its task is `Closed`, a run not valid.

        For readers it is unknown; its head has no owner.
        """
        ...


class Runs(Protocol):
    """Has one run at a time execute a task: leases, claims, verdicts, cancelling."""

    def confirm(self, feed: str, *, run: int = 0, wait: bool = True, lease: float | None = None) -> None:
        """End the lease of a feed whose message the broker has: no worker has claimed it, or `run` is to be run again.

        `lease` (seconds): it waits for a worker, and is `expired` after so long; only a feed that is queued, or that `run`
        has left to be retried.
        Without `wait` it may take place after the return, and a failure may be no more than a line in the log.
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
        message: str = "",
        publication: str = "",
        replayed: bool = False,
    ) -> Claimed | Busy | Closed | Missing:
        """Begin a run, with `draft` (state `running`) as its first fact.

        A run that begins while the one before is still live, without a retry, means that the one before ended silently;
        after `MAX_SILENT_ENDS` of those `failed` is written instead, and the claim is `Closed`.

        `publication` names the message's publication, which it keeps through every redelivery. One that has ended is
        `Closed`, whatever the feed's state. For one that an ended feed doesn't know, or `replayed` as in `open`, the answer is
        `Missing`: open the feed again.

        `delivery` is minted per execution: the same one again is answered as before. A live run is `Busy`, unless
        `retries` is higher than the one it was claimed with: then it is superseded. When cancelling was asked for, the
        run is claimed without `draft`, so that the caller can say `cancelled`. `message` replaces the one that is
        kept outside the document, so that the reaper can send it again when the run dies; empty, it leaves that one.
        """
        ...

    def renew(self, worker: str, feeds: Sequence[str], *, lease: float) -> dict[str, Held]:
        """Prolong the leases of those feeds that `worker` has claimed; says of each whether it is still held.

        A feed whose keys are spoiled, so that it can't be prolonged, is left out.
        """
        ...

    def check(self, feed: str, run: int, *, delivery: str = "", lease: float | None = None) -> Held:
        """Say how a run stands. `lease` (seconds): the run itself asks, and its lease is prolonged while it is valid."""
        ...

    def message(self, feed: str) -> str:
        """Return the message that `open` or the last claim left, empty if none."""
        ...

    def expired(self, *, limit: int) -> Sequence[Expired]:
        """List feeds whose lease has ended, at most `limit` a partition.

        A lease that ends later than any can was given before the server's clock was set back: it is cut to that of a run.
        """
        ...

    def conclude(self, feed: str, run: int, draft: Draft, *, lease: float | None = None) -> Appended:
        """Write a verdict over a run whose lease is still expired; otherwise `Closed` with the present state.

        `lease` (seconds) is the reaper's mark: the feed is `expired` again after it. `None` ends the lease.
        """
        ...

    def rebase(
        self,
        feed: str,
        *,
        owner: str,
        run: int,
        delivery: str,
        retries: int,
        last: Cursor,
        fact: int,
        document: Document,
        worker: str,
        lease: float,
        message: str = "",
        publication: str = "",
    ) -> Cursor | Fenced | Closed:
        """Open a feed again, in a new epoch, after the journal has lost it: the writer's document, at its numbers.

        `message` replaces the one that is kept outside the document, as in `claim`.

        `Fenced`: somebody else has begun meanwhile, by a later run or by the same number under another `delivery`.
        """
        ...

    def cancel(self, feed: str, *, cancelling: Draft, cancelled: Draft, force: bool = False) -> Appended:
        """Ask a task to stop: `cancelled` at once where nothing runs, else `cancelling` and the flag.

        Nothing runs where the task is queued or retrying, or stalled without a lease. Of a group, what hasn't begun is
        cancelled at once, and the group if nothing of it runs. Asked before: `Duplicate`. `force` is
        asked of a task that is `cancelling` already: its worker ends the process that runs it.
        """
        ...


class Inboxes(Protocol):
    """Delivers one notice for each finished task, and keeps an owner's notices until they are acknowledged."""

    def pending(self, *, limit: int) -> Sequence[str]:
        """List finished tasks whose notice isn't delivered yet, oldest first, at most `limit` a partition."""
        ...

    def settle(self, feed: str) -> None:
        """Take a task out of `pending`: its notice is delivered, or it has no owner to notify."""
        ...

    def notify(self, owner: str, *, key: str, notice: Document) -> Stored | Duplicate:
        """Put a notice into an owner's inbox, as the fact `notice`; once for each `key` (a feed's name).

        The inbox's document has the newest `INBOX_SHOWN` unread notices by their keys, how many are `unread`, and how many
        of those are `earlier` than the shown ones. It remembers `INBOX_KEPT` keys. The first one makes the inbox, in the
        epoch of `INBOX_START`: a reader that has read it while it was empty goes on from there.

        Raises:
            InvalidEvent: the notice isn't JSON, or is over `MAX_NOTICE_BYTES`.
        """
        ...

    def acknowledge(self, owner: str, keys: Sequence[str] | None, *, again: bool = False) -> Stored | Duplicate:
        """Take notices out of an owner's inbox, as the fact `acknowledged`; `None`: all of them.

        A key that hasn't come yet leaves a tombstone, so that it never will. With `again` each of the keys comes once more: its
        group begins again. Nothing to take out: `Duplicate`, and no fact.
        """
        ...


class Notes(Protocol):
    """Keeps notes: short texts by a name, beside the feeds."""

    def note(self, name: str, text: str, *, instead_of: str, lasts: float) -> str:
        """Write a note over `instead_of` (empty: none) and return what was there; if that is `instead_of`, it was written.

        An empty `text` takes the note away. A note goes by itself after `lasts` seconds. A caller that asks again after a
        lost reply finds its own `text`.
        """
        ...

    def notes(self, names: Sequence[str]) -> dict[str, str]:
        """Return the notes of these names in one round trip; names without one are left out."""
        ...


class Groups(Protocol):
    """Counts the children of groups: tasks that were started together, and have one feed together.

    `journal/groups.py` has the rules. A group's children are numbered from 0, in the order in which they may begin. A feed
    that isn't a group's is a group that the journal doesn't know: `Missing`, `None`, nothing.
    """

    def open_group(
        self, feed: str, children: Sequence[Child], *, owner: str, draft: Draft, epoch: str, lease: float | None = None
    ) -> Cursor:
        """Create a group's feed with `draft` as its first fact, and all of its children as queued, in one step.

        A feed that is there is left as it is, with its children. The fact has the group's progress.

        Raises:
            InvalidName: it isn't the feed of a group.
        """
        ...

    def contribute(
        self, feed: str, said: Sequence[Contribution], *, run: int, lease: float, verdict: bool = False
    ) -> Counted | Fenced | Closed | Missing:
        """Add what children say of themselves, each once, in one atomic step; `run` is the group's, from 0 on.

        A group rings at most every `groups.RING_EVERY` ms, by a counter; what is a fact (its state, the first errors) at
        once. It ends in the step in which its last child ends. Without contributions it rings what hasn't rung yet.
        `lease` (seconds): how long a child that runs is taken to be alive. `verdict`: they are said by somebody else, and only
        of children that run and whose lease has ended, whatever their attempt. A later run of the group: `Fenced`; one that
        hasn't begun here, because the journal has lost it: `Missing`.
        """
        ...

    def children(
        self, feed: str, *, state: str | None = None, after: int = -1, limit: int
    ) -> tuple[list[ListedChild], int | None] | None:
        """Return children by number, those `after` a number, and the number to go on after, `None` at the end.

        Only those in `state`: then there may be fewer than `limit` though others follow. `None`: there is no such group.
        """
        ...

    def child_messages(self, feed: str) -> dict[int, str]:
        """Return the messages, by the child's number, from which children that failed can be published again."""
        ...

    def renew_children(self, feed: str, numbers: Sequence[int], *, run: int, lease: float) -> Held:
        """Prolong the leases of children that run, and say how their group's run stands."""
        ...

    def expired_children(self, feed: str, *, limit: int) -> tuple[int, Sequence[ExpiredChild]]:
        """Return the group's run, and running children whose lease has ended; put off the lease of the group itself."""
        ...

    def repeat_children(
        self, feed: str, numbers: Sequence[int], *, draft: Draft, epoch: str, lease: float
    ) -> Cursor | Closed | Missing:
        """Begin an ended group again, in a new epoch and its next run, with those of these children that didn't succeed.

        With them what couldn't run because of them, unless it can't because of another child as well. `draft` is the first
        fact; the group's progress is put into it. Asked again with the same epoch: the answer is the same. `Closed`: it hasn't
        ended, or none of these children can run again.
        """
        ...


class Admin(Protocol):
    """Says how the journal itself is, and closes it."""

    def ping(self) -> None:
        """Raise `Unavailable` unless the journal answers."""
        ...

    def inspect(self) -> Sequence[str]:
        """Return a sentence for each thing about the server that weakens the promise, with what to change."""
        ...

    def close(self) -> None:
        """Give back connections."""
        ...


class Journal(Feeds, Runs, Inboxes, Notes, Groups, Admin, Protocol):
    """Keeps feeds: ordered, numbered, atomic.

    Every verb is one atomic step of one feed, or of one note. It either took place as a whole or raises `Unavailable`; after
    that the caller can't know and sends the same event again, which the journal recognises. Instants and leases are the
    journal server's. All verbs are thread-safe.
    """


class Pending(Protocol[T_co]):
    """A step that was sent. Call it once, unless `poll` has returned the answer."""

    def __call__(self) -> T_co:
        """Wait for the answer; raises what the step's own verb raises."""
        ...

    def poll(self) -> T_co | None:
        """Return the answer without waiting; `None` while there is none, and where a call would raise."""
        ...


PendingAppend: TypeAlias = Pending[Appended]


@runtime_checkable
class SupportsAsync(Protocol):
    """What a journal offers beside `Journal` if it can send a step and take the answer later."""

    def open_async(
        self,
        feed: str,
        *,
        owner: str,
        draft: Draft,
        epoch: str,
        lease: float | None = None,
        message: str = "",
        publication: str = "",
    ) -> Callable[[], Cursor]:
        """Send an `open`, for callers that have something to do meanwhile.

        The returned function waits for the answer, and raises what `open` raises. Call it once.
        """
        ...

    def append_async(
        self,
        feed: str,
        draft: Draft,
        *,
        run: int = 0,
        fact: int = 0,
        counter: int = 0,
        delivery: str = "",
        texts: Texts = NO_TEXTS,
    ) -> PendingAppend | None:
        """Send an `append`, for callers that must not block; `None`: it would have blocked, and nothing was sent."""
        ...

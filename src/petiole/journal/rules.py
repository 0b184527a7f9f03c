"""What a journal decides, given a feed's numbers. Pure: SQL, the memory journal and the tests' model call these functions.

Redis decides in its scripts, by the same tables and limits (`redis/scripts.py` puts them in); `tests/contract` runs every rule
on every backend. Seconds are the journal server's; `left` is how long a lease still lasts, 0 or less once it has ended, and
`None` where there is none.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple, Protocol, TypeAlias

from petiole.errors import InvalidEvent
from petiole.journal.answers import Busy, Closed, Conflict, Duplicate, Fenced, Gone, Held, Missing, TextGap
from petiole.journal.texts import texts_once_begun
from petiole.protocol import states
from petiole.protocol.encoding import to_json
from petiole.protocol.events import ZERO_CHAIN, Cursor, Document
from petiole.protocol.reader import Reading
from petiole.protocol.texts import NO_TEXTS, Span, Texts

# A task whose runs end silently this often is not run again: it is what kills its workers.
MAX_SILENT_ENDS: Final = 3
# How many ended publications a feed remembers, so that none of them runs twice.
PUBLICATIONS_KEPT: Final = 32
# How far a cancel has gone: `Numbers.cancel`.
CANCEL_ASKED: Final = 1
CANCEL_FORCED: Final = 2
# A notice is at most 512 bytes, so that a document of the newest ones stays within 16 KiB.
MAX_NOTICE_BYTES: Final = 512
INBOX_SHOWN: Final = 30
INBOX_KEPT: Final = 1000
# Where an empty inbox stands: nobody has made it, so its epoch can't be random.
INBOX_START: Final = Cursor("0" * 8, 0, 0, ZERO_CHAIN)


class Numbers(Protocol):
    """The numbers of a feed that the rules look at, as each journal keeps them."""

    @property
    def cursor(self) -> Cursor: ...
    @property
    def state(self) -> str | None: ...
    @property
    def run(self) -> int: ...
    @property
    def fact(self) -> int: ...
    @property
    def counter(self) -> int: ...
    @property
    def live(self) -> bool: ...
    @property
    def cancel(self) -> int: ...
    @property
    def retries(self) -> int: ...
    @property
    def silent(self) -> int: ...
    @property
    def delivery(self) -> str: ...
    @property
    def publication(self) -> str: ...
    @property
    def spent(self) -> str: ...
    @property
    def removed(self) -> bool: ...
    @property
    def texts(self) -> Texts: ...


# The guard of states.


def admits(current: str | None, wanted: str | None) -> bool:
    """Say whether a feed in the state `current` takes an event that sets `wanted` (`None`: it sets no state)."""
    if states.is_terminal(current):
        return False
    return wanted is None or states.may_follow(wanted, current)


def ends_run(state: str | None) -> bool:
    """Say whether the run is over once this state is written: its lease ends with it."""
    return state in states.ENDS_RUN


def waits_for_worker(feed: Numbers, run: int) -> bool:
    """Say whether a feed waits for a worker, so that `confirm` may give it a lease: it is queued, or `run` is to be retried."""
    return feed.state == states.QUEUED or (feed.state == states.RETRYING and feed.run == run)


# Publications.


def is_spent(spent: str, publication: str) -> bool:
    """Say whether a publication is among those that have ended."""
    return publication in spent.split()


def succeed(current: str, spent: str, publication: str) -> str:
    """Return the ended publications, oldest first, once `publication` takes the place of the `current` one."""
    if not current or current == publication or is_spent(spent, current):
        return spent
    return " ".join([*spent.split(), current][-PUBLICATIONS_KEPT:])


def begins_again(feed: Numbers, publication: str, *, replayed: bool) -> bool:
    """Say whether an ended feed begins again for a message of `publication`; `Journal.open` has the rule."""
    if not states.is_terminal(feed.state) or not publication or is_spent(feed.spent, publication):
        return False
    if publication != feed.publication:
        return True
    return replayed and feed.run > 0 and not feed.removed and feed.state in states.REPLAYABLE


# Events.


class Accepted(NamedTuple):
    """An event is taken: the run's numbers after it, whether it ends the run, whether it was stalled before, and the texts."""

    fact: int
    counter: int
    ends_run: bool
    was_stalled: bool
    texts: Texts


Refused: TypeAlias = Duplicate | Conflict | TextGap | Fenced | Closed | Missing


def append(
    feed: Numbers,
    *,
    is_fact: bool,
    state: str | None,
    run: int,
    fact: int,
    counter: int,
    delivery: str,
    texts: Texts = NO_TEXTS,
    span: Span | None = None,
) -> Accepted | Refused:
    """Decide on one event of a run, or of web and reaper (`run` 0), which are guarded by state alone.

    `texts` is what the run has written before it, `span` what a text event adds.
    """
    kept = feed.texts
    if run > feed.run:
        return Missing()
    if run > 0:
        # After a loss of all data run numbers begin again: then the delivery tells one run from the other.
        if run < feed.run or (delivery and feed.delivery != delivery):
            return Fenced(feed.run)
        written = kept.of_run(run)
        if span is not None:
            length = written.length(span.name)
            if span.end <= length:
                return Duplicate(feed.cursor, feed.cancel > 0)
            if span.at != length:
                return TextGap(written)
            fact, counter, kept = feed.fact, feed.counter, written.grown(span.name, span.end)
        elif fact <= feed.fact if is_fact else (fact, counter) <= (feed.fact, feed.counter):
            return Duplicate(feed.cursor, feed.cancel > 0)
        elif fact > feed.fact + is_fact:
            return Conflict(feed.fact)
        elif any(written.length(name) < length for name, length in texts.lengths):
            return TextGap(written)
    elif span is not None:
        # A text belongs to a run.
        return Fenced(feed.run)
    if not admits(feed.state, state):
        return Closed(feed.state or "")
    if run == 0:
        fact, counter = feed.fact, feed.counter
    elif is_fact:
        counter = 0
    return Accepted(fact, counter, ends_run(state), feed.state == states.STALLED and state is None, kept)


def prolongs(feed: Numbers, run: int, *, left: float | None, lease: float) -> bool:
    """Say whether an event of this run prolongs its lease: it is a sign of life.

    Written seldom, because its worker renews the lease as well.
    """
    return run > 0 and feed.live and (left or 0.0) < lease / 2


def is_recovered(head: Cursor, held: Cursor, *, first: int, fits: bool) -> bool:
    """Say whether a reader at `held` can be told every fact after it.

    `first` is the first fact that is kept; `fits`: the next fact's chain follows the one of `held`.
    """
    return not head.is_behind(held) and held.facts + 1 >= first and fits


# Runs.


class Again(NamedTuple):
    """The execution that asks has the run already."""


class GivenUp(NamedTuple):
    """The task's runs have ended silently too often: it fails instead."""

    silent: int


class Begun(NamedTuple):
    """A run begins, with these numbers. Its first fact is written unless cancelling was asked for: then `fact` is 0."""

    run: int
    fact: int
    silent: int
    publication: str
    spent: str
    texts: Texts


def claim(
    feed: Numbers,
    *,
    delivery: str,
    retries: int,
    left: float | None,
    publication: str,
    replayed: bool,
    may_fail: bool,
) -> Begun | Again | GivenUp | Busy | Closed | Missing:
    """Decide whether an execution may begin a run. `may_fail`: the caller gave the event that says the task has failed."""
    if begins_again(feed, publication, replayed=replayed):
        return Missing()
    if states.is_terminal(feed.state) or is_spent(feed.spent, publication):
        return Closed(feed.state or "")
    if feed.live and feed.delivery == delivery:
        return Again()
    supersedes = feed.live and retries > feed.retries
    silent = feed.silent
    if feed.live and not supersedes:
        if left is not None and left > 0:
            return Busy(feed.run, left)
        silent += 1
        if silent >= MAX_SILENT_ENDS and may_fail:
            return GivenUp(silent)
    # A superseded run has handed over, though the fact that says so isn't here.
    spent = succeed(feed.publication, feed.spent, publication) if supersedes and publication else feed.spent
    run, fact = feed.run + 1, 0 if feed.cancel else 1
    # A run that is cancelled before it begins leaves what the one before has written.
    texts = texts_once_begun(feed.texts, run) if fact else feed.texts
    return Begun(run, fact, silent, publication or feed.publication, spent, texts)


def is_valid(feed: Numbers, run: int, *, delivery: str) -> bool:
    """Say whether `run` may still write: it is the current, live one, and `delivery` (if given) is its own."""
    return feed.live and feed.run == run and delivery in ("", feed.delivery)


def held(feed: Numbers | None, *, valid: bool) -> Held:
    """Return how a run stands."""
    if feed is None:
        return Held(valid=False, cancel=False)
    return Held(valid, feed.cancel > 0, feed.state == states.STALLED, feed.cancel >= CANCEL_FORCED)


def conclude(feed: Numbers, run: int, *, state: str | None, left: float | None) -> Closed | None:
    """Return why a verdict over `run` is refused; `None`: it is written, because its lease has ended."""
    if feed.run != run or left is None or left > 0 or not admits(feed.state, state):
        return Closed(feed.state or "")
    return None


class Rebased(NamedTuple):
    """A feed is opened again at its writer's numbers: whether its run goes on, and how far a cancel had gone."""

    live: bool
    cancel: int


def rebase(feed: Numbers | None, run: int, *, delivery: str, state: str | None) -> Rebased | Fenced | Closed:
    """Decide whether a writer may open its feed again with its own document, which is in `state`."""
    if feed is not None:
        # The same number under another delivery: somebody else has begun after the loss.
        if feed.run > run or (feed.run == run and feed.delivery != delivery):
            return Fenced(feed.run)
        if states.is_terminal(feed.state):
            return Closed(feed.state or "")
    # A cancel was lost with the rest, and the writer's document still says so.
    return Rebased(not states.is_terminal(state), CANCEL_ASKED if state == states.CANCELLING else 0)


class Cancelled(NamedTuple):
    """A task is asked to stop: how far, and whether it is cancelled `at_once` because nothing runs."""

    cancel: int
    at_once: bool


def cancel(feed: Numbers, *, force: bool, has_lease: bool) -> Cancelled | Duplicate | Closed:
    """Decide what becomes of a task that is asked to stop."""
    if states.is_terminal(feed.state):
        return Closed(feed.state or "")
    wanted = CANCEL_FORCED if force else CANCEL_ASKED
    if feed.cancel >= wanted:
        return Duplicate(feed.cursor, cancel=True)
    # Stalled without a lease: only redelivery is pending, and what the broker redelivers will find the feed closed.
    is_gone = feed.state == states.STALLED and not has_lease
    return Cancelled(wanted, feed.state in states.WAITING or is_gone)


def state_once_removed(state: str | None) -> str:
    """Return the state that a removed feed's tombstone has: a terminal one."""
    return state if state is not None and states.is_terminal(state) else states.CANCELLED


# Inboxes. Their documents have the newest notices by their keys, oldest first, and two numbers.


def empty_inbox() -> Document:
    """Return the document of an inbox that has had no notice."""
    return {"unread": 0, "earlier": 0}


def shown_in(document: Document) -> list[str]:
    """Return the keys of the notices that an inbox's document shows, oldest first."""
    return [name for name in document if name not in ("unread", "earlier")]


def notify(document: Document, key: str, notice: Document, *, unread: int) -> Document:
    """Return the patch that puts a notice into an inbox of which `unread` are unread with it."""
    shown = [*shown_in(document), key]
    patch: Document = {key: notice}
    if len(shown) > INBOX_SHOWN:
        patch[shown.pop(0)] = None
    return {**patch, "unread": unread, "earlier": unread - len(shown)}


def acknowledge(document: Document, taken: Collection[str], *, unread: int) -> Document:
    """Return the patch that takes notices out of an inbox of which `unread` are unread without them."""
    shown = shown_in(document)
    patch: Document = dict.fromkeys(key for key in shown if key in taken)
    return {**patch, "unread": unread, "earlier": unread - (len(shown) - len(patch))}


def encode_notice(notice: Document) -> str:
    """Return a notice as JSON text.

    Raises:
        InvalidEvent: it isn't JSON, or is over `MAX_NOTICE_BYTES`.
    """
    text = to_json(notice)
    if (size := len(text.encode())) > MAX_NOTICE_BYTES:
        raise InvalidEvent(f"A notice of {size} bytes is over the limit of {MAX_NOTICE_BYTES}. Shorten it.")
    return text


# Feeds that a journal doesn't have. An inbox is never unknown: one that has had no notice is empty.


def read_unknown(feed: str, cursor: Cursor | None) -> Reading | None:
    """Return what a journal reads of a feed that it doesn't have; `None`: it is unknown."""
    if not feed.startswith("user:"):
        return None
    return Reading(feed, empty_inbox(), (), INBOX_START, recovered=cursor in (None, INBOX_START))


def head_of(feed: str, cursor: Cursor | None, *, removed: bool = False) -> Cursor | Gone:
    """Return where a feed stands, given its cursor in this journal, or what became of it."""
    if cursor is None:
        return INBOX_START if feed.startswith("user:") else Gone.UNKNOWN
    return Gone.REMOVED if removed else cursor

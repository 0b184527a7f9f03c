"""What each script of the Redis journal takes and answers, once.

A script is `lua/<name>.lua`. The loader binds its keys and arguments to these names, so that no position stands in Lua.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

from petiole.journal.redis.description import Description
from petiole.redis.keys import FEED_KEYS

FEED: Final = (*FEED_KEYS, "leases", "pending")
INBOX: Final = (*FEED, "seen", "unread")

_PLACE: Final = "epoch, seq, facts, chain, cancel"
_STORED: Final = {"stored": f"{_PLACE}, 1 if it was stalled"}
_DUPLICATE: Final = {"duplicate": _PLACE}
_FENCED: Final = {"fenced": "run"}
_CLOSED: Final = {"closed": "state"}
_MISSING: Final = {"missing": ""}

Milliseconds: TypeAlias = Annotated[str, "in ms"]
MillisecondsOrNone: TypeAlias = Annotated[str, "in ms, or ''"]
TextOrNone: TypeAlias = Annotated[str, "or ''"]
Flag: TypeAlias = Annotated[str, "'1' or '0'"]


class EventArguments(NamedTuple):
    """An event as scripts take it. Its patch follows, as field, JSON text, ...; of a text event its name and chunk."""

    channel: str
    feed: str
    run: str
    id: str
    fact: Annotated[str, "'1' or '0', or 'text'"]
    body: str
    progress: str
    state: str
    size: str


class Open(NamedTuple):
    """Creates a feed with its first fact. An open feed is left as it is; an ended one begins again for a new publication."""

    epoch: str
    owner: str
    lease: MillisecondsOrNone
    message: TextOrNone
    publication: TextOrNone
    replayed: Flag


OPEN: Final = Description(
    "open",
    Open,
    keys=FEED,
    rest="the event",
    replies={"opened": _PLACE, "exists": f"{_PLACE} (the feed that is left as it is)"},
)


class Confirm(NamedTuple):
    """Says that the broker has a feed's message: of a run that hasn't begun, or of one that is to be run again."""

    feed: str
    run: str
    lease: Annotated[MillisecondsOrNone, "how long it waits for a worker"]


CONFIRM: Final = Description("confirm", Confirm, keys=("meta", "leases"), replies={"": "1"})


class Append(NamedTuple):
    """Numbers, folds, keeps and rings one event of a run, or of web and reaper (run 0)."""

    fact: Annotated[str, "the fact's number in its run"]
    counter: Annotated[str, "the counter's number since then; of a text event where its chunk begins"]
    delivery: TextOrNone
    successor: Annotated[TextOrNone, "the publication by which the task goes on"]
    texts: Annotated[str, "the lengths of what the run has written, as in a cursor"]


APPEND: Final = Description(
    "append",
    Append,
    keys=FEED,
    rest="the event",
    replies={**_STORED, **_DUPLICATE, "conflict": "last", "text_gap": "lengths", **_FENCED, **_CLOSED, **_MISSING},
)


# In place of the lengths: the reader reads no texts.
NO_READER: Final = "-"


class Read(NamedTuple):
    """Returns the document and the facts after a cursor, of one instant."""

    epoch: Annotated[str, "'' reads from the start"]
    seq: str
    facts: str
    chain: str
    limit: str
    feed: str
    texts: Annotated[str, "the lengths of what the reader has, as in a cursor, or '-': it reads none"]


READ: Final = Description(
    "read",
    Read,
    keys=("meta", "document", "facts"),
    replies={
        "": "{} for an unknown feed, else {epoch, seq, facts, chain, recovered, owner, document…, kept facts after the "
        "cursor…, {number and chain of the fact before those, for a reader without a cursor where not all are kept}, lengths "
        "of the texts, {name, at, end, bytes} of each text after the reader's lengths…}"
    },
)


class Claim(NamedTuple):
    """Begins a run, with the event as its first fact unless cancelling was asked for."""

    worker: str
    delivery: str
    retries: str
    lease: Milliseconds
    message: Annotated[TextOrNone, "to send again"]
    publication: TextOrNone
    replayed: Flag


CLAIM: Final = Description(
    "claim",
    Claim,
    keys=FEED,
    rest="the event (its run is set here), then, if there is one, the event to write when too many runs ended silently",
    replies={
        "claimed": f"{_PLACE}, run, facts written, document…",
        "busy": "run, lease left in ms",
        **_CLOSED,
        **_MISSING,
    },
)


class Renew(NamedTuple):
    """Prolongs the leases of feeds that a worker has claimed."""

    worker: str
    lease: Milliseconds
    lifetime: Milliseconds


_HELD: Final = "1 if cancelling was asked for (2: by force), 1 if it is stalled"
RENEW: Final = Description(
    "renew",
    Renew,
    keys=("leases",),
    each_key=FEED_KEYS,
    rest="the feeds",
    replies={"": f"per feed {{1 if held, {_HELD}}}"},
)


class Check(NamedTuple):
    """Says how a run stands, and prolongs its lease if it is the run that asks."""

    run: str
    delivery: TextOrNone
    lease: MillisecondsOrNone
    feed: str


CHECK: Final = Description(
    "check", Check, keys=("meta", "leases"), replies={"": f"{{1 if it is the current, live run, {_HELD}}}"}
)


class ExpiredFeeds(NamedTuple):
    """Lists feeds whose lease has ended."""

    limit: Annotated[str, "of each partition"]
    longest: Annotated[Milliseconds, "how long a lease can be at most"]
    lease: Annotated[Milliseconds, "a run's"]


EXPIRED: Final = Description(
    "expired", ExpiredFeeds, keys=(), each_key=("leases",), replies={"": "per partition its feeds"}
)


class Conclude(NamedTuple):
    """Writes a verdict over a run whose lease is still expired."""

    run: str
    lease: MillisecondsOrNone


CONCLUDE: Final = Description(
    "conclude", Conclude, keys=FEED, rest="the event", replies={"stored": _PLACE, **_CLOSED, **_MISSING}
)


class Rebase(NamedTuple):
    """Opens a feed again in a new epoch after the journal has lost it: the writer's document at the writer's numbers."""

    epoch: str
    owner: str
    run: str
    delivery: str
    retries: str
    fact: str
    seq: str
    facts: str
    chain: str
    state: TextOrNone
    worker: str
    lease: Milliseconds
    lifetime: Milliseconds
    feed: str
    message: Annotated[TextOrNone, "to send again"]
    publication: TextOrNone


REBASE: Final = Description(
    "rebase",
    Rebase,
    keys=FEED,
    rest="the document as field, JSON text, …",
    replies={"opened": _PLACE, **_FENCED, **_CLOSED},
)


class Cancel(NamedTuple):
    """Asks a task to stop: cancelled at once where nothing runs, else cancelling and the flag that its run hears of.
    By force: raises the flag of a task that is being cancelled, so that its worker ends the process."""

    force: Flag


CANCEL: Final = Description(
    "cancel",
    Cancel,
    keys=FEED,
    rest="the event `cancelling`, then the event `cancelled`",
    replies={"stored": _PLACE, **_DUPLICATE, **_CLOSED, **_MISSING},
)


class Heads(NamedTuple):
    """Returns where feeds of one partition stand."""


HEADS: Final = Description(
    "heads",
    Heads,
    keys=("leases",),
    each_key=("meta",),
    rest="the feeds",
    replies={
        "": "per feed {} | {epoch, seq, facts, chain, state, owner, run, lease left in ms or '', 1 if it waits for a worker}"
    },
)


class ChangedHeads(NamedTuple):
    """Returns where those feeds of one partition stand that don't stand where they are known to."""


CHANGED_HEADS: Final = Description(
    "changed_heads",
    ChangedHeads,
    keys=(),
    each_key=("meta",),
    rest="for each feed the cursor where it is known to stand, or ''",
    replies={
        "": "of each that stands elsewhere or was removed (no owner) {number of the key, epoch, seq, facts, chain, owner}, "
        "of each that is unknown {number of the key}"
    },
)


class ReadDocument(NamedTuple):
    """Returns a feed's document with its cursor and owner, of one instant."""


SNAPSHOT: Final = Description(
    "snapshot",
    ReadDocument,
    keys=("meta", "document"),
    replies={"": "{} for an unknown feed | {epoch, seq, facts, chain, owner, document…, lengths of the texts}"},
)


class Forget(NamedTuple):
    """Deletes a feed with all its facts."""

    feed: str


FORGET: Final = Description("forget", Forget, keys=FEED, replies={"": "1 if it had a lease"})


class Remove(NamedTuple):
    """Deletes a feed, and leaves a tombstone that says it has ended."""

    feed: str
    lifetime: Milliseconds


REMOVE: Final = Description("remove", Remove, keys=FEED, replies={"": "1 if there was one"})


class Index(NamedTuple):
    """Lists a task under its owner, by the time when it was first listed."""

    feed: str
    lifetime: Milliseconds


INDEX: Final = Description("index", Index, keys=("owner",), replies={"": "1"})


class Pending(NamedTuple):
    """Lists finished tasks whose notice isn't delivered yet, oldest first."""

    limit: Annotated[str, "of each partition"]


PENDING: Final = Description(
    "pending", Pending, keys=(), each_key=("pending",), replies={"": "per partition its feeds"}
)


class Notify(NamedTuple):
    """Puts a notice into an inbox, once for each key, and makes the inbox if there is none."""

    owner: str
    channel: str
    feed: str
    id: Annotated[str, "the event's"]
    key: str
    notice: Annotated[str, "JSON text"]


NOTIFY: Final = Description("notify", Notify, keys=INBOX, replies={"stored": _PLACE, **_DUPLICATE})


class Acknowledge(NamedTuple):
    """Takes notices out of an inbox. A key that hasn't come yet leaves a tombstone, so that it never will."""

    owner: str
    channel: str
    feed: str
    id: Annotated[str, "the event's"]
    everything: Annotated[Flag, "take out all that are unread"]
    again: Annotated[Flag, "each of the keys comes once more"]


ACKNOWLEDGE: Final = Description(
    "acknowledge", Acknowledge, keys=INBOX, rest="keys", replies={"stored": _PLACE, **_DUPLICATE}
)


class Note(NamedTuple):
    """Writes a note over the expected text."""

    expected: Annotated[str, "'' for none"]
    text: Annotated[str, "'' takes the note away"]
    lifetime: Milliseconds


NOTE: Final = Description("note", Note, keys=("note",), replies={"": "the text that was there, or ''"})


class OpenGroup(NamedTuple):
    """Creates a group's feed with its first fact, and its children. A feed that is there is left as it is."""

    epoch: str
    owner: str
    lease: MillisecondsOrNone


OPEN_GROUP: Final = Description(
    "open_group",
    OpenGroup,
    keys=FEED,
    rest="the records of the children, the event, then number and id (JSON text) of each child whose id isn't in its record",
    replies={"opened": _PLACE, "exists": f"{_PLACE} (the feed that is left as it is)"},
)


class Contribute(NamedTuple):
    """Adds what children of a group say of themselves, once each, and rings if that is due."""

    run: str
    lease: Annotated[Milliseconds, "of a child that runs"]
    verdict: Annotated[Flag, "only of children whose lease has ended"]
    id: Annotated[str, "the event's"]
    feed: str
    channel: str


CONTRIBUTE: Final = Description(
    "contribute",
    Contribute,
    keys=FEED,
    rest="of each contribution its child, state, attempt, done, '1' if it is acknowledged late, '1' if nothing follows, error "
    "(JSON text, or ''), message (or ''), place of its stage (or 0), name of its stage (JSON text)",
    replies={
        "counted": f"{_PLACE}, in how many ms the group is to ring (or -1), of each contribution c (counted), d (known) or e "
        "(its child has ended)",
        **_FENCED,
        **_CLOSED,
        **_MISSING,
    },
)


class ExpiredChildren(NamedTuple):
    """Lists the running children of a group whose lease has ended, and says when to look again."""

    feed: str
    limit: str
    again: Annotated[Milliseconds, "if there are any"]
    wait: Annotated[Milliseconds, "if none runs"]


EXPIRED_CHILDREN: Final = Description(
    "expired_children",
    ExpiredChildren,
    keys=FEED,
    replies={"": "{run, of each {number, id (JSON text), attempt, 1 if it is acknowledged late, since}}"},
)


class RenewChildren(NamedTuple):
    """Prolongs the leases of children of a group."""

    run: str
    lease: Milliseconds


RENEW_CHILDREN: Final = Description(
    "renew_children",
    RenewChildren,
    keys=FEED,
    rest="numbers",
    replies={"": f"{{1 if the group's run goes on, {_HELD}}}"},
)


class RepeatChildren(NamedTuple):
    """Begins an ended group again, in a new epoch, with those of its children that are to run again."""

    epoch: str
    lease: Milliseconds


REPEAT_CHILDREN: Final = Description(
    "repeat_children",
    RepeatChildren,
    keys=FEED,
    rest="the event, then the numbers",
    replies={"opened": _PLACE, "closed": "state (it hasn't ended, or none of these can run again)", **_MISSING},
)


SCRIPTS: Final[Mapping[str, Description[Any]]] = {
    found.name: found for found in list(globals().values()) if isinstance(found, Description)
}

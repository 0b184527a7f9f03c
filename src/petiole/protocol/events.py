"""Events, cursors and feed names: what travels, as `protocol/README.md` defines it. No I/O."""

from __future__ import annotations

import hashlib
import json
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from petiole.errors import InvalidEvent, InvalidName
from petiole.protocol.encoding import DECODER, JSON, to_json
from petiole.protocol.texts import MAX_CHUNK_BYTES, NO_TEXTS, TEXT, TEXT_VERSION, Chunk, Span, Texts, is_text_name

VERSION: Final = 1
# What a reader understands.
VERSIONS: Final = (VERSION, TEXT_VERSION)
ZERO_CHAIN: Final = "0" * 16
COUNTER: Final = "counter"
# Kinds that aren't kept one by one: counters are folded, texts are appended.
NO_FACTS: Final = (COUNTER, TEXT)
MAX_EVENT_BYTES: Final = 8 * 1024
MAX_NUMBER: Final = 2**53 - 1  # the largest integer that JavaScript and Lua hold exactly
PARTITIONS: Final = 64
GROUP: Final = "group:"

Document: TypeAlias = dict[str, JSON]


_FEED = re.compile(r"(task|user|group):[A-Za-z0-9._~@-]{1,128}\Z")
_HEAD = re.compile(
    r'\{"v":([0-9]{1,4}),"id":"([^"\\]{1,64})","feed":"([^"\\]{1,140})","epoch":"([0-9a-f]{8})","seq":([0-9]{1,16}),'
    r'"run":[0-9]{1,16},"facts":([0-9]{1,16}),"chain":"([0-9a-f]{16})","at":[0-9]{1,16},'
    r'(?:"texts":(\{"run":[0-9]{1,15},"lengths":\{(?:"[A-Za-z0-9_-]{1,32}":[0-9]{1,15},?){0,8}\}\}),)?"kind":"([^"\\]{1,64})",'
    r'"patch":\{(?:\},"data":\{"name":"([A-Za-z0-9_-]{1,32})","at":([0-9]{1,15}),"chunk":)?.*\}\Z',
    re.DOTALL,
)
_CURSOR = re.compile(r"([0-9a-f]{8})\.([0-9]{1,16})\.([0-9]{1,16})\.([0-9a-f]{16})(?:~([0-9A-Za-z_~-]{1,512}))?\Z")


def mint_id() -> str:
    """Return a new event id: 16 random hexadecimal digits."""
    return os.urandom(8).hex()


def mint_publication() -> str:
    """Return a new name for one publication of a task's message: 8 random hexadecimal digits."""
    return os.urandom(4).hex()


def mint_epoch() -> str:
    """Return a new epoch: 8 random hexadecimal digits."""
    return os.urandom(4).hex()


def advance_chain(chain: str, event_id: str) -> str:
    """Return the chain after a fact with this id; never over JSON text, which two writers may write differently."""
    return hashlib.sha1((chain + event_id).encode(), usedforsecurity=False).hexdigest()[:16]


def task_feed(task_id: str) -> str:
    """Return the name of the feed of a task, or of a group of tasks, whose id is `group:<id>`.

    Raises:
        InvalidName: the id has characters that a feed's name may not have.
    """
    return check_feed(task_id if is_group(task_id) else f"task:{task_id}")


def group_feed(group_id: str) -> str:
    """Return the name of a group's feed, which is its id everywhere but in Celery.

    Raises:
        InvalidName: the id has characters that a feed's name may not have.
    """
    return check_feed(f"{GROUP}{group_id}")


def is_group(name: str) -> bool:
    """Say whether an id or a feed is that of a group of tasks."""
    return name.startswith(GROUP)


def feed_of(task_id: object) -> str | None:
    """Return the name of a task's feed; `None`: the id, which Celery's users may choose, can't be part of a feed's name."""
    name = f"task:{task_id}"
    return name if _FEED.match(name) else None


def inbox_feed(owner: str) -> str:
    """Return the name of a user's inbox: a hash, because an owner may have any characters."""
    return f"user:{hashlib.sha256(owner.encode()).hexdigest()[:32]}"


def check_feed(name: object) -> str:
    """Return `name` if it is a feed's name.

    Raises:
        InvalidName: it isn't.
    """
    if not isinstance(name, str) or not _FEED.match(name):
        raise InvalidName(
            "That is not the name of a feed. Use task:<id>, user:<id> or group:<id>, the id 1 to 128 characters of "
            "letters, digits and . _ ~ @ -"
        )
    return name


def feed_id(feed: str) -> str:
    """Return the id of a feed: the part after the kind, of a group the whole name."""
    return feed if is_group(feed) else feed.partition(":")[2]


def partition(name: str) -> int:
    """Return the partition (0 to 63) that holds this feed's keys, so that its scripts stay on one Cluster slot."""
    return zlib.crc32(name.encode()) % PARTITIONS


@dataclass(frozen=True, slots=True, order=False)
class Cursor:
    """Where a reader stands in a feed. `texts`: how much of its texts the reader has."""

    epoch: str
    seq: int
    facts: int
    chain: str
    texts: Texts = NO_TEXTS

    @classmethod
    def parse(cls, text: object, texts: object = None) -> Cursor:
        """Read a cursor from its wire form; `texts`: the lengths that its reader has, where they are given apart from it.

        Raises:
            InvalidName: it isn't one, or its numbers are past 2^53 - 1.
        """
        match = _CURSOR.match(text) if isinstance(text, str) else None
        if match is None:
            raise InvalidName("That is not a cursor. Send the cursor of an earlier answer unchanged, or none.")
        seq, facts = int(match[2]), int(match[3])
        if seq > MAX_NUMBER or facts > MAX_NUMBER:
            raise InvalidName("That cursor's numbers are too large. Send the cursor of an earlier answer unchanged.")
        return cls(match[1], seq, facts, match[4], Texts.parse(texts if isinstance(texts, str) else match[5] or ""))

    def __str__(self) -> str:
        place = f"{self.epoch}.{self.seq}.{self.facts}.{self.chain}"
        return f"{place}~{self.texts}" if self.texts else place

    @property
    def place(self) -> Cursor:
        """The cursor of a reader that has no texts: it is given them from the start."""
        return Cursor(self.epoch, self.seq, self.facts, self.chain) if self.texts else self

    def at_texts(self, texts: Texts) -> Cursor:
        """Return this cursor, of a reader that has so much of the texts."""
        return Cursor(self.epoch, self.seq, self.facts, self.chain, texts)

    def is_behind(self, other: Cursor) -> bool:
        """Say whether a journal at this cursor can't have sent a reader what it has at `other`."""
        return (
            self.epoch != other.epoch
            or self.seq < other.seq
            or self.facts < other.facts
            or (self.facts == other.facts and self.chain != other.chain)
        )


@dataclass(frozen=True, slots=True)
class Event:
    """One numbered patch to a feed's document, as the journal has stored it."""

    id: str
    feed: str
    epoch: str
    seq: int
    run: int
    facts: int
    chain: str
    at: int
    kind: str
    patch: Document
    progress: Document | None
    data: JSON = None
    texts: Texts = NO_TEXTS
    v: int = VERSION
    _text: str | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def is_fact(self) -> bool:
        return self.kind not in NO_FACTS

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.epoch, self.seq, self.facts, self.chain, self.texts)

    @property
    def chunk(self) -> Chunk | None:
        """What a text event adds to its text."""
        return Chunk.from_wire(self.data) if self.kind == TEXT else None

    @property
    def span(self) -> Span | None:
        """Which part of its text a text event adds."""
        return Chunk.from_wire(self.data).span if self.kind == TEXT else None

    @classmethod
    def from_wire(cls, wire: Mapping[str, JSON]) -> Event:
        """Read an event from its JSON object.

        Raises:
            InvalidEvent: a field is missing or of another type.
        """
        try:
            event = cls(
                id=wire["id"],
                feed=wire["feed"],
                epoch=wire["epoch"],
                seq=wire["seq"],
                run=wire["run"],
                facts=wire["facts"],
                chain=wire["chain"],
                at=wire["at"],
                kind=wire["kind"],
                patch=wire["patch"],
                progress=wire["progress"],
                data=wire.get("data"),
                texts=Texts.from_wire(wire.get("texts")),
                v=wire["v"],
            )
        except (KeyError, TypeError) as error:
            raise InvalidEvent(f"An event lacks the field {error}. It is set aside.") from None
        if not (
            all(type(number) is int for number in (event.v, event.seq, event.run, event.facts, event.at))
            and all(isinstance(text, str) for text in (event.id, event.feed, event.epoch, event.chain, event.kind))
            and isinstance(event.patch, dict)
            and (event.progress is None or isinstance(event.progress, dict))
        ):
            raise InvalidEvent("An event has a field of a wrong type. It is set aside.")
        if event.kind == TEXT:
            Chunk.from_wire(event.data)
        return event

    @classmethod
    def from_text(cls, text: str | bytes) -> Event:
        """Read an event from its JSON text.

        Raises:
            InvalidEvent: it isn't one.
        """
        try:
            wire = DECODER.decode(text if isinstance(text, str) else text.decode())
        except (ValueError, RecursionError):
            raise InvalidEvent("An event isn't valid JSON. It is set aside.") from None
        if not isinstance(wire, dict):
            raise InvalidEvent("An event isn't a JSON object. It is set aside.")
        event = cls.from_wire(wire)
        object.__setattr__(event, "_text", text if isinstance(text, str) else text.decode())
        return event

    def to_text(self) -> str:
        """Return the JSON text that goes to a browser: the text that the event was read from, if there is one."""
        return json.dumps(self.to_wire(), separators=(",", ":")) if self._text is None else self._text

    def to_wire(self) -> Document:
        """Return the event as the JSON object that goes to a browser."""
        wire: Document = {
            "v": self.v,
            "id": self.id,
            "feed": self.feed,
            "epoch": self.epoch,
            "seq": self.seq,
            "run": self.run,
            "facts": self.facts,
            "chain": self.chain,
            "at": self.at,
        }
        # In the order in which journals write: `EventHeader` reads no other.
        if self.texts:
            wire["texts"] = self.texts.to_wire()
        wire |= {"kind": self.kind, "patch": self.patch}
        if self.data is not None:
            wire["data"] = self.data
        wire["progress"] = self.progress
        return wire


class EventHeader(NamedTuple):
    """The numbers of an event that rang. Its text is passed on unread."""

    id: str
    feed: str
    epoch: str
    seq: int
    facts: int
    chain: str
    kind: str
    v: int
    texts: Texts = NO_TEXTS
    span: Span | None = None

    @property
    def is_fact(self) -> bool:
        return self.kind not in NO_FACTS

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.epoch, self.seq, self.facts, self.chain, self.texts)

    @classmethod
    def from_text(cls, text: str) -> EventHeader | None:
        """Read the numbers of an event in the form that journals write; `None`: another form, for `Event.from_text`."""
        head = _HEAD.match(text)
        if head is None:
            return None
        version, identity, feed, epoch, seq, facts, chain, lengths, kind, name, at = head.groups()
        texts, span = NO_TEXTS if lengths is None else Texts.from_text(lengths), None
        if kind == TEXT:
            if name is None:
                return None
            span = Span(name, int(at), texts.length(name))
        return cls(identity, feed, epoch, int(seq), int(facts), chain, kind, int(version), texts, span)


@dataclass(frozen=True, slots=True)
class Draft:
    """An event before the journal has numbered it. The writer keeps the id through every resend.

    `successor`: the publication that continues the task after this event. It isn't sent to readers.
    """

    kind: str
    patch: Document = field(default_factory=dict)
    progress: Document | None = None
    data: JSON = None
    id: str = field(default_factory=mint_id)
    successor: str = ""
    # The result of `encode`: a draft may be sent more than once, and never changes.
    _encoded: EncodedDraft | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def of_text(cls, chunk: Chunk) -> Draft:
        """Return the draft that appends a chunk to its text.

        Raises:
            InvalidEvent: the chunk is over 32 KiB, or its text can't have that name.
        """
        if not is_text_name(chunk.name):
            raise InvalidEvent("A text's name is 1 to 32 letters, digits, _ and -. Choose another.")
        if chunk.end - chunk.at > MAX_CHUNK_BYTES:
            raise InvalidEvent(f"A chunk is over the limit of {MAX_CHUNK_BYTES:,} bytes. Split it.")
        return cls(TEXT, data=chunk.to_wire())

    @property
    def is_fact(self) -> bool:
        return self.kind not in NO_FACTS

    @property
    def chunk(self) -> Chunk | None:
        """What a text event adds to its text."""
        return Chunk.from_wire(self.data) if self.kind == TEXT else None

    @property
    def state(self) -> str | None:
        """The task state that this event sets, if it sets one."""
        state = self.patch.get("state")
        return state if isinstance(state, str) else None

    def settled(self) -> Draft:
        """Return the draft with its patch copied as plain JSON, so that later changes by the caller don't affect it.

        Its data is only used as text, which is encoded here.

        Raises:
            InvalidEvent: a value isn't JSON, or the event is over 8 KiB.
        """
        encoded = self.encode()
        if not self.patch:
            return self
        patch = {name: json.loads(text) for name, text in encoded.patch.items()}
        settled = Draft(self.kind, patch, self.progress, self.data, self.id, self.successor)
        object.__setattr__(settled, "_encoded", encoded)
        return settled

    def encode(self) -> EncodedDraft:
        """Return the JSON texts that a journal stores.

        Raises:
            InvalidEvent: a value isn't JSON, or the event is over 8 KiB.
        """
        if self._encoded is not None:
            return self._encoded
        patch = {name: to_json(value) for name, value in self.patch.items()}
        fields = ",".join([f"{_quoted(name)}:{value}" for name, value in patch.items()])
        body = f'"kind":{_quoted(self.kind)},"patch":{{{fields}}}'
        data = "" if self.data is None else to_json(self.data)
        if data:
            body += f',"data":{data}'
        progress = "" if self.progress is None else to_json(self.progress)
        size = len(body.encode()) + len(progress.encode())
        if size > MAX_EVENT_BYTES and self.kind != TEXT:
            raise InvalidEvent(
                f"An event of {size:,} bytes is over the limit of {MAX_EVENT_BYTES:,}. Send less, or send a link to it."
            )
        encoded = EncodedDraft(self.id, self.is_fact, body, patch, progress, data)
        object.__setattr__(self, "_encoded", encoded)
        return encoded


class EncodedDraft(NamedTuple):
    """A draft as JSON texts: `body` is `"kind":…,"patch":{…}` and, if there is one, `,"data":…`. Empty: there is none."""

    id: str
    is_fact: bool
    body: str
    patch: dict[str, str]
    progress: str
    data: str


# Kinds and field names are few.
_quoted = lru_cache(256)(to_json)


def fold(document: Document, event: Event) -> Document:
    """Return the document after this event: its patch, then its progress, then its run."""
    return _fold(document, event.patch, event.progress, event.run)


def fold_draft(document: Document, draft: Draft, *, run: int) -> Document:
    """Return the document after this draft has become an event of `run`."""
    return _fold(document, draft.patch, draft.progress, run)


def _fold(document: Document, patch: Document, progress: Document | None, run: int) -> Document:
    folded = {**document, **patch}
    for name, value in patch.items():
        if value is None:
            del folded[name]
    if progress is not None:
        folded["progress"] = progress
    if run > 0:
        folded["run"] = run
    return folded

"""What the journal's scripts answer, in the words of the contract."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from petiole.errors import InvalidName, PetioleError, Refusal
from petiole.journal.answers import (
    Appended,
    Closed,
    Conflict,
    Counted,
    Duplicate,
    Fenced,
    Held,
    Missing,
    Stored,
    TextGap,
)
from petiole.protocol.events import Cursor, Document
from petiole.protocol.texts import Texts
from petiole.redis.connections import Awaited

T = TypeVar("T")


class RedisPending(Generic[T]):
    """`Pending`: the replies to a script that was sent; `answer` waits for them, and `read` understands the first one."""

    def __init__(
        self, replies: Awaited, answer: Callable[[], Sequence[Any]], read: Callable[[Sequence[Any]], T]
    ) -> None:
        self._replies = replies
        self._answer = answer
        self._read = read

    def __call__(self) -> T:
        return self._read(self._answer()[0])

    def poll(self) -> T | None:
        replies = self._replies.heard()
        return None if replies is None else self._read(replies[0])


def cursor_of(values: Sequence[bytes]) -> Cursor:
    """Read a feed's place.

    Raises:
        Refusal: somebody else has written over it.
    """
    try:
        return Cursor(values[0].decode(), int(values[1]), int(values[2]), values[3].decode())
    except (AttributeError, TypeError, ValueError) as error:
        raise Refusal(f"A feed's numbers in Redis can't be read ({error}). Look for what else writes there.") from error


def texts_of(value: bytes) -> Texts:
    """Read the lengths of a feed's texts.

    Raises:
        Refusal: somebody else has written over them.
    """
    try:
        return Texts.parse(value.decode())
    except (UnicodeDecodeError, InvalidName) as error:
        raise Refusal("The lengths of a feed's texts can't be read. Look for what else writes there.") from error


def document_of(values: Sequence[bytes]) -> Document:
    """Read a feed's document.

    Raises:
        Refusal: somebody else has written over it.
    """
    try:
        return {name.decode(): json.loads(value) for name, value in zip(values[::2], values[1::2], strict=True)}
    except (ValueError, RecursionError) as error:
        raise Refusal(f"A document in Redis can't be read ({error}). Look for what else writes there.") from error


def held_of(reply: Sequence[int]) -> Held:
    return Held(valid=reply[0] == 1, cancel=reply[1] > 0, stalled=reply[2] == 1, force=reply[1] > 1)


def appended_of(reply: Sequence[Any]) -> Appended:
    match reply[0]:
        case b"stored":
            return Stored(cursor_of(reply[1:]), cancel=reply[5] > 0, stalled=reply[6:7] == [1])
        case b"duplicate":
            return Duplicate(cursor_of(reply[1:]), cancel=reply[5] > 0)
        case b"conflict":
            return Conflict(int(reply[1]))
        case b"text_gap":
            return TextGap(texts_of(reply[1]))
        case b"fenced":
            return Fenced(int(reply[1]))
        case b"closed":
            return Closed(reply[1].decode())
        case b"missing":
            return Missing()
        case _:
            raise PetioleError(
                f"The journal gave an answer that this version doesn't know: {reply[0]!r}. Upgrade Petiole."
            )


def counted_of(reply: Sequence[Any]) -> Counted | Fenced | Closed | Missing:
    match reply[0]:
        case b"counted":
            due = int(reply[6])
            ended = tuple(letter == ord("e") for letter in reply[7])
            return Counted(cursor_of(reply[1:]), ended, None if due < 0 else due / 1000, reply[5] > 0)
        case b"fenced":
            return Fenced(int(reply[1]))
        case b"closed":
            return Closed(reply[1].decode())
        case _:
            return Missing()

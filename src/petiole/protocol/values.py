"""Turns an application's values into texts, numbers and data. Pure, and no value makes it fail.

A task may pass anything, of any class, and mustn't end because of it, except by a time limit. A value that JSON can't carry
becomes the closest JSON, or a mark: "…" where something was cut, and `<name of its class>` for a value without text or data.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Set
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from numbers import Complex, Integral, Real
from types import SimpleNamespace
from typing import Any, Final

from billiard.exceptions import SoftTimeLimitExceeded

from petiole.errors import InvalidEvent
from petiole.protocol.encoding import JSON, to_json
from petiole.protocol.events import MAX_EVENT_BYTES, MAX_NUMBER

CUT_MARK: Final = "…"
WORDS_LIMIT: Final = 200
WORDS_BYTES: Final = 600
DEEPEST: Final = 32
# An event that fits has no more values: each takes two bytes.
MOST_VALUES: Final = MAX_EVENT_BYTES // 2
# The methods by which other classes give their data: pydantic; NumPy and tensors; tables.
_CONVERSIONS: Final = ("model_dump", "tolist", "to_dict")
_PYTHONS_OWN: Final[object] = object.__str__
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
# Python's form of a file name's bytes that aren't UTF-8.
_ESCAPED: Final = re.compile("[\udc80-\udcff]")
_WORD_BEGINS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def words(value: object, *, characters: int = WORDS_LIMIT, size: int = WORDS_BYTES) -> str:
    """Return a value as text of at most so many characters, and bytes of JSON, with a mark if it is cut."""
    whole = text_of(value)
    kept = whole[:characters]
    while (used := len(to_json(kept).encode())) > size:
        kept = kept[: len(kept) * size // used]
    return kept if kept == whole else kept + CUT_MARK


def text_of(value: object) -> str:
    """Return a value as text, whole; what UTF-8 can't carry (an undecodable file name) is replaced."""
    return _SURROGATES.sub("\ufffd", _said(str, value))


def address(value: object) -> str:
    """Return a value as a URL, whole; bytes of a file name that aren't UTF-8 are percent-encoded (`%E9`)."""
    return text_of(_ESCAPED.sub(lambda found: f"%{ord(found[0]) & 0xFF:02X}", _said(str, value)))


def shown(value: object, *, characters: int = 100) -> str:
    """Return a value's `repr`, for an error message."""
    return words(_said(repr, value), characters=characters)


def readable(name: str) -> str:
    """Return a task's dotted name as words: "Sync account" of `app.tasks.sync_account`."""
    last = name.rpartition(".")[2] or name
    spaced = " ".join(_WORD_BEGINS.sub(" ", last).replace("_", " ").replace("-", " ").split())
    plain_words = " ".join(word if word.isupper() else word.lower() for word in spaced.split(" "))
    return words(plain_words[:1].upper() + plain_words[1:] or name)


def mark(value: object) -> str:
    """Return the mark for a value that has neither text nor data."""
    return f"<{(value if isinstance(value, type) else type(value)).__name__}>"


def finite(value: object) -> float | None:
    """Return a number of any kind (`Decimal`, a tensor of one) as a plain one that JavaScript can hold; else `None`."""
    try:
        match value:
            case bool() | Integral():
                number: float = int(value)
            case Real() | Decimal():
                number = float(value)
            case _ if callable(getattr(type(value), "item", None)):
                return finite(value.item())  # type: ignore[attr-defined]
            case _:
                return None
    except SoftTimeLimitExceeded:
        raise
    except Exception:  # noqa: BLE001 (a number of another class, or one that is too large)
        return None
    return number if abs(number) <= MAX_NUMBER else None


def is_endless(value: object) -> bool:
    """Say whether a number of any kind is positive infinity, which as a total means unknown."""
    try:
        return isinstance(value, Real | Decimal) and value == math.inf
    except ArithmeticError:
        return False


def milliseconds(when: datetime) -> int:
    """Return an instant in milliseconds since 1970; without a time zone it is UTC."""
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)


def plain(value: object) -> JSON:
    """Return a value as data that every reader of JSON understands alike.

    Integers beyond 2^53 and `Decimal` become their digits, because JavaScript would round them; NaN and infinities become
    "NaN", "Infinity" and "-Infinity". Dates become ISO 8601, durations seconds, bytes their text; enumerations their value,
    dataclasses objects, sets, arrays and other collections lists. What contains itself, or is more than 32 deep, is cut.

    Raises:
        InvalidEvent: it has more values than fit into an event.
    """
    return _Walk().plain(value, DEEPEST)


class _Walk:
    """One pass through a value: how many values are left, and which containers are open."""

    def __init__(self) -> None:
        self._room = MOST_VALUES
        self._around: set[int] = set()

    def plain(self, value: Any, depth: int) -> JSON:
        self._take(1)
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is str:
            return _SURROGATES.sub("\ufffd", value)
        try:
            if _is_of_instants(value):
                return self.plain(value.astype(str).tolist(), depth)
            match value:
                case Enum():
                    return self._within(value, lambda: self.plain(value.value, depth - 1), depth)
                case str():
                    return text_of(value)
                case bool() | Integral():
                    number = int(value)
                    return number if abs(number) <= MAX_NUMBER else _digits(number)
                case Decimal() | Fraction():
                    return str(value)
                case Real():
                    return _real(float(value))
                case Complex():
                    return str(complex(value))
                case bytes() | bytearray() | memoryview():
                    return _text_in(bytes(value))
                case datetime() | date() | time():
                    return value.isoformat()
                case timedelta():
                    return _real(value.total_seconds())
                case BaseException():
                    return ": ".join(part for part in (kind.__name__, text_of(value)) if part)
                case type():
                    return mark(value)
            return self._within(value, lambda: self._contents(value, depth - 1), depth)
        except InvalidEvent:
            raise
        except SoftTimeLimitExceeded:
            raise
        except Exception:  # noqa: BLE001 (an application's class whose methods fail)
            return mark(value)

    def _contents(self, value: Any, depth: int) -> JSON:
        kind = type(value)
        if is_dataclass(value):
            return self._object(((field.name, getattr(value, field.name)) for field in fields(value)), depth)
        if isinstance(value, Mapping | SimpleNamespace):
            return self._object((value if isinstance(value, Mapping) else vars(value)).items(), depth)
        if callable(getattr(value, "casefold", None)):
            return text_of(value)  # a text-like class has a length and items too
        for name in _CONVERSIONS:
            if callable(getattr(kind, name, None)):
                if (length := _length(value)) > self._room:
                    self._take(length)
                return self.plain(getattr(value, name)(), depth)
        if isinstance(value, Set):
            return self._list(_sorted(value), depth)
        if isinstance(value, Collection):
            return self._list(value, depth)
        # A class's own `__str__` is meant to be read; Python's default, with an address in memory, isn't.
        return text_of(value) if getattr(kind, "__str__", None) is not _PYTHONS_OWN else mark(value)

    def _object(self, items: Iterable[tuple[object, object]], depth: int) -> dict[str, JSON]:
        found: dict[str, JSON] = {}
        for key, value in items:
            name = self.plain(key, depth)
            name = name if isinstance(name, str) else to_json(name)
            while name in found:
                name += CUT_MARK
            found[name] = self.plain(value, depth)
        return found

    def _list(self, items: Iterable[object], depth: int) -> list[JSON]:
        return [self.plain(item, depth) for item in items]

    def _within(self, value: object, contents: Callable[[], JSON], depth: int) -> JSON:
        here = id(value)
        if depth <= 0 or here in self._around:
            return CUT_MARK
        self._around.add(here)
        try:
            return contents()
        finally:
            self._around.discard(here)

    def _take(self, values: int) -> None:
        self._room -= values
        if self._room < 0:
            raise InvalidEvent(
                f"An event of more than {MOST_VALUES:,} values is over the limit of {MAX_EVENT_BYTES:,} bytes. Send less, or "
                "send a link to it."
            )


def _said(how: Callable[[object], str], value: object) -> str:
    try:
        return how(value)
    except SoftTimeLimitExceeded:
        raise
    except Exception:  # noqa: BLE001 (a failing `__str__`; an integer of more digits than Python writes)
        return _digits(value) if isinstance(value, int) else mark(value)


def _digits(number: int) -> str:
    try:
        return str(number)
    except ValueError:
        return hex(number)  # Python writes no more than 4,300 decimal digits


def _real(number: float) -> JSON:
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _text_in(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return f"<{len(content):,} byte{'' if len(content) == 1 else 's'}>"


def _length(value: Any) -> int:
    """Return how many values a table or an array has, before they become that many objects."""
    size = getattr(value, "size", None)
    if isinstance(size, Integral):
        return int(size)
    return len(value) if hasattr(value, "__len__") else 0


def _is_of_instants(value: Any) -> bool:
    # NumPy's instants and durations as plain numbers would lose their unit.
    return type(value).__module__ == "numpy" and getattr(getattr(value, "dtype", None), "kind", "") in ("M", "m")


def _sorted(values: Iterable[object]) -> list[object]:
    try:
        return sorted(values, key=repr)
    except SoftTimeLimitExceeded:
        raise
    except Exception:  # noqa: BLE001 (a failing `__repr__`)
        return list(values)

"""Values as strict, compact JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Final, TypeAlias
from uuid import UUID

from petiole.errors import InvalidEvent

JSON: TypeAlias = Any


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} isn't JSON")


# Python's own decoder accepts NaN and Infinity, which a browser's refuses.
DECODER: Final = json.JSONDecoder(parse_constant=_refuse)


def to_json(value: JSON) -> str:
    """Return strict, compact JSON.

    Dates become ISO 8601, durations seconds, `Decimal` and `UUID` strings, enumerations their value, and sets lists. NaN and
    infinity aren't JSON and are refused.

    Raises:
        InvalidEvent: the value can't be JSON.
    """
    try:
        text = _encode(value)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        reason = "it contains itself, or is too deep" if isinstance(error, RecursionError) else error
        raise InvalidEvent(
            f"A value can't become JSON ({reason}). Pass text, finite numbers, booleans, lists and objects."
        ) from None
    return text


def _plain(value: object) -> JSON:
    match value:
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Decimal() | UUID() | PurePath():
            return str(value)
        case Enum():
            return value.value
        case set() | frozenset():
            return sorted(value, key=repr)
        case _:
            raise TypeError(f"{type(value).__name__} isn't a JSON type")


def _make_encode() -> Callable[[JSON], str]:
    """Return `JSONEncoder.encode`; or, where Python has one in C, the encoder that it builds for each value: half the time."""
    encoder = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=_plain)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    # Without a record of the containers, a value that contains itself is found by its depth.
    encode = make(None, _plain, json.encoder.encode_basestring, None, ":", ",", False, False, False)
    return lambda value: "".join(encode(value, 0))


_encode: Final = _make_encode()

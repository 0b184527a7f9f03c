"""How each type of PostgreSQL is read: its kind, its value in the file, and what a filter compares.

This is the one place that says so. `SESSION` holds a login's settings off that would show the same value as another text. Only
`lc_monetary` stays the login's: it says how many decimals a stored `money` has.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Final

from petiole.exports.catalog import Column, Kind, quote

SESSION: Final = {
    "search_path": "pg_catalog",
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "iso_8601",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "xmlbinary": "base64",
}

_DAY: Final = r"\d{4}-\d\d-\d\d"
_TIME: Final = r"\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?"
_ZONE: Final = r"(?:Z|[+-](?:0\d|1[0-5])(?::?[0-5]\d)?)"
_UUID: Final = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_PERIOD: Final = (
    r"P(?=\d|T\d)(?:\d{1,5}Y)?(?:\d{1,6}M)?(?:\d{1,6}W)?(?:\d{1,6}D)?"
    r"(?:T(?=\d)(?:\d{1,6}H)?(?:\d{1,8}M)?(?:\d{1,9}(?:\.\d{1,6})?S)?)?"
)
_ADDRESS: Final = r"[0-9A-Fa-f.:]+(?:/(?:0|[1-9]\d{0,2}))?"
_BLOB: Final = r"X'((?:[0-9A-Fa-f]{2})*)'"


@dataclass(frozen=True, slots=True)
class Type:
    """How a type is read. `value` is SQL for the cell of a column `{}`; `decimal`: a number of which each digit counts.

    `native` returns the text of a filter as PostgreSQL reads it for the type; `None`: it isn't a value of the type, or isn't
    known to be one, and is compared as text.
    """

    kind: Kind
    value: str
    decimal: bool = False
    native: Callable[[str], str | None] | None = None


def _matching(pattern: str, check: Callable[[str], object] = str) -> Callable[[str], str | None]:
    whole = re.compile(pattern, re.ASCII)

    def native(text: str) -> str | None:
        if not whole.fullmatch(text):
            return None
        try:
            check(text)
        except ValueError:
            return None
        return text

    return native


def _blob(text: str) -> str | None:
    found = re.fullmatch(_BLOB, text)
    return None if found is None else f"\\x{found[1]}"


_INTEGER: Final = Type("integer", "{}")
_REAL: Final = Type("real", "{}")
_TEXT: Final = Type("text", "{}")
_OTHER: Final = Type("text", "{}::text")
_TYPES: Final = {
    **dict.fromkeys(("int2", "int4", "int8"), _INTEGER),
    "bool": Type("integer", "{}::int"),
    **dict.fromkeys(("float4", "float8"), _REAL),
    "numeric": Type("real", "{}", decimal=True),
    # By its text the locale would decide what the number is.
    "money": Type("real", "{}::numeric", decimal=True),
    "_money": Type("text", "{}::numeric[]::text"),
    **dict.fromkeys(("text", "varchar"), _TEXT),
    "bytea": Type("text", "'X''' || upper(encode({}, 'hex')) || ''''", native=_blob),
    "date": Type("text", "{}::text", native=_matching(_DAY, date.fromisoformat)),
    "time": Type("text", "{}::text", native=_matching(_TIME, time.fromisoformat)),
    "timestamp": Type("text", "{}::text", native=_matching(f"{_DAY}(?:[ T]{_TIME})?", datetime.fromisoformat)),
    "timestamptz": Type(
        "text", "{}::text", native=_matching(f"{_DAY}(?:[ T]{_TIME}{_ZONE}?)?", datetime.fromisoformat)
    ),
    "interval": Type("text", "{}::text", native=_matching(_PERIOD)),
    "uuid": Type("text", "{}::text", native=_matching(_UUID)),
    # Without the mask of a single address, which its cast to text has.
    "inet": Type("text", "abbrev({})", native=_matching(_ADDRESS, ipaddress.ip_interface)),
    "cidr": Type("text", "{}::text", native=_matching(_ADDRESS, ipaddress.ip_network)),
}
# Equal to a text exactly if the column itself is: what an index knows.
_INDEXED_TEXTS: Final = ("text", "varchar", "bpchar")


def type_of(declared: str) -> Type:
    """Return how a type is read, by its name in `pg_catalog`; a domain has the name of its base type."""
    return _TYPES.get(declared, _OTHER)


def value_of(column: Column) -> str:
    """Return the SQL of a column's value in the file."""
    return type_of(column.declared).value.format(name_of(column))


def name_of(column: Column) -> str:
    """Return the SQL of a column itself."""
    return f"t.{quote(column.name)}"


def compare(
    column: Column, operator: str, value: int | float | str, literal: Callable[[int | float | str], str]
) -> str:
    """Return one SQL comparison. `operator` is SQL's; `literal` quotes a value.

    In the column's own type if the value is one of it, so that PostgreSQL can use an index and knows the order of the type;
    else as the text that the file has, by code points.
    """
    known = type_of(column.declared)
    if column.declared == "bool" and value in (0, 1) and operator in ("=", "IS DISTINCT FROM"):
        return f"{name_of(column)} {operator} {'true' if value else 'false'}"
    if column.declared == "float4":
        return f"{name_of(column)}::text::float8 {operator} {literal(value)}"
    if column.kind != "text":
        return f"{value_of(column)} {operator} {literal(value)}"
    native = known.native(str(value)) if known.native is not None else None
    if native is not None:
        return f"{name_of(column)} {operator} {literal(native)}::{column.declared}"
    as_text = f"{text_of(column)} {operator} {literal(value)}"
    if operator == "=" and column.declared in _INDEXED_TEXTS:
        # An index has the column's own collation, under which more may be equal than these characters.
        return f"({name_of(column)} = {literal(value)} AND {as_text})"
    return as_text


def is_text(column: Column) -> bool:
    """Say whether a value of the column may be a text without characters, which is as empty as NULL."""
    return column.kind == "text" and type_of(column.declared).native is None


def text_of(column: Column) -> str:
    """Return the SQL of a column's text in the file, compared by code points."""
    return f'({value_of(column)}) COLLATE "C"'

"""The selection that a user asked for, checked against the catalog. Never SQL from outside."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from petiole.errors import PetioleError
from petiole.exports.catalog import Catalog, Column, Kind, Table

# The Celery name of the task that exports a selection.
TASK_NAME: Final = "petiole.exports.export"

COMPARISONS: Final = ("=", "!=", "<", "<=", ">", ">=")
EMPTINESS: Final = ("is_empty", "is_not_empty")
OPERATORS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "integer": (*COMPARISONS, *EMPTINESS),
    "real": (*COMPARISONS, *EMPTINESS),
    "text": (*COMPARISONS, "contains", *EMPTINESS),
}
MAX_FILTERS: Final = 20
MAX_TEXT: Final = 1_000

_NAMES_SHOWN: Final = 30


class InvalidSelection(PetioleError):
    """A selection that can't be exported. `field` says where, `sentence` what is wrong and what is allowed.

    `reason` is what is wrong alone: it names nothing that there is.
    """

    def __init__(self, field: str, reason: str, choices: str = "") -> None:
        self.field = field
        self.reason = reason
        self.sentence = f"{reason} {choices}" if choices else reason
        super().__init__(f"{field}: {self.sentence}" if field else self.sentence)


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition. `value` is `None` exactly for `is_empty` and `is_not_empty`."""

    column: Column
    operator: str
    value: int | float | str | None


@dataclass(frozen=True, slots=True)
class Selection:
    """A table, some of its columns in the requested order, and conditions that all have to hold."""

    table: Table
    columns: tuple[Column, ...]
    filters: tuple[Filter, ...] = ()


def parse_selection(catalog: Catalog, payload: Mapping[str, Any]) -> Selection:
    """Return the selection that the JSON object `{"table", "columns"?, "filters"?}` asks for.

    Without `columns`, or with null, all columns are selected. A filter is `{"column", "operator", "value"?}`.

    Raises:
        InvalidSelection: it is of another shape, or names what isn't there.
    """
    if not isinstance(payload, Mapping):
        raise InvalidSelection("", 'A selection is a JSON object. Send {"table": …, "columns": […], "filters": […]}.')
    _refuse_unknown("", payload, ("table", "columns", "filters"))
    name = payload.get("table")
    table = catalog.table(name) if isinstance(name, str) else None
    if table is None:
        raise InvalidSelection("table", "There is no such table.", _choose(table.name for table in catalog.tables))
    columns = _columns(table, payload.get("columns"))
    return Selection(table, columns, _filters(table, payload.get("filters")))


def _columns(table: Table, names: object) -> tuple[Column, ...]:
    if names is None:
        return table.columns
    if not isinstance(names, list) or not names:
        raise InvalidSelection(
            "columns", "The columns are a list of names. Give at least one, or leave out the list for all."
        )
    chosen: dict[str, Column] = {}
    for position, name in enumerate(names):
        column = _column(f"columns[{position}]", table, name)
        if column.name in chosen:
            raise InvalidSelection(f"columns[{position}]", "This column is named twice. Name each column once.")
        chosen[column.name] = column
    return tuple(chosen.values())


def _column(field: str, table: Table, name: object) -> Column:
    column = table.column(name) if isinstance(name, str) else None
    if column is None:
        raise InvalidSelection(field, "There is no such column.", _choose(column.name for column in table.columns))
    return column


def _filters(table: Table, filters: object) -> tuple[Filter, ...]:
    if filters is None:
        return ()
    if not isinstance(filters, list) or len(filters) > MAX_FILTERS:
        raise InvalidSelection("filters", f"The filters are a list of objects. Send at most {MAX_FILTERS}, or none.")
    return tuple(_filter(f"filters[{position}]", table, entry) for position, entry in enumerate(filters))


def _filter(field: str, table: Table, entry: object) -> Filter:
    if not isinstance(entry, Mapping):
        raise InvalidSelection(field, 'A filter is a JSON object. Send {"column": …, "operator": …, "value": …}.')
    _refuse_unknown(f"{field}.", entry, ("column", "operator", "value"))
    column = _column(f"{field}.column", table, entry.get("column"))
    operator = entry.get("operator")
    allowed = OPERATORS[column.kind]
    if not isinstance(operator, str) or operator not in allowed:
        raise InvalidSelection(
            f"{field}.operator", f"A column of kind {column.kind} has no such operator.", _choose(allowed)
        )
    value = entry.get("value")
    if operator in EMPTINESS:
        if value is not None:
            raise InvalidSelection(f"{field}.value", f"The operator {operator} takes no value. Leave the value out.")
        return Filter(column, operator, None)
    return Filter(column, operator, _value(f"{field}.value", column, value))


def _value(field: str, column: Column, value: object) -> int | float | str:
    if value is None:
        raise InvalidSelection(field, "A value is missing. Give one, or use is_empty or is_not_empty.")
    match column.kind:
        case "text":
            return _text_value(field, value)
        case "integer":
            if type(value) is int and -(2**63) <= value < 2**63:
                return value
            raise InvalidSelection(field, "This column holds integers. Give a whole number of at most 64 bits.")
        case "real":
            # An integer past 64 bits can't be bound as one, but a real column takes it as the nearest real.
            if type(value) in (int, float):
                try:
                    number = float(value)  # type: ignore[arg-type]
                except OverflowError:
                    number = math.inf
                if math.isfinite(number):
                    return number
            raise InvalidSelection(field, "This column holds numbers. Give a finite number.")


def _text_value(field: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise InvalidSelection(field, f"This column holds text. Give a text of at most {MAX_TEXT:,} characters.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidSelection(field, "This text has half a character. Give text that is valid Unicode.") from None
    return value


def _refuse_unknown(prefix: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise InvalidSelection(f"{prefix}{name}"[:200], "There is no such field.", _choose(known))


def _choose(names: Any) -> str:
    listed: Collection[str] = list(names)
    if not listed:
        return "There is none to choose from."
    more = f" and {len(listed) - _NAMES_SHOWN} more" if len(listed) > _NAMES_SHOWN else ""
    return f"Choose from: {', '.join(list(listed)[:_NAMES_SHOWN])}{more}."

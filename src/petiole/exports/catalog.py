"""What a database offers for export: its tables, their columns, their kinds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["integer", "real", "text"]


def quote(name: str) -> str:
    """Return `name` as a SQL identifier, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its declared kind of value, and the name of that type in its database."""

    name: str
    kind: Kind
    declared: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table, with an estimate of its rows that costs no scan (`None`: there is none).

    `identifier` is the table in SQL. `order` holds SQL expressions that put the rows in order where that costs no sorting on
    the disk; empty: they come as they are stored. `ordered_by` are the columns of that order, none where it is the order in
    which the rows are stored or were added.
    """

    name: str
    columns: tuple[Column, ...]
    rows_estimate: int | None
    order: tuple[str, ...]
    identifier: str
    ordered_by: tuple[str, ...] = ()

    def column(self, name: str) -> Column | None:
        """Return the column of this exact name."""
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True, slots=True)
class Catalog:
    """The tables of a database. Views, foreign and virtual tables and system tables aren't included."""

    tables: tuple[Table, ...]

    def table(self, name: str) -> Table | None:
        """Return the table of this exact name."""
        return next((table for table in self.tables if table.name == name), None)

    def only(self, names: Collection[str] | None) -> Catalog:
        """Return the catalog without the tables that are not in `names`; `None` keeps all of them."""
        if names is None:
            return self
        return Catalog(tuple(table for table in self.tables if table.name in names))

"""What a SQLite database offers for export: its real tables, their columns, their kinds."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal["integer", "real", "text"]

_ROWID_NAMES: Final = ("rowid", "_rowid_", "oid")


def quote(name: str) -> str:
    """Return `name` as a SQL identifier, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


def kind_of(declared: str) -> Kind:
    """Return the kind of a column from its declared type, after SQLite's rules of affinity.

    `BOOLEAN` is an integer and `NUMERIC` and `DECIMAL` are real, because that is how SQLite stores what they usually
    hold. Dates, blobs and columns without a type are text.
    Source: https://www.sqlite.org/datatype3.html#determination_of_column_affinity
    """
    name = declared.upper()
    if "INT" in name or "BOOL" in name:
        return "integer"
    if any(part in name for part in ("CHAR", "CLOB", "TEXT", "BLOB")):
        return "text"
    if any(part in name for part in ("REAL", "FLOA", "DOUB", "NUMERIC", "DECIMAL")):
        return "real"
    return "text"


@dataclass(frozen=True, slots=True)
class Column:
    """A column and the kind of value that it is declared to hold."""

    name: str
    kind: Kind
    declared: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table, with an estimate of its rows that costs no scan (`None`: there is none).

    `order` holds SQL expressions that put the rows in the same order every time; it is empty only for a table whose
    own columns hide every name of its row id.
    """

    name: str
    columns: tuple[Column, ...]
    rows_estimate: int | None
    order: tuple[str, ...]

    def column(self, name: str) -> Column | None:
        """Return the column of this exact name."""
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True, slots=True)
class Catalog:
    """The tables of a database. Views, virtual tables and SQLite's own tables are not among them."""

    tables: tuple[Table, ...]

    def table(self, name: str) -> Table | None:
        """Return the table of this exact name."""
        return next((table for table in self.tables if table.name == name), None)

    def only(self, names: Collection[str] | None) -> Catalog:
        """Return the catalog without the tables that are not in `names`; `None` keeps all of them."""
        if names is None:
            return self
        return Catalog(tuple(table for table in self.tables if table.name in names))

    @classmethod
    def read(cls, connection: sqlite3.Connection) -> Catalog:
        """Read the catalog in the connection's current transaction.

        Raises:
            sqlite3.Error: the database can't be read.
        """
        names = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
            "AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
        )
        return cls(tuple(_read_table(connection, name) for (name,) in names.fetchall()))


def _read_table(connection: sqlite3.Connection, table: str) -> Table:
    # hidden = 1 marks a virtual table's hidden columns; 2 and 3 are generated columns, which are data.
    rows = connection.execute(
        "SELECT name, type, pk FROM pragma_table_xinfo(?) WHERE hidden <> 1 ORDER BY cid", (table,)
    ).fetchall()
    columns = tuple(Column(name, kind_of(declared), declared) for name, declared, _ in rows)
    key = sorted((position, name) for name, _, position in rows if position)
    row_id = _row_id(connection, table, columns)
    if row_id is None:
        order = tuple(f"{quote(table)}.{quote(name)}" for _, name in key)
        return Table(table, columns, None, order)
    # The highest row id is found at the end of the tree, without a scan; a count is not.
    (highest,) = connection.execute(f"SELECT max({row_id}) FROM {quote(table)}").fetchone()
    return Table(table, columns, max(highest or 0, 0), (row_id,))


def _row_id(connection: sqlite3.Connection, table: str, columns: tuple[Column, ...]) -> str | None:
    taken = {column.name.lower() for column in columns}
    name = next((name for name in _ROWID_NAMES if name not in taken), None)
    if name is None:
        return None
    try:
        connection.execute(f"SELECT {name} FROM {quote(table)} LIMIT 0").close()
    except sqlite3.OperationalError as error:
        # SQLite has no code of its own for "no such column", which is how a WITHOUT ROWID table answers.
        if "no such column" not in str(error):
            raise
        return None
    return name

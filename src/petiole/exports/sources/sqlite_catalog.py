"""The catalog of a SQLite database."""

from __future__ import annotations

import sqlite3
from typing import Final

from petiole.exports.catalog import Catalog, Column, Kind, Table, quote

_ROWID_NAMES: Final = ("rowid", "_rowid_", "oid")


def read_catalog(connection: sqlite3.Connection) -> Catalog:
    """Read the real tables in the connection's current transaction.

    Raises:
        sqlite3.Error: the database can't be read.
    """
    names = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
        "AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
    )
    return Catalog(tuple(_read_table(connection, name) for (name,) in names.fetchall()))


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
        return Table(table, columns, None, order, quote(table))
    # The highest row id is at the end of the tree; a count would scan.
    (highest,) = connection.execute(f"SELECT max({row_id}) FROM {quote(table)}").fetchone()
    return Table(table, columns, max(highest or 0, 0), (row_id,), quote(table))


def _row_id(connection: sqlite3.Connection, table: str, columns: tuple[Column, ...]) -> str | None:
    taken = {column.name.lower() for column in columns}
    name = next((name for name in _ROWID_NAMES if name not in taken), None)
    if name is None:
        return None
    try:
        connection.execute(f"SELECT {name} FROM {quote(table)} LIMIT 0").close()
    except sqlite3.OperationalError as error:
        # SQLite has no specific code for "no such column", which it raises for a WITHOUT ROWID table.
        if "no such column" not in str(error):
            raise
        return None
    return name

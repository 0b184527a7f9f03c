"""The catalog of a SQLite database."""

from __future__ import annotations

import sqlite3
from typing import Final

from petiole.exports.catalog import Catalog, Column, Kind, Table, quote
from petiole.logs import logger

log = logger(__name__)

_ROWID_NAMES: Final = ("rowid", "_rowid_", "oid")


def read_catalog(connection: sqlite3.Connection) -> Catalog:
    """Read the real tables in the connection's current transaction.

    What can't be named in SQL, because its name isn't valid UTF-8, and what SQLite itself can't read, is left out.

    Raises:
        sqlite3.Error: the database can't be read.
    """
    connection.text_factory = _text_or_bytes
    names = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
        "AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
    ).fetchall()
    tables = [_read_table(connection, name) for (name,) in names]
    return Catalog(tuple(table for table in tables if table is not None))


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


def _text_or_bytes(text: bytes) -> str | bytes:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text


def _read_table(connection: sqlite3.Connection, name: str | bytes) -> Table | None:
    if isinstance(name, bytes):
        log.info("table_not_offered", extra={"table": repr(name), "reason": "Its name isn't valid UTF-8."})
        return None
    try:
        return _table(connection, name)
    except sqlite3.OperationalError as error:
        # Such as a name that SQLite itself had to repair, or a module that this SQLite hasn't.
        if getattr(error, "sqlite_errorname", "") != "SQLITE_ERROR":
            raise
        log.info("table_not_offered", extra={"table": name, "reason": str(error)})
        return None


def _table(connection: sqlite3.Connection, table: str) -> Table | None:
    # hidden = 1 marks a virtual table's hidden columns; 2 and 3 are generated columns, which are data.
    rows = connection.execute(
        "SELECT name, type, pk FROM pragma_table_xinfo(?) WHERE hidden <> 1 ORDER BY cid", (table,)
    ).fetchall()
    rows = [(name, str(declared), position) for name, declared, position in rows if isinstance(name, str)]
    if not rows:
        return None
    columns = tuple(Column(name, kind_of(declared), declared) for name, declared, _ in rows)
    row_id = _row_id(connection, table, columns)
    if row_id is None:
        key = tuple(name for _, name in sorted((position, name) for name, _, position in rows if position))
        order = tuple(f"{quote(table)}.{quote(name)}" for name in key)
        return Table(table, columns, None, order, quote(table), ordered_by=key)
    return Table(table, columns, _highest(connection, table, row_id), (row_id,), quote(table))


def _highest(connection: sqlite3.Connection, table: str, row_id: str) -> int | None:
    """Return the highest row id, which is at the end of the tree; a count would scan."""
    try:
        (highest,) = connection.execute(f"SELECT max({row_id}) FROM {quote(table)}").fetchone()
    except sqlite3.DatabaseError as error:
        # One damaged table doesn't hide the others.
        if not getattr(error, "sqlite_errorname", "").startswith("SQLITE_CORRUPT"):
            raise
        return None
    return max(highest or 0, 0)


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

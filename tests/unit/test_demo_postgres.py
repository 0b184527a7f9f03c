"""The demo's tables in a PostgreSQL database."""

from __future__ import annotations

import threading

import psycopg
import pytest

from petiole.demo import data, postgres_data
from petiole.demo.data import TABLES
from petiole.demo.once import CheckFailed, compare
from petiole.demo.postgres_data import fill_database, read_table
from petiole.errors import SetupError
from petiole.exports.database import Database
from tests.support.postgres import PostgresServer

SMALL = {"airlines": TABLES["airlines"], "planes": TABLES["planes"]}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(postgres_data, "TABLES", SMALL)


@pytest.fixture
def database(postgres_server: PostgresServer, postgres_database: str) -> Database:
    return Database.parse(postgres_server.url(postgres_database))


def execute(database: Database, statement: str) -> list[tuple]:
    with psycopg.connect(database.url) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@pytest.mark.parametrize("table", ["airlines", "airports", "planes"])
def test_every_value_of_the_source_is_in_the_database(database, monkeypatch, table):
    monkeypatch.setattr(postgres_data, "TABLES", {table: TABLES[table]})
    fill_database(database)
    stored = read_table(database, table)
    assert next(stored) == tuple(TABLES[table])
    for batch in data.read_rows(data.find_data(), table, TABLES[table]):
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            assert next(stored) == row
    assert next(stored, None) is None


def test_what_is_there_already_is_used_again_and_what_is_absent_is_added(database, small):
    fill_database(database)
    execute(database, "DELETE FROM airlines WHERE carrier <> 'UA'; DROP TABLE planes")
    fill_database(database)
    assert execute(database, "SELECT count(*) FROM airlines") == [(1,)]
    assert execute(database, "SELECT count(*) FROM planes") == [(3322,)]


def test_a_table_of_somebody_elses_is_left_alone_and_said(database, small):
    execute(database, "CREATE TABLE planes (mine integer)")
    with pytest.raises(SetupError, match="has another table planes") as caught:
        fill_database(database)
    assert "s3cret" not in str(caught.value)
    assert execute(database, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'") == [
        ("planes",)
    ]


def test_a_fill_that_fails_leaves_nothing(database, monkeypatch):
    monkeypatch.setattr(postgres_data, "TABLES", {"airlines": TABLES["airlines"], "absent": {"x": "TEXT"}})
    with pytest.raises(FileNotFoundError):
        fill_database(database)
    assert execute(database, "SELECT 1 FROM information_schema.tables WHERE table_schema = 'public'") == []


def test_demos_that_begin_together_fill_it_once(database, small):
    failures: list[BaseException] = []

    def fill() -> None:
        try:
            fill_database(database)
        except BaseException as error:  # noqa: BLE001 - said by the test
            failures.append(error)

    threads = [threading.Thread(target=fill) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert execute(database, "SELECT count(*) FROM airlines") == [(16,)]


def test_a_login_that_is_refused_is_said_without_its_password(postgres_server, postgres_database, small):
    url = postgres_server.url(postgres_database, password="wrong-one")
    with pytest.raises(SetupError, match="--database-url") as caught:
        fill_database(Database.parse(url))
    assert "wrong-one" not in f"{caught.value} {caught.value.__cause__}"


def test_a_file_that_differs_from_the_database_is_found(database, monkeypatch):
    execute(database, "CREATE TABLE flights (n integer, x text); INSERT INTO flights VALUES (1, NULL), (2, 'two')")
    assert compare(b'"n","x"\n1,\n2,"two"\n', database) == 2
    for content in (
        b'"n","x"\n1,\n2,"too"\n',
        b'"n","x"\n1,\n',
        b'"n","y"\n1,\n2,"two"\n',
        b'"n","x"\n1,\n2,"two"\n3,\n',
    ):
        with pytest.raises(CheckFailed):
            compare(content, database)

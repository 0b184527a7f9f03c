"""PostgreSQL as the source of exports, on a real server."""

from __future__ import annotations

import contextvars
import hashlib
import sqlite3
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from celery import Celery
from flask import Flask
from flask_socketio import SocketIO

from petiole import Petiole
from petiole.errors import Cancelled, SetupError, TaskFailure
from petiole.exports import task
from petiole.exports.catalog import Catalog
from petiole.exports.database import Database
from petiole.exports.files.storage import LocalStorage
from petiole.exports.selection import parse_selection
from petiole.exports.sources import SourceUnavailable, open_source, postgres, query_watch
from petiole.exports.sources.postgres import PostgresSource
from petiole.exports.task import export_selection
from petiole.exports.views import exports_blueprint
from petiole.servers.redis import free_port
from petiole.worker.progress import Progress
from tests.support.postgres import PostgresServer
from tests.support.waiting import wait_until

HOSTILE = 'a "b" %s % \' ; -- {x}\\'


@pytest.fixture(scope="module")
def server(postgres_server: PostgresServer) -> PostgresServer:
    return postgres_server


@pytest.fixture
def database(server: PostgresServer, postgres_database: str) -> str:
    return server.url(postgres_database)


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def read(database: Database | str, payload: dict, *, rows: int = 1000) -> list[tuple]:
    with open_source(Database.parse(database)) as source:
        selection = parse_selection(source.catalog, payload)
        batches = list(source.batches(selection, rows=rows))
        assert all(batch.num_rows <= rows for batch in batches)
        found = [tuple(row.values()) for batch in batches for row in batch.to_pylist()]
        assert source.count(selection) == len(found)
        return found


def export(database: object, directory: Path, **more: object) -> bytes:
    export_selection(
        {"table": "t", **more},
        database=database,
        directory=directory,
        key="k",
        filename="t.csv",
        batch_rows=1000,
        rows_per_second=None,
        kept_for=60.0,
    )
    return LocalStorage(directory).open("k")[1].read_bytes()


def catalog_of(url: str) -> Catalog:
    with PostgresSource(url) as source:
        return source.catalog


TYPES = [
    # type, value in SQL, cell of the file
    ("smallint", "-5", "-5"),
    ("bigint", "9223372036854775807", "9223372036854775807"),
    ("boolean", "true", "1"),
    ("boolean", "false", "0"),
    ("numeric", "12345678901234567890.1234567890123456789", "12345678901234567890.1234567890123456789"),
    ("numeric(12, 2)", "-7.50", "-7.50"),
    ("numeric", "'NaN'", "nan"),
    ("numeric", "'-Infinity'", "-inf"),
    ("double precision", "0.1", "0.1"),
    ("double precision", "'NaN'", "nan"),
    ("double precision", "'-Infinity'", "-inf"),
    ("double precision", "1e300", "1e+300"),
    ("real", "0.1", "0.1"),
    ("text", "'plain'", '"plain"'),
    ("text", "''", '""'),
    ("text", r"E'line\nfeed\r\nand \"quotes\", commas'", '"line\nfeed\r\nand ""quotes"", commas"'),
    ("text", "'=1+1'", '"\'=1+1"'),
    ("text", "'-2'", '"\'-2"'),
    ("text", "E'\\\\.'", '"\\."'),
    ("text", "'é😀'", '"é😀"'),
    ("varchar(9)", "'x'", '"x"'),
    ("char(5)", "'ab'", '"ab"'),
    ("bytea", r"'\x00ff'", "\"X'00FF'\""),
    ("bytea", "''", "\"X''\""),
    ("date", "'2013-01-02'", '"2013-01-02"'),
    ("time", "'05:06:07.5'", '"05:06:07.5"'),
    ("timestamp", "'2013-01-02 03:04:05.678'", '"2013-01-02 03:04:05.678"'),
    ("timestamptz", "'2013-01-02 03:04:05+02'", '"2013-01-02 01:04:05+00"'),
    ("interval", "'1 day 2 hours'", '"P1DT2H"'),
    ("json", """'{"b": 1, "a": null}'""", '"{""b"": 1, ""a"": null}"'),
    ("jsonb", """'{"b": 1, "a": [2]}'""", '"{""a"": [2], ""b"": 1}"'),
    ("integer[]", "'{1,NULL,3}'", '"{1,NULL,3}"'),
    ("text[]", """ARRAY['a b', '=x', '"']""", '"{""a b"",=x,""\\""""}"'),
    ("uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", '"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"'),
    ("inet", "'10.0.0.1/8'", '"10.0.0.1/8"'),
    ("inet", "'10.0.0.1'", '"10.0.0.1"'),
    ("inet", "'2001:db8::1/32'", '"2001:db8::1/32"'),
    ("cidr", "'10.1.0.0/16'", '"10.1.0.0/16"'),
    ("money", "'-1234.5'", "-1234.50"),
    ("money[]", "'{1234.5,NULL}'", '"{1234.50,NULL}"'),
    ("mood", "'ok'", '"ok"'),
    ("price", "3.10", "3.10"),
    ("int4range", "'[1,5)'", '"[1,5)"'),
]


def test_every_type_has_its_cell_and_null_is_nothing(server, database, postgres_database, tmp_path):
    columns = ", ".join(f"c{number} {kind}" for number, (kind, _, _) in enumerate(TYPES))
    values = ", ".join(value for _, value, _ in TYPES)
    execute(
        database,
        "CREATE TYPE mood AS ENUM ('ok')",
        "CREATE DOMAIN amount AS numeric(9, 2)",
        "CREATE DOMAIN price AS amount CHECK (VALUE > 0)",
        # Settings of a login that must not affect a file.
        f"ALTER DATABASE {postgres_database} SET datestyle = 'German'",
        f"ALTER DATABASE {postgres_database} SET timezone = 'America/New_York'",
        f"ALTER DATABASE {postgres_database} SET extra_float_digits = -5",
        f"ALTER DATABASE {postgres_database} SET bytea_output = 'escape'",
        f"ALTER DATABASE {postgres_database} SET standard_conforming_strings = off",
        f"CREATE TABLE t ({columns})",
        "SET standard_conforming_strings = on; SET timezone = 'UTC'; SET datestyle = 'ISO';"
        f"INSERT INTO t VALUES ({values}); INSERT INTO t (c0) VALUES (NULL)",
    )
    header = ",".join(f'"c{number}"' for number in range(len(TYPES)))
    cells = ",".join(cell for _, _, cell in TYPES)
    nothing = "," * (len(TYPES) - 1)
    assert export(database, tmp_path).decode() == f"{header}\n{cells}\n{nothing}\n"


MONEY = {
    "ja_JP": ({"symbol": "￥", "separators": ".,", "digits": 0, "before": True}, "￥1,234", "1234"),
    "de_DE": ({"symbol": "€", "separators": ",.", "digits": 2, "before": False}, "1.234,00 €", "1234.00"),
    "C": ({}, "$1,234.00", "1234.00"),
}


@pytest.mark.parametrize("locale", MONEY)
def test_money_is_the_number_that_the_database_holds_whatever_the_locale(
    server, database, postgres_database, tmp_path, locale
):
    about, shown, cell = MONEY[locale]
    name = server.monetary_locale(locale, **about) if about else locale
    execute(database, f"ALTER DATABASE {postgres_database} SET lc_monetary = '{name}'")
    execute(
        database, "CREATE TABLE t (m money, n text)", "INSERT INTO t VALUES (1234::numeric::money, 'x'), (NULL, 'y')"
    )
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT m::text FROM t LIMIT 1").fetchone() == (shown,)
    assert export(database, tmp_path).decode() == f'"m","n"\n{cell},"x"\n,"y"\n'
    assert len(read(database, {"table": "t", "filters": [{"column": "m", "operator": ">=", "value": 1234}]})) == 1


SHARED = (
    "CREATE TABLE t (n INTEGER, b BOOLEAN, r DOUBLE PRECISION, x TEXT, raw {blob});"
    "INSERT INTO t VALUES (1, true, 0.1, 'plain', {x}), (-2, false, 1e20, '=formula', {x}), (NULL, NULL, NULL, NULL, NULL),"
    "(9007199254740993, true, 5.0, 'line\nbreak, \"quoted\"', {x}), (0, false, -2.5e-7, '', {x}), (7, true, 3, '+é', {x})"
)


@pytest.fixture(scope="module")
def both(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("both") / "a.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SHARED.format(blob="BLOB", x="X'00FF'"))
    with server.connect() as connection:
        connection.execute("CREATE DATABASE both_kinds")
    execute(server.url("both_kinds"), SHARED.format(blob="BYTEA", x=r"'\x00FF'").replace(" INTEGER", " BIGINT"))
    return path, server.url("both_kinds")


@pytest.mark.parametrize(
    "filters",
    [
        [],
        [("n", "!=", 1)],
        [("b", "=", 1)],
        [("r", "<", 4.5), ("x", "is_not_empty")],
        [("x", "is_empty")],
        [("x", ">", "=f")],
        [("x", "<=", "line")],
        [("x", "contains", "FORM")],
        [("x", "contains", "É")],
        [("x", "contains", "%")],
        [("x", "!=", "plain\0")],
        [("x", "<", "plain\0")],
        [("x", ">=", "plain\0")],
        [("x", "=", "plain\0")],
    ],
)
def test_the_same_data_gives_the_same_file_as_from_sqlite(both, tmp_path, filters):
    entries = [dict(zip(("column", "operator", "value"), entry, strict=False)) for entry in filters]
    path, url = both
    files = [export(database, tmp_path / name, filters=entries) for name, database in (("s", path), ("p", url))]
    assert files[0] == files[1]
    assert filters or files[0].count(b"\n") == 8


def test_names_with_quotes_blanks_percent_signs_and_keywords_are_read(database):
    name = HOSTILE.replace('"', '""')
    execute(
        database,
        f'CREATE TABLE "{name}" ("{name}" text, "select" integer, "order" numeric PRIMARY KEY)',
        f"INSERT INTO \"{name}\" VALUES ('two', 1, 2.50)",
    )
    filters = [
        {"column": HOSTILE, "operator": "contains", "value": "w"},
        {"column": "select", "operator": "=", "value": 1},
        {"column": "order", "operator": "<=", "value": 2.5},
    ]
    assert read(database, {"table": HOSTILE, "filters": filters}) == [("two", 1, {"decimal": "2.50"})]


@pytest.mark.parametrize("value", ["' OR 1=1 --", "\\' OR true --", "%s", "$1", "{0}", "x'); DROP TABLE t; --"])
@pytest.mark.parametrize("operator", ["=", "contains"])
def test_a_value_is_never_sql(both, value, operator):
    filters = [{"column": "x", "operator": operator, "value": value}]
    assert read(both[1], {"table": "t", "filters": filters}) == []
    assert len(read(both[1], {"table": "t"})) == 6


def test_a_decimal_equals_the_number_that_a_person_writes(database):
    execute(database, "CREATE TABLE t (n numeric, r real)", "INSERT INTO t VALUES (0.1, 0.1), (0.2, 0.2)")
    for column in ("n", "r"):
        filters = [{"column": column, "operator": "=", "value": 0.1}]
        assert len(read(database, {"table": "t", "filters": filters})) == 1


def test_tables_of_other_schemas_are_named_with_them_and_no_two_alike(database):
    execute(
        database,
        "CREATE TABLE plain (a integer)",
        'CREATE TABLE "s.t" (a integer)',
        "CREATE SCHEMA s",
        "CREATE TABLE s.t (a integer); INSERT INTO s.t VALUES (7)",
        'CREATE SCHEMA "o.o"',
        'CREATE TABLE "o.o".t (a integer)',
        "CREATE VIEW seen AS SELECT * FROM plain",
        "CREATE TABLE parted (a integer) PARTITION BY RANGE (a)",
        "CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (9)",
        "INSERT INTO parted VALUES (3)",
    )
    names = [table.name for table in catalog_of(database).tables]
    assert names == ["parted", "plain", 'public."s.t"', '"o.o".t', "s.t"]
    assert read(database, {"table": "s.t"}) == [(7,)]
    assert read(database, {"table": "parted"}) == [(3,)]


def test_what_the_login_may_not_read_is_not_offered(server, database, postgres_database):
    execute(
        database,
        "CREATE TABLE t (a integer, secret text); CREATE TABLE hidden (a integer)",
        "DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN PASSWORD 'guest'",
        "GRANT SELECT (a) ON t TO guest; GRANT INSERT ON hidden TO guest",
    )
    try:
        catalog = catalog_of(server.url(postgres_database, user="guest", password="guest"))
        assert [(table.name, [column.name for column in table.columns]) for table in catalog.tables] == [("t", ["a"])]
    finally:
        execute(database, "DROP OWNED BY guest; DROP ROLE guest")


def test_a_login_that_may_not_read_all_of_the_key_gets_the_rows_without_its_order(server, database, postgres_database):
    execute(
        database,
        "CREATE TABLE t (a integer, secret integer, b text, PRIMARY KEY (a, secret))",
        "INSERT INTO t VALUES (2, 1, 'x'), (1, 2, 'y')",
        "DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN PASSWORD 'guest'; GRANT SELECT (a, b) ON t TO guest",
    )
    url = server.url(postgres_database, user="guest", password="guest")
    try:
        assert catalog_of(url).tables[0].ordered_by == ()
        assert read(url, {"table": "t"}) == [(2, "x"), (1, "y")]
        assert catalog_of(database).tables[0].ordered_by == ("a", "secret")
    finally:
        execute(database, "DROP OWNED BY guest; DROP ROLE guest")


def temporary_bytes(server: PostgresServer, database: str) -> int:
    with server.connect() as connection:
        found = connection.execute("SELECT temp_bytes FROM pg_stat_database WHERE datname = %s", (database,)).fetchone()
    assert found is not None
    return int(found[0])


def test_no_export_sorts_on_the_servers_disk(server, database, postgres_database):
    filling = "SELECT md5(n::text)::uuid AS id, repeat('x', 500) AS x FROM generate_series(1, 20000) n"
    execute(
        database,
        f"CREATE TABLE bare AS {filling}",
        f"CREATE TABLE keyed AS {filling}",
        "ALTER TABLE keyed ADD PRIMARY KEY (id)",
        "CREATE TABLE serial AS SELECT n AS id, repeat('x', 500) AS x FROM generate_series(1, 20000) n",
        "ALTER TABLE serial ADD PRIMARY KEY (id)",
    )
    execute(
        database,
        "VACUUM ANALYZE",
        # A disk on which it would rather sort than look up rows here and there.
        f"ALTER DATABASE {postgres_database} SET random_page_cost = 100",
        f"ALTER DATABASE {postgres_database} SET effective_cache_size = '1MB'",
    )
    before = temporary_bytes(server, postgres_database)
    ids = {}
    for table in ("bare", "keyed", "serial"):
        with PostgresSource(database) as source:
            selection = parse_selection(source.catalog, {"table": table})
            ids[table] = [row["id"] for batch in source.batches(selection, rows=5000) for row in batch.to_pylist()]
            assert [remark[:28] for remark in source.remarks] == ["The rows aren't sorted by id"] * (table == "keyed")
    assert ids["bare"] == ids["keyed"]
    assert ids["serial"] == list(range(1, 20001))
    filters = [{"column": "id", "operator": ">", "value": "f"}]
    few = [row[0] for row in read(database, {"table": "keyed", "filters": filters})]
    assert few == sorted(few) != []
    assert temporary_bytes(server, postgres_database) == before


TYPED = [
    # type, value of row n, filter, how many of 20,000 rows
    ("date", "DATE '2000-01-01' + n", ("=", "2010-01-01"), 1),
    ("date", "DATE '2000-01-01' + n", ("<", "2000-01-11"), 9),
    ("timestamp", "TIMESTAMP '2000-01-01' + n * INTERVAL '1 hour'", ("<=", "2000-01-01 10:00"), 10),
    ("timestamptz", "TIMESTAMPTZ '2000-01-01 00:00Z' + n * INTERVAL '1 hour'", ("<=", "2000-01-01T12:00:00+02:00"), 10),
    ("interval", "n * INTERVAL '1 hour'", ("<", "PT10H"), 9),
    ("uuid", "md5(n::text)::uuid", ("=", "C4CA4238-A0B9-2382-0DCC-509A6F75849B"), 1),
    ("inet", "inet '10.0.0.0' + n", ("<", "10.0.0.10"), 9),
    ("bytea", "decode(md5(n::text), 'hex')", ("=", "X'C4CA4238A0B923820DCC509A6F75849B'"), 1),
    ("text", "'row ' || n", ("=", "row 7"), 1),
    ("varchar(9)", "'row ' || n", ("=", "row 7"), 1),
    ("char(9)", "'row ' || n", ("=", "row 7"), 1),
    ("bigint", "n", ("=", 7), 1),
    ("numeric", "n / 10.0", ("=", 0.7), 1),
    ("double precision", "n / 10.0", ("=", 0.7), 1),
]


def test_a_filter_compares_in_the_columns_own_type_and_uses_its_index(database):
    columns = ", ".join(f"({value})::{kind} AS c{number}" for number, (kind, value, _, _) in enumerate(TYPED))
    execute(database, f"CREATE TABLE t AS SELECT {columns} FROM generate_series(1, 20000) n")
    execute(database, *(f"CREATE INDEX ON t (c{number})" for number in range(len(TYPED))))
    execute(database, "ANALYZE t")
    with PostgresSource(database) as source:
        for number, (kind, _, (operator, value), rows) in enumerate(TYPED):
            filters = [{"column": f"c{number}", "operator": operator, "value": value}]
            selection = parse_selection(source.catalog, {"table": "t", "filters": filters})
            assert (kind, source.count(selection)) == (kind, rows)
            plan = source._connection.execute(
                f"EXPLAIN SELECT 1 {postgres._from(selection, source._connection)}".encode()
            )
            assert f"t_c{number}_idx" in str(plan.fetchall()), kind


@pytest.mark.parametrize(
    ("column", "operator", "value", "rows"),
    [
        # What isn't a value of the type is compared as the text in the file, by code points.
        ("d", ">=", "2013-02", 1),
        ("d", ">=", "2013-02-01", 2),
        ("d", "=", "2013-02-30", 0),
        ("d", "=", "٢٠١٣-٠٢-٠١", 0),
        ("a", "=", "10.0.0.1", 1),
        ("a", "=", "10.0.0.1/32", 1),
        ("a", "<", "10.0.0.1/999", 1),
        ("i", "=", "P٣D", 0),
        ("i", ">", "PT9H", 1),
        ("d", "=", "'; DROP TABLE t; --", 0),
        ("d", "contains", "-02-", 1),
        ("d", "!=", "2013-01-31", 3),
        ("d", "is_empty", None, 1),
        ("d", "is_not_empty", None, 3),
        ("u", "contains", "a0ee", 1),
        ("u", "=", "a0ee", 0),
        # An index of a collation that knows no case, or of padded texts, finds more than is equal.
        ("x", "=", "abc", 1),
        ("x", "!=", "abc", 3),
        ("x", "contains", "B", 2),
        ("x", "is_empty", None, 2),
        ("c", "=", "ab ", 0),
        ("c", "=", "ab", 1),
        ("b", "=", 1, 1),
        ("b", "!=", 1, 3),
        ("b", "<", 1, 1),
    ],
)
def test_a_filter_of_any_value_selects_what_it_says(server, column, operator, value, rows):
    execute(
        server.create("filtered"),
        "DROP TABLE IF EXISTS t",
        "CREATE COLLATION IF NOT EXISTS nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        "CREATE TABLE t (d date, u uuid, x text COLLATE nocase, c char(5), b boolean, a inet, i interval)",
        "INSERT INTO t VALUES ('2013-01-31', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'abc', 'ab', true, '10.0.0.1', '10:00'),"
        " ('2013-02-01', NULL, 'ABC', 'abc', false, NULL, NULL), ('10000-01-01', NULL, '', '', NULL, NULL, NULL),"
        " (NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
    )
    entry = {"column": column, "operator": operator} | ({} if value is None else {"value": value})
    assert len(read(server.url("filtered"), {"table": "t", "filters": [entry]})) == rows


def test_estimates_come_from_statistics_and_are_not_guessed(database):
    execute(database, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS n", "CREATE TABLE fresh (n integer)")
    execute(database, "ANALYZE t")
    estimates = {table.name: table.rows_estimate for table in catalog_of(database).tables}
    assert estimates == {"t": 1000, "fresh": None}


def test_rows_come_in_the_order_of_the_key_else_of_their_place(database):
    execute(
        database,
        "CREATE TABLE keyed (b integer, a text, PRIMARY KEY (a, b))",
        "INSERT INTO keyed VALUES (2, 'y'), (1, 'y'), (9, 'x')",
        "CREATE TABLE t (n integer); INSERT INTO t SELECT n FROM generate_series(5000, 1, -1) n",
    )
    assert read(database, {"table": "keyed"}) == [(9, "x"), (1, "y"), (2, "y")]
    assert read(database, {"table": "t"}, rows=7) == [(n,) for n in range(5000, 0, -1)]


def test_a_single_column_of_missing_values_keeps_all_its_rows(database):
    execute(
        database,
        "CREATE TABLE t (x text, n integer, d numeric)",
        "INSERT INTO t VALUES (NULL, NULL, NULL), ('', 1, 2), (NULL, NULL, NULL)",
    )
    assert read(database, {"table": "t", "columns": ["x"]}) == [(None,), ("",), (None,)]
    assert read(database, {"table": "t", "columns": ["n"]}) == [(None,), (1,), (None,)]
    nothing = {"decimal": None}
    assert read(database, {"table": "t", "columns": ["d"]}) == [(nothing,), ({"decimal": "2"},), (nothing,)]


def test_an_empty_table_gives_no_batch(database):
    execute(database, "CREATE TABLE t (n integer)")
    assert read(database, {"table": "t"}) == []


def test_large_rows_come_fewer_at_a_time(database, monkeypatch):
    monkeypatch.setattr("petiole.exports.sources.postgres_lines._MOST_BYTES", 10_000)
    execute(
        database,
        "CREATE TABLE t AS SELECT repeat('x', CASE n WHEN 3 THEN 60000 ELSE 4000 END) AS x FROM generate_series(1, 6) n",
    )
    with PostgresSource(database) as source:
        selection = parse_selection(source.catalog, {"table": "t"})
        assert [batch.num_rows for batch in source.batches(selection, rows=1000)] == [2, 1, 2, 1]


@pytest.mark.parametrize("most", [4 * 1024 * 1024, 1])
def test_text_that_is_not_utf8_keeps_its_bytes_and_is_counted(server, monkeypatch, most):
    monkeypatch.setattr("petiole.exports.sources.postgres_lines._MOST_BYTES", most)
    with server.connect() as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = 'ascii'").fetchone() is None:
            connection.execute("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'")
    execute(
        server.url("ascii"),
        "DROP TABLE IF EXISTS t; CREATE TABLE t (x text, n numeric, good text)",
        r"INSERT INTO t VALUES (E'a\xffb', 1.5, 'é'), (E'\xc3\xa9', 2, 'y'), (NULL, NULL, ''), (E'\xfe', 4, 'z')",
    )
    with PostgresSource(server.url("ascii")) as source:
        filters = [{"column": "good", "operator": "!=", "value": "ü"}]
        selection = parse_selection(source.catalog, {"table": "t", "filters": filters})
        batches = list(source.batches(selection, rows=1000))
        assert source.count(selection) == 4
        assert source.remarks == ("2 texts aren't valid UTF-8; the file has the bytes, as X'…'.",)
    rows = [tuple(row.values()) for batch in batches for row in batch.to_pylist()]
    texts = [row[0]["text"] if isinstance(row[0], dict) else row[0] for row in rows]
    assert texts == ["X'61FF62'", "é", None, "X'FE'"]
    assert [row[2] for row in rows] == ["é", "y", "", "z"]


def test_a_name_that_is_not_utf8_hides_nothing_else(server):
    with server.connect() as connection:
        connection.execute("CREATE DATABASE names ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'")
    with psycopg.connect(server.url("names"), client_encoding="LATIN1", autocommit=True) as connection:
        # Sent to such a database as they are.
        for statement in (
            'CREATE TABLE "b\xe9d" (n integer)',
            'CREATE TABLE half ("n\xe9" integer, n integer)',
            "CREATE TABLE good (n integer)",
            "CREATE TYPE \"m\xe9\" AS ENUM ('ok')",
            'ALTER TABLE good ADD COLUMN m "m\xe9"',
        ):
            connection.execute(statement.encode("latin-1"))
    tables = {table.name: [column.name for column in table.columns] for table in catalog_of(server.url("names")).tables}
    assert tables == {"good": ["n", "m"], "half": ["n"]}


def test_a_type_of_somebodys_own_is_not_taken_for_the_one_of_the_same_name(database, tmp_path):
    execute(
        database,
        "CREATE SCHEMA s; CREATE TYPE s.date AS ENUM ('today'); CREATE TABLE t (d s.date)",
        "INSERT INTO t VALUES ('today')",
    )
    assert export(database, tmp_path) == b'"d"\n"today"\n'
    assert read(database, {"table": "t", "filters": [{"column": "d", "operator": "=", "value": "2013-01-01"}]}) == []


def test_a_row_past_what_the_server_sends_is_said():
    with pytest.raises(SourceUnavailable, match="Leave out the column"), postgres._explained():
        raise psycopg.errors.ProgramLimitExceeded("Cannot enlarge string buffer")


def test_count_and_rows_are_of_one_instant_while_others_write(database):
    execute(database, "CREATE TABLE t AS SELECT generate_series(1, 20000) AS n")
    with PostgresSource(database) as source:
        selection = parse_selection(source.catalog, {"table": "t"})
        execute(database, "DELETE FROM t WHERE n % 2 = 0")
        rows = source.count(selection)
        seen = 0
        for batch in source.batches(selection, rows=5000):
            seen += batch.num_rows
            execute(database, "INSERT INTO t VALUES (-1)")
        assert (rows, seen) == (20_000, 20_000)


def test_the_database_is_never_written(database):
    execute(database, "CREATE TABLE t (n integer)")
    with PostgresSource(database) as source, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        source._connection.execute("INSERT INTO public.t VALUES (1)")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda server, name: server.url(name, password="wrong-one"), "refuses the login"),
        (lambda server, name: server.url("absent"), "isn't there"),
        (lambda server, name: f"postgresql://u:s3cret@127.0.0.1:{free_port()}/x", "doesn't answer"),
    ],
)
def test_a_database_that_cannot_be_opened_is_said(server, postgres_database, change, sentence):
    with pytest.raises(SourceUnavailable, match=sentence) as caught, PostgresSource(change(server, postgres_database)):
        pass
    chain = f"{caught.value!r} {caught.value.__cause__!r}"
    assert "s3cret" not in chain
    assert "wrong-one" not in chain


def test_a_locked_table_is_said(database, monkeypatch):
    monkeypatch.setitem(postgres._SESSION, "lock_timeout", "50ms")
    execute(database, "CREATE TABLE t (n integer)")
    with psycopg.connect(database) as other:
        other.execute("LOCK TABLE t")
        with pytest.raises(SourceUnavailable, match="locked"):
            read(database, {"table": "t"})


@pytest.fixture
def slow(server: PostgresServer, postgres_database: str) -> Iterator[str]:
    """A database with a table `t`, of which each row takes half a minute to read, and a table with many rows, `many`."""
    with server.connect(postgres_database) as connection:
        for statement in (
            "CREATE ROLE reader LOGIN PASSWORD 'reader'",
            "CREATE TABLE t AS SELECT 1 AS n",
            # More than fits into the connection's buffers.
            "CREATE TABLE many AS SELECT n, repeat('x', 200) AS text FROM generate_series(1, 200000) AS n",
            "CREATE FUNCTION slowly() RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT true FROM pg_sleep(30)'",
            "ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY slow ON t USING (slowly())",
            "GRANT SELECT ON t, many TO reader",
        ):
            connection.execute(statement)
        yield server.url(postgres_database, user="reader", password="reader")
        connection.execute("DROP OWNED BY reader CASCADE; DROP ROLE reader")


def test_the_time_limit_of_the_login_is_kept_and_said(server, slow):
    with server.connect() as connection:
        connection.execute("ALTER ROLE reader SET statement_timeout = '200ms'")
    with pytest.raises(SourceUnavailable, match="took too long"):
        read(slow, {"table": "t"})


class Ended(Progress):
    """A progress that gets cancelled, at `at`."""

    def __init__(self, *, at: str, when: Callable[[], bool] = lambda: True) -> None:
        self._at, self._when = at, when

    def _note(self, call: str) -> None:
        if call == self._at and self._when():
            raise Cancelled("The task was cancelled.")

    def stage(self, name, *, total=None, unit=None, until=1.0):
        self._note(name)

    def advance(self, amount=1):
        self._note("advance")

    def update(self, *, completed=None, total=None, description=None):
        self._note("update")


def test_a_cancel_while_the_server_counts_ends_the_query_there(server, slow, postgres_database, tmp_path, monkeypatch):
    counting = []

    def is_counting() -> bool:
        counting.extend(query for state, query in server.queries(postgres_database) if state == "active")
        return bool(counting)

    monkeypatch.setattr(query_watch, "_EVERY", 0.05)
    monkeypatch.setattr(task, "progress", Ended(at="update", when=is_counting))
    with pytest.raises(Cancelled):
        export(slow, tmp_path)
    assert counting[0].startswith("SELECT count(*)")
    wait_until(lambda: server.queries(postgres_database) == [], timeout=10, what="the query has ended on the server")
    assert list(tmp_path.iterdir()) == []


def test_a_cancel_between_two_batches_ends_the_query_there(server, slow, postgres_database, tmp_path, monkeypatch):
    copying = []

    def is_copying() -> bool:
        copying.extend(query for state, query in server.queries(postgres_database) if state == "active")
        return True

    monkeypatch.setattr(task, "progress", Ended(at="advance", when=is_copying))
    with pytest.raises(Cancelled):
        export(slow, tmp_path, table="many")
    assert copying[0].startswith("COPY (SELECT")
    wait_until(lambda: server.queries(postgres_database) == [], timeout=10, what="the query has ended on the server")
    assert list(tmp_path.iterdir()) == []


def test_without_the_watch_a_cancel_is_not_heard_while_the_server_works(server, slow, postgres_database, monkeypatch):
    """The negative control of the test above: the query goes on until another connection ends it."""
    heard = threading.Event()
    monkeypatch.setattr(query_watch.QueryWatch, "_watch", lambda self: heard.set())

    def end_it() -> None:
        heard.wait(10)
        wait_until(
            lambda: [query for query in server.queries(postgres_database) if query[0] == "active"],
            timeout=10,
            what="the query runs",
        )
        with server.connect() as connection:
            connection.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = 'reader'")

    def cancelled() -> None:
        raise Cancelled("The task was cancelled.")

    other = threading.Thread(target=end_it)
    other.start()
    with pytest.raises(SourceUnavailable, match="took too long"), PostgresSource(slow, check=cancelled) as source:
        source.count(parse_selection(source.catalog, {"table": "t"}))
    other.join(10)


def test_a_server_that_is_frozen_does_not_keep_a_cancelled_task(server, slow, monkeypatch):
    monkeypatch.setattr(query_watch, "_EVERY", 0.05)
    monkeypatch.setattr("petiole.exports.sources.postgres._CANCEL_TIMEOUT", 0.2)
    frozen = []

    def check() -> None:
        if not frozen:
            server.pause()
            frozen.append(True)
        raise Cancelled("The task was cancelled.")

    try:
        with pytest.raises(Cancelled), PostgresSource(slow, check=check) as source:
            source.count(parse_selection(source.catalog, {"table": "t"}))
    finally:
        server.resume()


def test_the_check_runs_in_the_context_of_the_task(slow, monkeypatch):
    monkeypatch.setattr(query_watch, "_EVERY", 0.05)
    current: contextvars.ContextVar[str] = contextvars.ContextVar("current", default="nobody's")
    current.set("ours")

    def check() -> None:
        raise LookupError(current.get())

    with pytest.raises(LookupError, match="ours"), PostgresSource(slow, check=check) as source:
        source.count(parse_selection(source.catalog, {"table": "t"}))


def test_a_connection_that_is_lost_in_the_middle_is_a_failure_that_says_so_and_leaves_no_file(
    server, slow, tmp_path, monkeypatch
):
    class Cut(Progress):
        def advance(self, amount=1):
            with server.connect() as connection:
                connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'reader'")

    monkeypatch.setattr(task, "progress", Cut())
    with pytest.raises(TaskFailure, match="connection to the database was lost"):
        export(slow, tmp_path, table="many")
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_table(database):
    execute(
        database,
        "CREATE UNLOGGED TABLE t AS SELECT i AS a, i / 3.0::float8 AS b, 'some text for the row of number ' || i AS c"
        " FROM generate_series(1, 100000) i",
    )
    with PostgresSource(database) as source:
        selection = parse_selection(source.catalog, {"table": "t"})
        tracemalloc.start()
        try:
            rows = sum(batch.num_rows for batch in source.batches(selection, rows=1000))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert rows == 100_000
    assert peak < 2 * 1024 * 1024


LARGE = "repeat('some \"text\", ', 2000)"


def test_large_rows_are_the_same_rows_as_in_small_batches(database, tmp_path, monkeypatch):
    columns = [(kind, value) for kind, value, _ in TYPES if kind not in ("mood", "price")]
    texts = [
        LARGE,
        "repeat('\"', 30001)",
        f"'=' || {LARGE}",
        f"'\"' || {LARGE} || '\"'",
        "''",
        "NULL",
        f"{LARGE} || 'é'",
    ]
    names = ", ".join(f"c{number}" for number in range(len(columns)))
    execute(
        database,
        "SET timezone = 'UTC'; CREATE TABLE t (x text, y text,"
        + ", ".join(f"c{number} {kind}" for number, (kind, _) in enumerate(columns))
        + ")",
        f"INSERT INTO t (x, {names}, y) VALUES ({LARGE}, {', '.join(value for _, value in columns)}, 'end')",
        *(f"INSERT INTO t (x, y) VALUES ({text}, {other})" for text in texts for other in ("NULL", "'a'", LARGE)),
    )
    small = export(database, tmp_path)
    monkeypatch.setattr("petiole.exports.sources.postgres_lines._MOST_BYTES", 1000)
    monkeypatch.setattr("petiole.exports.sources.postgres_lines._PIECE", 101)
    monkeypatch.setattr("petiole.exports.formats.csv._LARGE_ROW", 1000)
    monkeypatch.setattr("petiole.exports.formats.csv._PIECE", 100)
    large = export(database, tmp_path)
    # Not by `==`: pytest would compare some 2 MB line by line.
    assert hashlib.sha256(large).hexdigest() == hashlib.sha256(small).hexdigest()


MEMORY = """
import sys
from pathlib import Path
from petiole.exports import export_selection
export_selection({'table': sys.argv[3]}, database=sys.argv[1], directory=Path(sys.argv[2]), key='k', filename='t.csv',
    batch_rows=5000, rows_per_second=None, kept_for=60)
# `ru_maxrss` would be that of the process that has started this one, if that is larger.
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


def test_memory_is_bounded_however_large_a_row_is(database, tmp_path):
    execute(
        database,
        "CREATE TABLE blobs (b bytea)",
        "ALTER TABLE blobs ALTER b SET STORAGE EXTERNAL",
        "INSERT INTO blobs SELECT decode(repeat('ab', 16777216), 'hex') FROM generate_series(1, 2)",
    )
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE blobs (n INTEGER, b); CREATE TABLE many (n INTEGER, x TEXT);"
            "INSERT INTO blobs VALUES (1, 'x'), (2, zeroblob(16777216)), (3, zeroblob(16777216)), (4, 'y');"
            "INSERT INTO many WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 200)"
            "SELECT n, zeroblob(500000) FROM n"
        )
    for source, table in ((database, "blobs"), (str(path), "blobs"), (str(path), "many")):
        command = [sys.executable, "-c", MEMORY, source, str(tmp_path / "files"), table]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert int(done.stdout) <= 250 * 1024, f"{table} took {int(done.stdout) // 1024} MiB"


def test_wide_rows_come_fewer_at_a_time(database):
    columns = ", ".join(f"NULL::text AS c{number}" for number in range(1500))
    execute(database, f"CREATE TABLE t AS SELECT {columns} FROM generate_series(1, 300)")
    with PostgresSource(database) as source:
        selection = parse_selection(source.catalog, {"table": "t"})
        assert [batch.num_rows for batch in source.batches(selection, rows=5000)] == [133, 133, 34]


class Site:
    """The blueprint on PostgreSQL, in a real application."""

    def __init__(self, url: str, directory: Path, redis_url: str, key_prefix: str) -> None:
        app = Flask(__name__)
        app.secret_key = "for this test"
        app.testing = True
        app.config["PETIOLE_KEY_PREFIX"] = key_prefix
        petiole = Petiole(app, SocketIO(app, async_mode="threading"), celery_app=Celery("test", broker=redis_url))
        app.register_blueprint(exports_blueprint(petiole, database=url, directory=directory))
        self.client = app.test_client()


def test_a_site_offers_the_tables_and_refuses_what_is_not_there(database, tmp_path, redis_servers, key_prefix):
    execute(database, "CREATE TABLE t (n integer PRIMARY KEY, x jsonb)")
    client = Site(database, tmp_path, redis_servers("system").url, key_prefix).client
    assert client.get("/exports/catalog").json["tables"] == [
        {
            "name": "t",
            "rows_estimate": None,
            "ordered_by": ["n"],
            "columns": [{"name": "n", "kind": "integer"}, {"name": "x", "kind": "text"}],
        }
    ]
    assert client.post("/exports", json={"table": "t", "columns": ["n"]}).status_code == 202
    assert client.post("/exports", json={"table": "pg_authid"}).status_code == 422


def test_a_server_that_is_away_is_a_problem_that_names_nothing(tmp_path, redis_servers, key_prefix):
    url = f"postgresql://somebody:hush@127.0.0.1:{free_port()}/shop"
    client = Site(url, tmp_path, redis_servers("system").url, key_prefix).client
    for response in (client.get("/exports/catalog"), client.post("/exports", json={"table": "t"})):
        assert response.status_code == 503
        assert response.json["detail"].startswith("The database doesn't answer.")
        assert not [word for word in ("somebody", "hush", "127.0.0.1", "shop") if word in response.text]


def test_a_url_that_libpq_does_not_take_is_refused_without_its_password(tmp_path):
    with pytest.raises(SetupError) as caught:
        open_source(Database.parse("postgresql://somebody:hush@host:5432/shop?nonsense=1"))
    assert "hush" not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_a_missing_driver_is_said_with_its_remedy(tmp_path):
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from petiole.exports.database import Database; from petiole.exports.sources import open_source\n"
        "from petiole.errors import SetupError\n"
        "try: open_source(Database.parse('postgresql://h/d'))\n"
        "except SetupError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "pip install 'petiole[postgres]'" in done.stdout


def test_an_export_from_postgresql_does_not_import_pandas(both, tmp_path):
    code = (
        "import sys; from pathlib import Path; from petiole.exports import export_selection\n"
        "export_selection({'table': 't'}, database=sys.argv[1], directory=Path(sys.argv[2]), key='k',\n"
        "    filename='t.csv', batch_rows=1000, rows_per_second=None, kept_for=60)\n"
        "assert not {'pandas', 'flask'} & set(sys.modules)\n"
    )
    execute(both[1], "CREATE TABLE IF NOT EXISTS decimals AS SELECT 1.50 AS n, 2::money AS m, 'x' AS x, 1 AS i")
    for table in ("t", "decimals"):
        arguments = [code.replace("'t'", repr(table)), both[1], str(tmp_path)]
        subprocess.run([sys.executable, "-c", *arguments], check=True, timeout=60)

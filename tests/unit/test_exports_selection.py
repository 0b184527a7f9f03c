from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from petiole.exports.catalog import Catalog
from petiole.exports.selection import MAX_FILTERS, OPERATORS, InvalidSelection, parse_selection
from petiole.exports.sources.sqlite import SqliteSource
from petiole.exports.sources.sqlite_catalog import kind_of


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    path = tmp_path / "some database.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            """
            CREATE TABLE flights (year INTEGER, delay REAL, carrier TEXT);
            CREATE TABLE "odd ""name"" [x]" ("a b" VARCHAR(3), "c""d" DOUBLE PRECISION);
            CREATE TABLE keyed (code TEXT PRIMARY KEY, n INT) WITHOUT ROWID;
            CREATE TABLE computed (a INTEGER, twice INTEGER GENERATED ALWAYS AS (a * 2) VIRTUAL);
            CREATE VIEW seen AS SELECT * FROM flights;
            CREATE VIRTUAL TABLE words USING fts5(body);
            INSERT INTO flights VALUES (2013, 1.5, 'UA'), (2013, NULL, 'AA');
            """
        )
    connection.close()
    with SqliteSource(path) as source:
        return source.catalog


def refusal(catalog: Catalog, payload: object) -> InvalidSelection:
    with pytest.raises(InvalidSelection) as caught:
        parse_selection(catalog, payload)
    return caught.value


def test_the_catalog_has_real_tables_with_their_columns_and_kinds(catalog):
    flights = catalog.table("flights")
    assert [(column.name, column.kind) for column in flights.columns] == [
        ("year", "integer"),
        ("delay", "real"),
        ("carrier", "text"),
    ]
    assert flights.rows_estimate == 2
    assert {"flights", 'odd "name" [x]', "keyed", "computed"} <= {table.name for table in catalog.tables}


def test_views_and_virtual_tables_are_not_in_the_catalog(catalog):
    assert catalog.table("seen") is None
    assert catalog.table("words") is None
    assert not [table.name for table in catalog.tables if table.name.startswith("sqlite_")]


def test_generated_columns_are_in_the_catalog(catalog):
    assert [column.name for column in catalog.table("computed").columns] == ["a", "twice"]


def test_a_catalog_can_be_narrowed_to_some_tables(catalog):
    assert [table.name for table in catalog.only({"keyed"}).tables] == ["keyed"]
    assert catalog.only(None) is catalog


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        ("INTEGER", "integer"),
        ("bigint", "integer"),
        ("BOOLEAN", "integer"),
        ("REAL", "real"),
        ("DOUBLE PRECISION", "real"),
        ("NUMERIC", "real"),
        ("DECIMAL(10,2)", "real"),
        ("TEXT", "text"),
        ("VARCHAR(20)", "text"),
        ("BLOB", "text"),
        ("DATETIME", "text"),
        ("", "text"),
    ],
)
def test_a_declared_type_has_a_kind(declared, kind):
    assert kind_of(declared) == kind


def test_no_columns_means_all_columns(catalog):
    for payload in ({"table": "flights"}, {"table": "flights", "columns": None, "filters": None}):
        selection = parse_selection(catalog, payload)
        assert [column.name for column in selection.columns] == ["year", "delay", "carrier"]
        assert selection.filters == ()


def test_columns_come_in_the_order_asked_for(catalog):
    selection = parse_selection(catalog, {"table": "flights", "columns": ["carrier", "year"]})
    assert [column.name for column in selection.columns] == ["carrier", "year"]


@pytest.mark.parametrize("payload", [None, [], "flights", 3])
def test_a_selection_that_is_no_object_is_refused(catalog, payload):
    assert refusal(catalog, payload).field == ""


@pytest.mark.parametrize("table", [None, 3, [], {}, "", "nothing", "seen", "sqlite_master", "flights; DROP"])
def test_an_unknown_table_is_refused_with_the_tables_there_are(catalog, table):
    error = refusal(catalog, {"table": table})
    assert error.field == "table"
    assert "flights" in error.sentence


def test_an_unknown_field_is_refused(catalog):
    assert refusal(catalog, {"table": "flights", "sql": "SELECT 1"}).field == "sql"
    entry = {"column": "year", "operator": "=", "value": 1, "or": True}
    assert refusal(catalog, {"table": "flights", "filters": [entry]}).field == "filters[0].or"


@pytest.mark.parametrize("columns", [[], "year", {"year": 1}, 3, False])
def test_columns_that_are_no_list_of_names_are_refused(catalog, columns):
    assert refusal(catalog, {"table": "flights", "columns": columns}).field == "columns"


@pytest.mark.parametrize("name", ["nothing", "YEAR", 3, None, ["year"], {}])
def test_an_unknown_column_is_refused_with_its_place_and_the_columns_there_are(catalog, name):
    error = refusal(catalog, {"table": "flights", "columns": ["year", "delay", name]})
    assert error.field == "columns[2]"
    assert "carrier" in error.sentence


def test_a_column_named_twice_is_refused_at_its_second_place(catalog):
    assert refusal(catalog, {"table": "flights", "columns": ["year", "delay", "year"]}).field == "columns[2]"


@pytest.mark.parametrize("filters", ["year", {"column": "year"}, 3, [{}] * (MAX_FILTERS + 1)])
def test_filters_that_are_no_short_list_are_refused(catalog, filters):
    assert refusal(catalog, {"table": "flights", "filters": filters}).field == "filters"


@pytest.mark.parametrize("entry", [None, "year = 1", [], 3])
def test_a_filter_that_is_no_object_is_refused(catalog, entry):
    good = {"column": "year", "operator": "=", "value": 2013}
    assert refusal(catalog, {"table": "flights", "filters": [good, entry]}).field == "filters[1]"


@pytest.mark.parametrize("operator", [None, 3, [], "==", "LIKE", "contains", "= 1 OR 1 ="])
def test_an_operator_that_a_kind_has_not_is_refused_with_those_it_has(catalog, operator):
    error = refusal(catalog, {"table": "flights", "filters": [{"column": "year", "operator": operator, "value": 1}]})
    assert error.field == "filters[0].operator"
    assert all(allowed in error.sentence for allowed in OPERATORS["integer"])
    assert "contains" not in error.sentence


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("year", None),
        ("year", "2013"),
        ("year", True),
        ("year", 2013.0),
        ("year", 2**63),
        ("year", -(2**63) - 1),
        ("year", [1]),
        ("delay", "1.5"),
        ("delay", False),
        ("delay", float("nan")),
        ("delay", float("inf")),
        ("delay", 10**400),
        ("carrier", 3),
        ("carrier", True),
        ("carrier", "x" * 1001),
        ("carrier", "\ud800"),
        ("carrier", {}),
    ],
)
def test_a_value_of_the_wrong_type_or_size_is_refused(catalog, column, value):
    entry = {"column": column, "operator": "=", "value": value}
    assert refusal(catalog, {"table": "flights", "filters": [entry]}).field == "filters[0].value"


@pytest.mark.parametrize(
    ("column", "value"), [("year", 2**63 - 1), ("year", -(2**63)), ("delay", 3), ("delay", 1.5), ("carrier", "")]
)
def test_a_value_of_the_right_type_is_taken(catalog, column, value):
    payload = {"table": "flights", "filters": [{"column": column, "operator": "<=", "value": value}]}
    (entry,) = parse_selection(catalog, payload).filters
    assert entry.value == value


def test_emptiness_takes_no_value(catalog):
    entry = {"column": "year", "operator": "is_empty", "value": 3}
    assert refusal(catalog, {"table": "flights", "filters": [entry]}).field == "filters[0].value"
    parsed = parse_selection(catalog, {"table": "flights", "filters": [{"column": "year", "operator": "is_empty"}]})
    assert parsed.filters[0].value is None


def test_every_refusal_says_what_is_wrong_and_what_to_do(catalog):
    payloads = json.loads(
        '[3, {}, {"table": "flights", "columns": 3}, {"table": "flights", "columns": ["x"]},'
        ' {"table": "flights", "filters": 3}, {"table": "flights", "filters": [3]}, {"table": "flights", "x": 1},'
        ' {"table": "flights", "filters": [{"column": "year", "operator": "=", "value": "x"}]}]'
    )
    for payload in payloads:
        sentence = refusal(catalog, payload).sentence
        assert sentence.endswith(".")
        assert sentence.count(". ") >= 1

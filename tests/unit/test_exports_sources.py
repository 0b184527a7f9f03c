from __future__ import annotations

import sqlite3
import subprocess
import sys
import tracemalloc
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from petiole.errors import Cancelled
from petiole.exports.selection import parse_selection
from petiole.exports.sources import query_watch, sqlite_rows
from petiole.exports.sources.columns import MIXED, to_array
from petiole.exports.sources.source import SourceUnavailable
from petiole.exports.sources.sqlite import SqliteSource


def make(path: Path, script: str, *rows: tuple[str, list]) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
        for statement, values in rows:
            connection.executemany(statement, values)
        connection.commit()
    return path


def read(path: Path, payload: dict, *, rows: int = 1000) -> list[tuple]:
    with SqliteSource(path) as source:
        selection = parse_selection(source.catalog, payload)
        batches = list(source.batches(selection, rows=rows))
        found = [tuple(row.values()) for batch in batches for row in batch.to_pylist()]
        assert source.count(selection) == len(found)
        return found


@pytest.fixture
def people(tmp_path: Path) -> Path:
    return make(
        tmp_path / "people.db",
        "CREATE TABLE people (name TEXT, age INTEGER, height REAL)",
        (
            "INSERT INTO people VALUES (?, ?, ?)",
            [("Ada", 36, 1.7), ("bob", None, 1.8), (None, 50, None), ("", 7, 1.2), ("100%_\\", 36, 2)],
        ),
    )


def names(path: Path, column: str, operator: str, *value: object) -> list:
    entry = {"column": column, "operator": operator} | ({"value": value[0]} if value else {})
    return [name for (name,) in read(path, {"table": "people", "columns": ["name"], "filters": [entry]})]


def test_rows_come_whole_and_in_the_order_of_their_row_ids(tmp_path):
    path = make(
        tmp_path / "a.db",
        "CREATE TABLE t (n INTEGER, x TEXT); CREATE INDEX i ON t (n)",
        ("INSERT INTO t (rowid, n, x) VALUES (?, ?, ?)", [(row, -row, f"row {row}") for row in range(1000, 0, -1)]),
    )
    everything = [(-row, f"row {row}") for row in range(1, 1001)]
    assert read(path, {"table": "t"}, rows=7) == everything
    filters = [{"column": "n", "operator": "<", "value": -500}]
    assert read(path, {"table": "t", "filters": filters}, rows=7) == everything[500:]


def test_batches_have_the_rows_asked_for_and_the_rest(people):
    with SqliteSource(people) as source:
        selection = parse_selection(source.catalog, {"table": "people"})
        assert [batch.num_rows for batch in source.batches(selection, rows=2)] == [2, 2, 1]


def test_columns_come_in_the_order_asked_for(people):
    assert read(people, {"table": "people", "columns": ["height", "name"]})[0] == (1.7, "Ada")


@pytest.mark.parametrize(
    ("column", "operator", "value", "expected"),
    [
        ("age", "=", 36, ["Ada", "100%_\\"]),
        ("age", "!=", 36, ["bob", None, ""]),
        ("age", "<", 36, [""]),
        ("age", "<=", 36, ["Ada", "", "100%_\\"]),
        ("age", ">", 36, [None]),
        ("age", ">=", 36, ["Ada", None, "100%_\\"]),
        ("height", ">", 1.75, ["bob", "100%_\\"]),
        ("height", "=", 2, ["100%_\\"]),
        ("name", "=", "Ada", ["Ada"]),
        ("name", "=", "' OR 1=1 --", []),
        ("name", "contains", "B", ["bob"]),
        ("name", "contains", "%", ["100%_\\"]),
        ("name", "contains", "_", ["100%_\\"]),
        ("name", "contains", "\\", ["100%_\\"]),
        ("name", "contains", "", ["Ada", "bob", "", "100%_\\"]),
    ],
)
def test_each_operator_selects_its_rows(people, column, operator, value, expected):
    assert names(people, column, operator, value) == expected


def test_null_and_the_empty_text_are_empty(people):
    assert names(people, "name", "is_empty") == [None, ""]
    assert names(people, "name", "is_not_empty") == ["Ada", "bob", "100%_\\"]
    assert names(people, "age", "is_empty") == ["bob"]


def test_filters_hold_together(people):
    filters = [{"column": "age", "operator": "=", "value": 36}, {"column": "height", "operator": "<", "value": 1.9}]
    assert read(people, {"table": "people", "columns": ["name"], "filters": filters}) == [("Ada",)]


def test_a_column_without_a_type_is_compared_as_text(tmp_path):
    path = make(tmp_path / "a.db", "CREATE TABLE t (v); INSERT INTO t VALUES (5), ('5'), (6)")
    filters = [{"column": "v", "operator": "=", "value": "5"}]
    assert len(read(path, {"table": "t", "filters": filters})) == 2


def test_names_with_quotes_blanks_and_keywords_are_read(tmp_path):
    path = make(
        tmp_path / "what ? is # this % 20.db",
        'CREATE TABLE "select ""x""; --" ("a b" INTEGER, "c""d" TEXT, "order" REAL);'
        """INSERT INTO "select ""x""; --" VALUES (1, 'two', 3.5)""",
    )
    assert read(path, {"table": 'select "x"; --'}) == [(1, "two", 3.5)]
    filters = [{"column": 'c"d', "operator": "contains", "value": "w"}]
    assert read(path, {"table": 'select "x"; --', "columns": ["order"], "filters": filters}) == [(3.5,)]


def test_a_table_without_row_ids_is_read_in_the_order_of_its_key(tmp_path):
    path = make(
        tmp_path / "a.db",
        "CREATE TABLE t (n INT, b TEXT, a TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID;"
        "INSERT INTO t VALUES (1, 'y', 'q'), (2, 'x', 'q'), (3, 'z', 'p')",
    )
    assert [row[0] for row in read(path, {"table": "t"})] == [3, 2, 1]
    with SqliteSource(path) as source:
        assert source.catalog.table("t").ordered_by == ("a", "b")


def test_columns_that_hide_the_row_id_do_not_disturb(tmp_path):
    path = make(
        tmp_path / "a.db",
        "CREATE TABLE one (rowid TEXT); INSERT INTO one VALUES ('b'), ('a');"
        "CREATE TABLE three (rowid TEXT, oid TEXT, _rowid_ TEXT);"
        "INSERT INTO three VALUES ('b', 'c', 'd'), ('a', 'b', 'c')",
    )
    assert read(path, {"table": "one"}) == [("b",), ("a",)]
    assert read(path, {"table": "three"}) == [("b", "c", "d"), ("a", "b", "c")]


def test_an_empty_table_gives_no_batch(tmp_path):
    assert read(make(tmp_path / "a.db", "CREATE TABLE t (n INTEGER)"), {"table": "t"}) == []


def test_values_that_do_not_fit_their_kind_stay_what_they_are(tmp_path):
    path = make(
        tmp_path / "a.db",
        "CREATE TABLE t (n INTEGER, r REAL, x TEXT, b BLOB)",
        (
            "INSERT INTO t VALUES (?, ?, ?, ?)",
            [(1, 1.5, "a", b"\x00\xff"), ("many", "much", b"blob", 7), (None, None, None, None), (2.5, 3, "b", "text")],
        ),
    )

    def cell(integer=None, real=None, text=None):
        return {"integer": integer, "real": real, "text": text}

    empty = cell()
    assert read(path, {"table": "t"}) == [
        (cell(integer=1), cell(real=1.5), cell(text="a"), cell(text="X'00FF'")),
        (cell(text="many"), cell(text="much"), cell(text="X'626C6F62'"), cell(integer=7)),
        (empty, empty, empty, empty),
        (cell(real=2.5), cell(real=3.0), cell(text="b"), cell(text="text")),
    ]


def test_a_decimal_column_that_holds_integers_and_reals_is_real(tmp_path):
    path = make(tmp_path / "a.db", "CREATE TABLE t (price DECIMAL(10, 2)); INSERT INTO t VALUES (5), (5.25), (NULL)")
    assert read(path, {"table": "t"}) == [(5.0,), (5.25,), (None,)]


@pytest.mark.parametrize("large", [10**15, 2**53 + 1])
def test_an_integer_that_a_real_would_not_show_stays_an_integer(large):
    assert to_array([large, 0.5], "real").type == MIXED
    assert to_array([large, 0.5], "real").to_pylist()[0]["integer"] == large


def test_text_that_is_not_utf8_keeps_its_bytes_and_is_counted(tmp_path):
    good = "".join(f"('row {row}'), " for row in range(50))
    path = make(
        tmp_path / "a.db",
        f"CREATE TABLE t (x TEXT); INSERT INTO t VALUES {good}(CAST(X'61FF62' AS TEXT)), ('é'), (CAST(X'FF' AS TEXT))",
    )

    def cell(text):
        return {"integer": None, "real": None, "text": text}

    with SqliteSource(path) as source:
        selection = parse_selection(source.catalog, {"table": "t"})
        batches = list(source.batches(selection, rows=10))
        assert source.remarks == ("2 texts aren't valid UTF-8; the file has the bytes, as X'…'.",)
        rows = [row["x"] for batch in batches for row in batch.to_pylist()]
        assert rows == [f"row {row}" for row in range(50)] + [cell("X'61FF62'"), cell("é"), cell("X'FF'")]
        # Nothing is left of it for another reading.
        assert len(list(source.batches(selection, rows=1000))) == 1


@pytest.mark.parametrize("bad", ["CREATE TABLE 'b\udcffd' (x)", "CREATE TABLE bad ('x\udcff' TEXT, y TEXT)"])
def test_a_name_that_is_not_utf8_hides_nothing_else(tmp_path, bad):
    path = make(tmp_path / "a.db", "CREATE TABLE b_d (x_ TEXT, y TEXT); CREATE TABLE good (a TEXT)")
    old, new = (b"b_d", b"b\xffd") if "'b" in bad else (b"x_", b"x\xff")
    path.write_bytes(path.read_bytes().replace(old, new))
    with SqliteSource(path) as source:
        tables = {table.name: [column.name for column in table.columns] for table in source.catalog.tables}
    assert tables == {"good": ["a"]} | ({"b_d": ["y"]} if old == b"x_" else {})


def test_a_damaged_table_hides_nothing_else(tmp_path):
    path = make(
        tmp_path / "a.db", "CREATE TABLE bad (a TEXT); CREATE TABLE good (a TEXT); INSERT INTO good VALUES ('x')"
    )
    with closing(sqlite3.connect(path)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'bad'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    content = bytearray(path.read_bytes())
    content[(page - 1) * size : page * size] = b"\xff" * size
    path.write_bytes(content)
    assert read(path, {"table": "good"}) == [("x",)]
    with pytest.raises(SourceUnavailable, match="damaged"):
        read(path, {"table": "bad"})


def test_values_of_any_size_come_whole_and_few_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_rows, "_MOST_BYTES", 100_000)
    monkeypatch.setattr(sqlite_rows, "_MOST_MEASURED", 10_000)
    sizes = [3, 99, 101, 50_000, 2, 4000, 4000, 4000, 9, 1]
    path = make(
        tmp_path / "a.db",
        "CREATE TABLE t (n INTEGER, x TEXT)",
        ("INSERT INTO t VALUES (?, ?)", [(n, chr(97 + n) * size) for n, size in enumerate(sizes)]),
    )
    assert read(path, {"table": "t"}, rows=500) == [(n, chr(97 + n) * size) for n, size in enumerate(sizes)]
    with SqliteSource(path) as source:
        selection = parse_selection(source.catalog, {"table": "t"})
        batches = [batch.num_rows for batch in source.batches(selection, rows=500)]
    # Measured from the third one on, and the large one is alone.
    assert batches == [3, 1, 3, 3]


def test_a_value_past_what_sqlite_gives_is_said(people):
    with SqliteSource(people) as source:
        source._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 2)
        selection = parse_selection(source.catalog, {"table": "people", "columns": ["name"]})
        with pytest.raises(SourceUnavailable, match="too large"):
            list(source.batches(selection, rows=5))


@pytest.mark.parametrize(
    "values",
    [
        ["plain", "", None, "é", "😀", "nul\0inside", "line\nbreak", None],
        [None, None, None],
        ["only ascii", "x" * 100_000],
        [],
    ],
)
def test_text_of_any_script_survives_the_way_into_arrow(values):
    array = to_array(values, "text")
    array.validate(full=True)
    assert array.to_pylist() == values


def test_numbers_at_their_limits_survive_the_way_into_arrow():
    integers = [2**63 - 1, -(2**63), None, 0] * 5
    assert to_array(integers, "integer").to_pylist() == integers
    reals = [1.7976931348623157e308, 5e-324, -0.0, None, float("inf")] * 5
    assert to_array(reals, "real").to_pylist() == reals


def test_count_and_rows_agree_while_others_write(tmp_path):
    path = make(
        tmp_path / "a.db",
        "PRAGMA journal_mode = WAL; CREATE TABLE t (n INTEGER)",
        ("INSERT INTO t VALUES (?)", [(n,) for n in range(5000)]),
    )
    with closing(sqlite3.connect(path, isolation_level=None)) as writer, SqliteSource(path) as source:
        selection = parse_selection(source.catalog, {"table": "t"})
        writer.execute("DELETE FROM t WHERE n = 0")
        rows = source.count(selection)
        writer.execute("DELETE FROM t WHERE n = 1")
        seen = 0
        for batch in source.batches(selection, rows=500):
            seen += batch.num_rows
            writer.execute("INSERT INTO t VALUES (-1)")
            writer.execute("DELETE FROM t WHERE n = ?", (seen + 1,))
        assert (rows, seen) == (5000, 5000)


def test_the_database_is_never_written(people):
    with SqliteSource(people) as source, pytest.raises(sqlite3.OperationalError, match="readonly"):
        source._connection.execute("INSERT INTO people VALUES ('Eve', 1, 1)")


def test_a_missing_database_is_said_and_not_made(tmp_path):
    with pytest.raises(SourceUnavailable, match="isn't there"), SqliteSource(tmp_path / "none.db"):
        pass
    assert not (tmp_path / "none.db").exists()


def test_a_file_that_is_no_database_is_said(tmp_path):
    (tmp_path / "a.db").write_bytes(b"hello, I am no database" * 100)
    with pytest.raises(SourceUnavailable, match="damaged"), SqliteSource(tmp_path / "a.db"):
        pass


def test_a_locked_database_is_waited_for_and_then_said(people):
    asked = []
    with closing(sqlite3.connect(people, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        source = SqliteSource(people, patience=0.2, check=lambda: asked.append(True))
        with pytest.raises(SourceUnavailable, match="locked"), source:
            pass
        assert len(asked) > 1
        # Given free meanwhile, it is read.
        with SqliteSource(people, check=lambda: other.in_transaction and other.execute("COMMIT")) as source:
            assert source.catalog.table("people") is not None


FROZEN = """
from gevent import monkey; monkey.patch_all()
import sys, time, gevent
from pathlib import Path
from petiole.exports.sources.sqlite import SqliteSource
from petiole.exports.sources.source import SourceUnavailable
ticks = [time.monotonic()]
def tick():
    while True:
        gevent.sleep(0.01)
        ticks.append(time.monotonic())
gevent.spawn(tick)
try:
    with SqliteSource(Path(sys.argv[1]), patience=1.0): pass
except SourceUnavailable: pass
print(max(after - before for before, after in zip(ticks, ticks[1:])))
"""


def test_a_locked_database_does_not_stop_a_gevent_process(people):
    with closing(sqlite3.connect(people, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        done = subprocess.run(
            [sys.executable, "-c", FROZEN, str(people)], capture_output=True, text=True, timeout=60, check=True
        )
    assert float(done.stdout) < 0.5


@pytest.mark.parametrize("work", ["count", "batches"])
def test_a_cancel_is_heard_while_sqlite_works(tmp_path, monkeypatch, work):
    monkeypatch.setattr(query_watch, "_EVERY", 0.05)
    path = make(tmp_path / "a.db", "CREATE TABLE t (n INTEGER)", ("INSERT INTO t VALUES (?)", [(n,) for n in range(9)]))

    def cancelled() -> None:
        raise Cancelled("The task was cancelled.")

    # A query of some ten seconds, in the place of a table.
    long = (
        "(WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT 40000000) SELECT n FROM n WHERE n < 0)"
    )
    monkeypatch.setattr("petiole.exports.sources.sqlite._name", lambda selection, column: "n")
    with SqliteSource(path, check=cancelled) as source:
        found = parse_selection(source.catalog, {"table": "t"})
        selection = replace(found, table=replace(found.table, identifier=long, order=()))
        call = {"count": lambda: source.count(selection), "batches": lambda: list(source.batches(selection, rows=5))}
        with pytest.raises(Cancelled):
            call[work]()


def test_a_source_outside_its_block_is_refused(people):
    with SqliteSource(people) as source:
        selection = parse_selection(source.catalog, {"table": "people"})
    with pytest.raises(SourceUnavailable, match="with block"):
        source.count(selection)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_table(tmp_path):
    path = tmp_path / "big.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (a INTEGER, b REAL, c TEXT)")
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400000) "
            "INSERT INTO t SELECT i, i / 3.0, 'some text for the row of number ' || i FROM n"
        )
        connection.commit()
    with SqliteSource(path) as source:
        selection = parse_selection(source.catalog, {"table": "t"})
        tracemalloc.start()
        try:
            rows = sum(batch.num_rows for batch in source.batches(selection, rows=1000))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert rows == 400_000
    # The table has some 20 MiB; threads that other tests have left in this process may take some of what is measured.
    assert peak < 8 * 1024 * 1024
